"""`llstore get`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..store import parse_ref
from ..store.target import Target, check_model, write
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, progress, remark


def get(
    ref: RefArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PATH", help="Also put it here: a file, or for a model of several a folder."
        ),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard-link PATH to the cached file: no second copy.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace PATH if it exists.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring a model into the cache, verified."""
    wanted = parse_ref(ref)
    target = Target(output.absolute(), link=link, force=force) if output else None
    if link and not target:
        raise typer.BadParameter("--link needs -o PATH")
    began = time.monotonic()
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        result = found.get(wanted, shown, accept=lambda manifest: check_model(target, manifest) if target else None)
        path = write(target, result, cache=found.cache) if target else result.path
    if not json:
        print(output or path)
        if not output and len(result.files) > 1:
            remark(f"the first of {len(result.files)} files: -o FOLDER writes all, --json names them", quiet=quiet)
        return
    files = [
        {"role": file.entry.role, "digest": str(file.entry.digest), "path": str(file.path), "size": file.entry.size}
        for file in result.files
    ]
    print_json(
        {
            "digest": str(result.manifest.model),
            "path": str(path),
            "size": result.manifest.size,
            "fetched_bytes": result.fetched_bytes,
            "from_cache": result.fetched_bytes == 0,
            "seconds": round(time.monotonic() - began, 3),
            "files": files,
        }
    )
