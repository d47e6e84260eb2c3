"""A model on this machine, leased and loaded. Importing this loads llama.cpp."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ..runner.llama import LlamaModel
from ..store import Store
from ..store.get import CachedFile


@contextmanager
def loaded(store: Store, files: Sequence[CachedFile], *, gpu_layers: int | None = None) -> Iterator[LlamaModel]:
    """The model in `files`, which stay in the cache for as long."""
    with ExitStack() as held:
        for file in files:
            held.enter_context(store.cache.lease(file.entry.digest))
        yield held.enter_context(LlamaModel([file.path for file in files], gpu_layers=gpu_layers))
