"""`llstore mirror`."""

import time
from contextlib import ExitStack
from typing import Annotated

import typer

from ..store import Ref, parse_ref
from ..store.exchange.mirror import mirror as mirror_store
from ..store.exchange.mirror import plan
from ..store.sizes import human_size
from .failure import DAMAGED
from .import_ import brought_document, show_brought
from .options import JsonOption, OfflineOption, QuietOption
from .output import opened, print_json, progress, remark


def mirror(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The store to copy from: a URL.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The store to copy to: a URL.")],
    refs: Annotated[list[str] | None, typer.Argument(metavar="[REF...]", help="Which models.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models.")] = False,
    names: Annotated[bool, typer.Option("--names", help="Names may move names of TO.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be copied; copy nothing.")] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy models from one store into another, by hash: what is there already does not travel."""
    if bool(refs) == everything:
        raise typer.BadParameter("say which models: REF..., or --all")
    wanted: list[Ref] | None = None if everything else [parse_ref(ref) for ref in refs or []]
    began = time.monotonic()
    with ExitStack() as stack:
        here, there = (stack.enter_context(opened(url, offline=offline, quiet=quiet)) for url in (source, target))
        if dry_run:
            planned = plan(here, there, wanted)
        else:
            shown = stack.enter_context(progress(quiet=quiet or json))
            done = mirror_store(here, there, wanted, move_names=names, progress=shown)
    seconds = round(time.monotonic() - began, 3)
    if dry_run:
        lacking = [{"digest": str(model.digest), "names": list(model.names)} for model in planned.lacking]
        counts = {"of_models": planned.models, "bytes": planned.bytes_lacking, "seconds": seconds}
        if json:
            print_json({"dry_run": True, "models": lacking, **counts})
            return
        for model in planned.lacking:
            print(model.digest)
        moved = human_size(planned.bytes_lacking)
        remark(f"would copy {len(lacking)} of {planned.models} models, {moved} at most", quiet=quiet)
        return
    failed = [{"digest": str(failure.model), "reason": str(failure.error)} for failure in done.failures]
    if json:
        print_json({"dry_run": False, **brought_document(done), "failed": failed, "seconds": seconds})
    else:
        for arrival in done.arrivals:
            if arrival.new:
                print(arrival.model.digest)
        show_brought(done, quiet=quiet, how="--names")
    for failure in done.failures:
        remark(f"{failure.model} was left out: {failure.error}", quiet=False)
    raise typer.Exit(DAMAGED if failed else 0)
