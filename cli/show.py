"""`llstore show`."""

from ..store import Model, Store, parse_ref
from ..store.sizes import human_size
from .list_ import document
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import human_count, opened, print_json, printable


def show(
    ref: RefArgument,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what the store knows of a model."""
    wanted = parse_ref(ref)
    with opened(store, offline=offline, quiet=quiet) as found:
        model = found.model(wanted)
        if json:
            print_json({**document(model, found), "manifest": model.manifest.document()})
            return
        for label, value in _lines(model, found):
            print(f"{label + ':':16}{printable(value)}")


def _lines(model: Model, store: Store) -> list[tuple[str, str]]:
    manifest, facts = model.manifest, model.manifest.facts
    lines = [
        ("digest", str(model.digest)),
        ("names", " ".join(model.names) or "-"),
        ("labels", " ".join(f"{key}={value}" for key, value in model.labels.items()) or "-"),
        ("size", f"{manifest.size} bytes ({human_size(manifest.size)})"),
        ("architecture", facts.architecture or "-"),
        ("parameters", f"{facts.parameters} ({human_count(facts.parameters)})" if facts.parameters else "-"),
        ("quantization", facts.quantization or "-"),
        ("context length", str(facts.context_length or "-")),
        ("chat template", str(facts.template or "-")),
        ("cached", "yes" if store.is_cached(manifest) else "no"),
        ("manifest", str(manifest.digest)),
    ]
    return lines + [("file", f"{file.role} {file.digest} {file.size} bytes") for file in manifest.files]
