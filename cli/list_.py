"""`llstore list`."""

from datetime import UTC, datetime

from ..store import Model, Store
from ..store.sizes import human_size
from .options import JsonOption, OfflineOption, QuietOption, StoreOption
from .output import human_count, opened, print_json, printable, remark

_COLUMNS = ("DIGEST", "NAMES", "SIZE", "ARCH", "PARAMS", "QUANT", "CONTEXT", "CACHED")


def list_models(
    store: StoreOption = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """List the models of the store, newest first."""
    with opened(store, offline=offline, quiet=quiet) as found:
        models = found.models()
        if json:
            print_json({"models": [document(model, found) for model in models]})
        elif models:
            _print_table([_COLUMNS, *(_row(model, found) for model in models)])
        else:
            remark(f"no models in {found.url}", quiet=quiet)


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


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
