"""`llstore show --fit`: what fits where in this machine's memory."""

from collections.abc import Sequence

from ..runner.placement.facts import ModelFacts
from ..runner.placement.machine import Machine, measured
from ..runner.placement.table import Fit, fits
from ..runner.placement.wanted import ENGINE, Wanted
from ..store.errors import Unsafe
from ..store.gguf import GgufHeader
from ..store.sizes import human_size
from .output import print_json, print_table, printable


def show_fit(headers: Sequence[GgufHeader], wanted: Wanted, *, json: bool) -> None:
    """Print the table, or the document. Raises InvalidEngine and Unsafe."""
    model, machine = ModelFacts.of(headers), measured()
    if not model.need.layers:
        raise Unsafe("its header does not say how many layers it has", hint="llstore check says what is wrong")
    found = fits(model, machine, wanted, usual=ENGINE)
    if json:
        print_json({"machine": _machine(machine), "fit": [fit.document() for fit in found]})
        return
    print(f"free memory:  {human_size(machine.room)}")
    for gpu in machine.used_gpus:
        print(f"free on GPU:  {human_size(gpu.room)} ({printable(gpu.name)})")
    print()
    print_table([("CONTEXT", "PARALLEL", *(f"KV {kind}" for kind in _kinds(found))), *_rows(found)])


def _kinds(found: Sequence[Fit]) -> list[str]:
    return list(dict.fromkeys(fit.kv_type for fit in found))


def _rows(found: Sequence[Fit]) -> list[tuple[str, ...]]:
    cells: dict[tuple[int, int], list[str]] = {}
    for fit in found:
        cells.setdefault((fit.context, fit.parallel), []).append(f"{human_size(fit.memory)} {_where(fit)}")
    return [(str(context), str(slots), *row) for (context, slots), row in cells.items()]


def _where(fit: Fit) -> str:
    words = {"gpu": "on GPU", "partly": f"{fit.gpu_layers} layers on GPU", "host": "in memory", "no": "too much"}
    return words[fit.where]


def _machine(machine: Machine) -> dict[str, object]:
    return {
        "memory": machine.room,
        "cores": machine.cores,
        "gpus": [{"name": gpu.name, "memory": gpu.room} for gpu in machine.used_gpus],
    }
