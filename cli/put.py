"""`llstore put`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..store import Name, PutRequest, Role
from ..store.errors import InvalidLabel
from ..store.sizes import human_size
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, progress, remark


def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model file.", readable=False)],
    name: Annotated[str | None, typer.Option(help="A name for it: org/name[:tag].")] = None,
    role: Annotated[Role | None, typer.Option(help="What the file is for; a GGUF says so itself.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A label; may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Upload it even if the store has it: heals damage.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read back what the store has, every block.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Push a file into the store under its SHA-256."""
    request = PutRequest(
        file,
        role=role,
        name=Name.parse(name) if name is not None else None,
        labels=labels_in(label or []),
        force=force,
        verify=verify,
    )
    began = time.monotonic()
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        result = found.put(request, shown)
    manifest = result.manifest
    if json:
        print_json(
            {
                "digest": str(manifest.model),
                "manifest": str(manifest.digest),
                "size": manifest.size,
                "uploaded_bytes": result.uploaded_bytes,
                "deduplicated": result.deduplicated,
                "seconds": round(time.monotonic() - began, 3),
                "names": list(result.names),
            }
        )
        return
    print(manifest.model)
    done = "already stored" if result.deduplicated else f"stored {human_size(manifest.size)}"
    if verify:
        done += ", every block read back,"
    remark(" ".join([done, "as", *(result.names or [manifest.model.short])]), quiet=quiet)


def labels_in(texts: list[str]) -> dict[str, str]:
    """The labels that `--label` flags give; raises InvalidLabel."""
    pairs = [text.partition("=") for text in texts]
    for key, equals, value in pairs:
        if not key or not equals or not (key + value).isprintable() or len(key + value) > 4096:
            raise InvalidLabel(
                f"not a label: {key + equals + value!r}",
                hint="a label is KEY=VALUE, in printable text of at most 4096 characters",
            )
    return {key: value for key, _, value in pairs}
