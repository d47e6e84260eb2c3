"""`llstore tune`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..runner.placement.wanted import NOTHING, Wanted
from ..runner.weights import refuse_unrunnable
from ..store import Digest, parse_ref
from .engine_options import engine_flags
from .failure import NOT_FOUND
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, print_table, progress, remark

if TYPE_CHECKING:
    from ..runner.placement.tuned import Tuned
    from ..store import GetResult, Store

LEAST_SECONDS = 1.0


@engine_flags(without=("exact",))
def tune(
    ref: RefArgument,
    seconds: Annotated[float, typer.Option(metavar="S", help="Measure for about so long.", min=LEAST_SECONDS)] = 150.0,
    show: Annotated[bool, typer.Option("--show", help="Only show what was measured before.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Only forget it.")] = False,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Load it even if llstore check refuses it.")] = False,
    engine: Wanted = NOTHING,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure which settings run a model fastest on this machine, and use them from then on."""
    if show and forget:
        raise typer.BadParameter("--show and --forget are two things")
    wanted = parse_ref(ref)
    from ..runner.placement.identity import identity, key
    from .placing import tuned_file

    machine = identity()
    file, name = tuned_file(), key(machine)
    with opened(store, offline=offline, quiet=quiet) as found:
        if show or forget:
            model = found.resolve(wanted)
            known = file.find(model, name)
            if forget:
                file.forget(model, name)
        else:
            with progress(quiet=quiet or json) as shown:
                result = found.get(wanted, shown, accept=refuse_unrunnable)
            model = result.manifest.model
            known = _measured(found, result, engine, seconds=seconds, unchecked=unchecked, quiet=quiet)
            file.keep(model, machine, name, known)
    _say(model, known, forget=forget, json=json, quiet=quiet)


def _measured(
    store: "Store", result: "GetResult", wanted: Wanted, *, seconds: float, unchecked: bool, quiet: bool
) -> "Tuned":
    from ..runner.placement.tuning import tune as run
    from .loading import leased
    from .placing import placed

    with leased(store, result, unchecked=unchecked) as files:
        placement = placed(store, result.manifest, wanted, quiet=quiet, as_tuned=False)
        _remark_busy(placement.machine.cores, quiet=quiet)
        wanted = wanted.without(placement.switched_off)
        return run(files, placement, wanted, seconds=seconds, say=lambda line: remark(line, quiet=quiet))


def _remark_busy(cores: int, *, quiet: bool) -> None:
    load = os.getloadavg()[0]
    if load > cores / 2:
        remark(f"this machine is at work (load {load:.1f}): what is measured now is partly that", quiet=quiet)


def _say(model: Digest, known: "Tuned | None", *, forget: bool, json: bool, quiet: bool) -> None:
    if json:
        print_json({"digest": str(model), "tuned": None if forget or not known else known.document()})
    elif known and not forget:
        _print(known)
    elif forget:
        remark("forgotten" if known else "nothing was known of it", quiet=quiet)
    if not known and not forget:
        remark(f"{model.short} was not tuned on this machine (llstore tune {model.short})", quiet=quiet)
        raise typer.Exit(NOT_FOUND)


def _print(known: "Tuned") -> None:
    print(f"tuned on {known.date}, {known.parallel} in parallel")
    print_table([("SETTING", "FASTEST"), *((name, _word(value)) for name, value in known.settings.items())])
    print()
    speeds = (("prompt", "prompt"), ("one sequence", "one"), (f"{known.parallel} sequences", "all"))
    rows = [(label, getattr(known.before, name), getattr(known.after, name)) for label, name in speeds]
    table = [(label, f"{was:.1f}", f"{now:.1f}", f"{now / was:.2f}x") for label, was, now in rows]
    print_table([("TOKENS A SECOND", "USUAL", "TUNED", ""), *table])


def _word(value: int | bool) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
