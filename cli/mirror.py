"""`llstore mirror`."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from ..store import parse_ref
from ..store.sizes import human_size
from .failure import DAMAGED
from .import_ import brought_document, models_of, show_brought
from .options import JsonOption, OfflineOption, QuietOption
from .output import opened, print_json, progress, remark

if TYPE_CHECKING:
    from ..store.exchange.bring import Brought
    from ..store.exchange.mirror import Plan


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
    # Loaded when used: no other command waits for it.
    from ..store.exchange.mirror import mirror as mirror_store
    from ..store.exchange.mirror import plan

    wanted = None if everything else [parse_ref(ref) for ref in refs or []]
    began = time.monotonic()
    with ExitStack() as stack:
        here, there = (stack.enter_context(opened(url, offline=offline, quiet=quiet)) for url in (source, target))
        if dry_run:
            _show_plan(plan(here, there, wanted), json=json, quiet=quiet)
            return
        shown = stack.enter_context(progress(quiet=quiet or json))
        done = mirror_store(here, there, wanted, move_names=names, progress=shown)
    _show(done, seconds=round(time.monotonic() - began, 3), json=json, quiet=quiet)
    raise typer.Exit(DAMAGED if done.failures else 0)


def _show_plan(plan: "Plan", *, json: bool, quiet: bool) -> None:
    if json:
        lacking = [{"digest": str(model.digest), "names": list(model.names)} for model in plan.lacking]
        print_json({"dry_run": True, "models": lacking, "of_models": plan.models, "bytes": plan.bytes_lacking})
        return
    for model in plan.lacking:
        print(model.digest)
    count = f"{len(plan.lacking)} of {models_of(plan.models)}"
    remark(f"would copy {count}, {human_size(plan.bytes_lacking)} at most", quiet=quiet)


def _show(done: "Brought", *, seconds: float, json: bool, quiet: bool) -> None:
    if json:
        failed = [{"digest": str(failure.model), "reason": str(failure.error)} for failure in done.failures]
        print_json({"dry_run": False, **brought_document(done), "failed": failed, "seconds": seconds})
    else:
        for arrival in done.arrivals:
            if arrival.new:
                print(arrival.model.digest)
        show_brought(done, quiet=quiet, how="--names")
    for failure in done.failures:
        remark(f"{failure.model} was left out: {failure.error}", quiet=False)
