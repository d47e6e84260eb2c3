"""What all imports of a single model share: what is asked for, what was done, and whether the store has it already."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..digest import Digest
from ..errors import Damaged
from ..manifest import Manifest
from ..model import Model
from ..progress import silent
from ..put import PutRequest, PutResult, notes
from ..ref import Name
from ..store import Store

LICENSE = "license"
_UNSAID = PutRequest(Path())


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be said of a model that is imported."""

    name: Name | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def request(self, annotations: dict[str, str]) -> PutRequest:
        """The same, as a put asks for it."""
        return replace(_UNSAID, name=self.name, labels=self.labels, annotations=annotations)


@dataclass(frozen=True, slots=True)
class Imported:
    """A model that was imported: from where, and how many bytes came and went for it."""

    source: str
    manifest: Manifest
    names: tuple[str, ...]
    downloaded_bytes: int
    uploaded_bytes: int

    @classmethod
    def by(cls, result: PutResult, *, source: str, downloaded: int = 0) -> "Imported":
        """What a put did."""
        return cls(source, result.manifest, result.names, downloaded, result.uploaded_bytes)


def known(store: Store, digests: Collection[Digest]) -> Model | None:
    """The model of the store that is made of these files, or None; one that is found damaged here is none."""
    store.sync()
    if len(digests) == 1:
        model = store.catalog.model(next(iter(digests)))
    else:
        wanted = set(digests)
        models = store.catalog.models()
        model = next((one for one in models if {file.digest for file in one.manifest.files} == wanted), None)
    return model if model and _sound(store, model) else None


def say(store: Store, model: Model, request: PutRequest, *, source: str) -> Imported:
    """Note what was asked for of a model that the store has: no bytes are needed for that."""
    entries = [store.written.journal.append(document) for document in notes(model.digest, request, model)]
    store.catalog.apply(entries)
    names = {*model.names, *([str(request.name)] if request.name else ())}
    return Imported(source, model.manifest, tuple(sorted(names)), 0, 0)


def _sound(store: Store, model: Model) -> bool:
    # Only the embedded store's own copy can be looked at without fetching it.
    try:
        files = model.manifest.files if store.folder else ()
        return all(store.cache.find(file.digest, silent) for file in files)
    except Damaged:
        return False
