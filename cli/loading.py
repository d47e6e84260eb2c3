"""A model on this machine, leased, checked and loaded. Importing this loads llama.cpp."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..runner.gate import admit
from ..runner.llama.model import LlamaModel, Loading
from ..runner.weights import weights_of
from ..store import GetResult, Store


@contextmanager
def loaded(
    store: Store, model: GetResult, *, gpu_layers: int | None = None, unchecked: bool = False
) -> Iterator[LlamaModel]:
    """The weights of `model`, kept in the cache for as long; the gate must let them pass, unless told otherwise."""
    files = weights_of(model.files)
    with ExitStack() as held:
        for file in files:
            held.enter_context(store.cache.lease(file.entry.digest))
        if not unchecked:
            admit(model, store.cache)
        yield held.enter_context(LlamaModel([file.path for file in files], Loading(gpu_layers=gpu_layers)))
