"""`llstore list`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from ..store import Model, Store
from ..store.selection import Selection, SizeBound, Sort
from ..store.sizes import human_size
from .labels import parse_labels
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import human_count, opened, print_json, print_table, remark

_COLUMNS = ("DIGEST", "NAMES", "SIZE", "ARCH", "PARAMS", "QUANT", "CONTEXT", "CACHED")


def list_models(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Names or patterns: 'team/*'.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="With this label; may be repeated.")] = None,
    arch: Annotated[str | None, typer.Option(help="Of this architecture: llama, gemma3 …")] = None,
    quant: Annotated[str | None, typer.Option(help="Quantized so: Q4_K_M, F16 …")] = None,
    size: Annotated[list[str] | None, typer.Option(metavar="'<2GB'", help="Of such a size; may be repeated.")] = None,
    sort: Annotated[Sort, typer.Option(help="What to order by.")] = Sort.NEWEST,
    limit: Annotated[int | None, typer.Option(help="Show so many.", min=1)] = None,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the models of the store, newest first, or those that fit all that is asked for."""
    selection = Selection(
        names=tuple(names or ()),
        labels=parse_labels(label or ()),
        architecture=arch,
        quantization=quant,
        sizes=tuple(map(SizeBound.parse, size or ())),
        sort=sort,
        limit=limit,
    )
    with opened(store, offline=offline, quiet=quiet) as found:
        models = found.models(selection)
        if json:
            print_json({"models": [document(model, found) for model in models]})
        elif models:
            print_table([_COLUMNS, *(_row(model, found) for model in models)])
        else:
            remark(f"no models in {found.url}" + ("" if selection == Selection() else " fit"), quiet=quiet)


def document(model: Model, store: Store) -> dict[str, object]:
    """A model as `list --json` and `show --json` print it."""
    facts = model.manifest.facts
    return {
        "digest": str(model.digest),
        "names": list(model.names),
        "size": model.manifest.size,
        "architecture": facts.architecture,
        "parameters": facts.parameters,
        "quantization": facts.quantization,
        "context_length": facts.context_length,
        "labels": model.labels,
        "cached": store.is_cached(model.manifest),
        "created_at": datetime.fromtimestamp(model.created_at, UTC).isoformat(timespec="seconds"),
    }


def _row(model: Model, store: Store) -> tuple[str, ...]:
    facts = model.manifest.facts
    return (
        model.digest.short,
        " ".join(model.names) or "-",
        human_size(model.manifest.size),
        facts.architecture or f"({model.manifest.main.role})",
        human_count(facts.parameters),
        facts.quantization or "-",
        str(facts.context_length or "-"),
        "yes" if store.is_cached(model.manifest) else "no",
    )
