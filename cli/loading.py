"""A model on this machine, leased, checked and loaded. Importing this loads llama.cpp."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..runner.gate import admit
from ..runner.llama.model import LlamaModel, Loading
from ..runner.notes import notes
from ..runner.weights import weights_of
from ..store import GetResult, Store


@contextmanager
def leased(store: Store, model: GetResult, *, unchecked: bool = False) -> Iterator[list[Path]]:
    """The weights of `model`, kept in the cache for as long; the gate must let them pass, unless told otherwise."""
    files = weights_of(model.files)
    notes.model = model.manifest.model.short
    with ExitStack() as held:
        for file in files:
            held.enter_context(store.cache.lease(file.entry.digest))
        if not unchecked:
            admit(model, store.cache)
        yield [file.path for file in files]


@contextmanager
def loaded(store: Store, model: GetResult, loading: Loading, *, unchecked: bool = False) -> Iterator[LlamaModel]:
    """The model, loaded, and its weights kept in the cache for as long."""
    with leased(store, model, unchecked=unchecked) as files, LlamaModel(files, loading) as found:
        yield found
