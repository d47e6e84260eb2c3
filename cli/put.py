"""`llstore put`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..store import Name, PutRequest, Role
from ..store.curate import SOURCE
from ..store.sizes import human_size
from .labels import parse_labels
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, progress, remark


def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="A file; or several, a folder or a pattern.")],
    name: Annotated[str | None, typer.Option(help="A name for it: org/name[:tag].")] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE[=FILE]", help="What it is for (draft, adapter, other …); a GGUF says so itself."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A label; may be repeated.")] = None,
    annotate: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An annotation: free text.")] = None,
    source: Annotated[str | None, typer.Option(metavar="URL", help="Where it came from.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Upload it even if the store has it: heals damage.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read back what the store has, every block.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Push a model into the store under its SHA-256: a file, or several that belong together."""
    alone, by_pattern = _roles(role or [])
    request = PutRequest(
        files[0],
        more=tuple(files[1:]),
        role=alone,
        roles=by_pattern,
        name=Name.parse(name) if name is not None else None,
        labels=parse_labels(label or ()),
        annotations=parse_labels(annotate or (), what="an annotation") | ({SOURCE: source} if source else {}),
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


def _roles(texts: list[str]) -> tuple[Role | None, tuple[tuple[str, Role], ...]]:
    """The role of the only file, and those of files by pattern."""
    alone, by_pattern = None, []
    for text in texts:
        role, equals, pattern = text.partition("=")
        if role not in list(Role) or (equals and not pattern):
            raise typer.BadParameter(f"--role is one of {', '.join(Role)}, or ROLE=FILE, not {text!r}")
        if equals:
            by_pattern.append((pattern, Role(role)))
        else:
            alone = Role(role)
    return alone, tuple(by_pattern)
