"""Which files of a model are loaded: its weights or all of its shards, and nothing else."""

from pathlib import Path

import pytest

from llstore.runner.weights import refuse_unrunnable, weights_of
from llstore.store import Digest, Manifest, Role
from llstore.store.errors import Unsafe
from llstore.store.get import CachedFile
from llstore.store.manifest import FileEntry, ModelFacts


def entry(role: Role, n: int) -> FileEntry:
    return FileEntry(role, Digest.of(bytes([n])), 1, Digest.of(b""))


def cached(*roles: Role) -> list[CachedFile]:
    return [CachedFile(entry(role, n), Path(str(n)), 0) for n, role in enumerate(roles)]


def test_weights_are_loaded_and_what_stands_beside_them_is_not() -> None:
    files = cached(Role.PROJECTOR, Role.WEIGHTS, Role.ADAPTER, Role.DRAFT, Role.TEMPLATE)
    assert weights_of(files) == (files[1],)


def test_all_shards_are_loaded_in_their_order() -> None:
    files = cached(Role.SHARD, Role.PROJECTOR, Role.SHARD, Role.SHARD)
    assert weights_of(files) == (files[0], files[2], files[3])


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.WEIGHTS, Role.SHARD)])
def test_a_model_without_weights_is_not_run(role: Role) -> None:
    with pytest.raises(Unsafe, match=f"stored as {role}"):
        refuse_unrunnable(Manifest((entry(role, 1),), ModelFacts()))
    refuse_unrunnable(Manifest((entry(role, 1), entry(Role.SHARD, 2)), ModelFacts()))
