"""A model on this machine, leased, checked and loaded. Importing this loads llama.cpp."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..runner.gate import admit
from ..runner.llama.model import LlamaModel, Loading
from ..runner.weights import weights_of
from ..store import GetResult, Store


@contextmanager
def held(store: Store, model: GetResult, *, unchecked: bool = False) -> Iterator[Sequence[Path]]:
    """The files of a model's weights, kept in the cache for as long; the gate must let them pass, or be told not to."""
    files = weights_of(model.files)
    with ExitStack() as leases:
        for file in files:
            leases.enter_context(store.cache.lease(file.entry.digest))
        if not unchecked:
            admit(model, store.cache)
        yield [file.path for file in files]


@contextmanager
def loaded(store: Store, model: GetResult, loading: Loading, *, unchecked: bool = False) -> Iterator[LlamaModel]:
    """The same, loaded."""
    with held(store, model, unchecked=unchecked) as files, LlamaModel(files, loading) as found:
        yield found
