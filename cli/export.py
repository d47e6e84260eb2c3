"""`llstore export`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ..store import Digest, parse_ref
from ..store.sizes import human_size
from ..store.target import Target
from .import_ import models_of
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import opened, print_json, progress, remark


def export(
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="Digests, prefixes or names.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The bundle to write.")],
    since: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Leave out what a llstore.lock or bundle has; may be repeated."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write models into one file, a bundle, that llstore import takes elsewhere: same models, same bytes."""
    # Loaded when used: no other command waits for it.
    from ..store.exchange.bundle import digests_in
    from ..store.exchange.export import export_bundle

    wanted = [parse_ref(ref) for ref in refs]
    without = frozenset[Digest]().union(*map(digests_in, since or []))
    began = time.monotonic()
    with opened(store, offline=offline, quiet=quiet) as found, progress(quiet=quiet or json) as shown:
        target = Target(output.absolute(), force=force)
        done = export_bundle(found, wanted, target, without=without, progress=shown)
    if json:
        print_json(
            {
                "path": str(output),
                "size": done.size,
                "models": [{"digest": str(model.digest), "names": list(model.names)} for model in done.models],
                "left_out": [str(digest) for digest in done.left_out],
                "seconds": round(time.monotonic() - began, 3),
            }
        )
        return
    print(output)
    left = f", without {len(done.left_out)} of their files" if done.left_out else ""
    remark(f"{models_of(len(done.models))} in {human_size(done.size)}{left}", quiet=quiet)
