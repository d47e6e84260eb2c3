"""Which files of a model llama.cpp loads."""

from collections.abc import Sequence

from ..store import Manifest, Role
from ..store.errors import Unsafe
from ..store.get import CachedFile

_LOADED = (Role.WEIGHTS, Role.SHARD)


def refuse_unrunnable(manifest: Manifest) -> None:
    """Raises Unsafe for a model that has no weights."""
    if not any(file.role in _LOADED for file in manifest.files):
        raise Unsafe(f"{manifest.model} was stored as {manifest.main.role}, not as weights to run")


def weights_of(files: Sequence[CachedFile]) -> tuple[CachedFile, ...]:
    """The weights file, or all shards in their order; a model's other files are not loaded."""
    whole = [file for file in files if file.entry.role is Role.WEIGHTS]
    return tuple(whole[:1] or [file for file in files if file.entry.role is Role.SHARD])
