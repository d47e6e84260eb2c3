"""`llstore tag`, `untag`, `label` and `log`: what people say of models."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from ..store import Name, Ref, Store, parse_ref, ulid
from ..store.curate import SOURCE
from ..store.curate import label as set_labels
from ..store.curate import tag as set_tag
from ..store.curate import untag as take_tag
from ..store.entry import Entry
from .labels import parse_labels
from .options import JsonOption, OfflineOption, QuietOption, RefArgument, StoreOption
from .output import opened, print_json, printable, remark


def tag(
    ref: RefArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name: org/name[:tag].")],
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a name point to a model; a name that points elsewhere moves."""
    wanted, target = parse_ref(ref), Name.parse(name)
    with opened(store, offline=offline, quiet=quiet) as found:
        done = set_tag(found, wanted, target)
    if json:
        before = str(done.before) if done.before else None
        print_json({"name": str(done.name), "digest": str(done.model), "before": before})
        return
    print(f"{done.name} {done.model}")
    if done.before and done.before != done.model:
        remark(f"{done.name} pointed to {done.before.short} before", quiet=quiet)


def untag(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name: org/name[:tag].")],
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a name away; the model it pointed to stays."""
    target = Name.parse(name)
    with opened(store, offline=offline, quiet=quiet) as found:
        before = take_tag(found, target)
    if json:
        print_json({"name": str(target), "before": str(before)})
    else:
        print(f"{target} pointed to {before}")


def label(
    ref: RefArgument,
    labels: Annotated[list[str] | None, typer.Argument(metavar="K=V", help="Labels to set.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="K", help="A label or annotation to take away.")] = None,
    annotate: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An annotation: free text.")] = None,
    source: Annotated[str | None, typer.Option(metavar="URL", help="Where the model came from.")] = None,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Set or take away labels and annotations of a model, and print what it has then."""
    wanted = parse_ref(ref)
    gone = dict.fromkeys(remove or ())
    notes = parse_labels(annotate or (), what="an annotation") | ({SOURCE: source} if source is not None else {})
    news = parse_labels(labels or ())
    with opened(store, offline=offline, quiet=quiet) as found:
        model = set_labels(found, wanted, {**gone, **news}, annotations={**gone, **notes})
    if json:
        print_json({"digest": str(model.digest), "labels": model.labels, "annotations": model.annotations})
        return
    for key, value in [*model.labels.items(), *model.annotations.items()]:
        print(printable(f"{key}={value}"))


def log(
    ref: Annotated[str | None, typer.Argument(metavar="[NAME|REF]", help="A name, or a model by its digest.")] = None,
    limit: Annotated[int, typer.Option(help="Show so many entries, the newest; 0 is all.", min=0)] = 50,
    store: StoreOption = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what was done with a name, with a model, or with the whole store, newest first."""
    wanted = parse_ref(ref) if ref is not None else None
    with opened(store, offline=offline, quiet=quiet) as found:
        entries = _history(found, wanted)[::-1]
    shown = entries[:limit] if limit else entries
    if json:
        print_json({"entries": [_document(entry) for entry in shown]})
        return
    for entry in shown:
        print(printable(_line(entry)))


def _history(store: Store, ref: Ref | None) -> list[Entry]:
    store.sync()
    store.require_index()
    if isinstance(ref, Name):
        found = store.catalog.history(name=ref)
        if not found:
            # Says that there is none, and what it may have been meant for.
            store.resolve(ref)
        return found
    if ref is not None:
        return store.catalog.history(model=store.resolve(ref))
    return [entry for entry in store.catalog.entries(before=ulid.LAST) if entry.op not in ("intent", "sweep")]


def _document(entry: Entry) -> dict[str, object]:
    said = {key: value for key, value in entry.document.items() if key in ("name", "model", "labels", "annotations")}
    return {"ulid": entry.ulid, "time": _time(entry), "op": entry.op, **said}


def _line(entry: Entry) -> str:
    document = entry.document
    model = str(document.get("model", "")).removeprefix("sha256:")[:12]
    notes = {**document.get("labels", {}), **document.get("annotations", {})}
    said = " ".join(f"{key}={value}" if value is not None else f"-{key}" for key, value in notes.items())
    return "  ".join(part for part in (_time(entry), f"{entry.op:6}", document.get("name"), model, said) if part)


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(ulid.seconds(entry.ulid), UTC).isoformat(timespec="seconds")
