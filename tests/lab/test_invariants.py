"""Each of the invariants, when it is broken, is seen to be."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from invariants import Kept, Place, check

from llstore.store import PutRequest, Role, Store

BREAKAGES: dict[str, tuple[int, Callable[[Place, str], object]]] = {
    "an object removed": (1, lambda place, digest: shard(place.home.parent / "store", "blobs", digest).unlink()),
    "a block list removed": (1, lambda place, digest: shard(place.home.parent / "store", "blocks", digest).unlink()),
    "other bytes in the store": (2, lambda place, digest: spoil(shard(place.home.parent / "store", "blobs", digest))),
    "other bytes in the cache": (2, lambda place, digest: spoil(shard(place.home / "cache", "blobs", digest))),
    "a model forgotten": (3, lambda place, digest: shutil.rmtree(place.home.parent / "store/journal")),
    "a pinned blob evicted": (3, lambda place, digest: shard(place.home / "cache", "blobs", digest).unlink()),
    "half a manifest": (4, lambda place, digest: spoil(shard(place.home / "cache", "manifests", digest))),
    "a part file": (4, lambda place, digest: (place.home.parent / "store/blobs/.a.part").touch()),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_invariant_is_named(breakage: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "file").write_bytes(b"bytes" * 1000)
    place = Place(tmp_path / "home", (tmp_path / "store").as_uri())
    with Store(place.settings) as store:
        model = store.put(PutRequest(tmp_path / "file", role=Role.OTHER)).manifest.model
        store.get(model)
    digest, kept = model.hex, Kept(frozenset([model.hex]), frozenset([model.hex]))
    check(place, kept)
    invariant, breaks = BREAKAGES[breakage]
    breaks(place, digest)
    with pytest.raises(AssertionError, match=f"broken: {invariant}[.]"):
        check(place, kept)


def shard(root: Path, kind: str, digest: str) -> Path:
    return root / kind / "sha256" / digest[:2] / digest


def spoil(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
