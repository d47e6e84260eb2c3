"""What people say of models: names, labels, annotations, and that one may go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .digest import Digest
from .entry import label_entry, remove_entry, tag_entry, untag_entry
from .errors import ModelNotFound, StillNamed
from .model import Model
from .ref import Name, Ref
from .store import Store

SOURCE = "source"  # the annotation that says where a model came from


@dataclass(frozen=True, slots=True)
class Tagged:
    """A name that points to `model`, and what it pointed to before."""

    name: Name
    model: Digest
    before: Digest | None


def tag(store: Store, ref: Ref, name: Name) -> Tagged:
    """Let `name` point to a model of the store; raises ModelNotFound."""
    store.require_writable("write to")
    model = live_model(store, ref)
    before = store.catalog.named(name)
    if before != model.digest:
        store.record([tag_entry(name, model.digest)])
    return Tagged(name, model.digest, before)


def untag(store: Store, name: Name) -> Digest:
    """Take a name away; returns what it pointed to. Raises ModelNotFound when there is no such name."""
    store.require_writable("write to")
    store.sync()
    before = store.catalog.named(name)
    if before is None:
        before = store.resolve(name)
    store.record([untag_entry(name)])
    return before


def label(store: Store, ref: Ref, labels: Mapping[str, str | None], *, annotations: Mapping[str, str | None]) -> Model:
    """Set labels and annotations of a model, or take away those whose value is None; returns it as it is then."""
    store.require_writable("write to")
    model = live_model(store, ref)
    news = {key: value for key, value in labels.items() if model.labels.get(key) != value}
    notes = {key: value for key, value in annotations.items() if model.annotations.get(key) != value}
    if news or notes:
        store.record([label_entry(model.digest, news, annotations=notes)])
    return store.catalog.model(model.digest) or model


def remove(store: Store, refs: Sequence[Ref], *, force: bool = False, dry_run: bool = False) -> list[Model]:
    """Take models out of the store, with their names; their bytes stay until they are collected.

    Without `force`, raises StillNamed when a model has a name that is not among `refs`.
    """
    if not dry_run:
        store.require_writable("write to")
    models = {model.digest: model for model in (live_model(store, ref) for ref in refs)}
    given = {str(ref) for ref in refs if isinstance(ref, Name)}
    if not force:
        for model in models.values():
            _refuse_other_names(model, [name for name in model.names if name not in given])
    if not dry_run:
        store.record([document for model in models.values() for document in _farewell(model)])
    return list(models.values())


def live_model(store: Store, ref: Ref) -> Model:
    """A model that the store has now, by its journal; raises ModelNotFound."""
    if isinstance(ref, Digest):
        store.sync()
    digest = store.resolve(ref)
    model = store.catalog.model(digest)
    if model is None:
        raise ModelNotFound(f"no model {digest} in {store.url}", hint="llstore list shows what is there")
    return model


def _farewell(model: Model) -> list[dict[str, Any]]:
    return [*(untag_entry(Name.parse(name)) for name in model.names), remove_entry(model.digest)]


def _refuse_other_names(model: Model, names: Sequence[str]) -> None:
    if names:
        raise StillNamed(
            f"{model.digest.short} is named {', '.join(names)}",
            hint="llstore untag takes a name away; --force removes the model with all its names",
        )
