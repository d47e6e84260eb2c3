"""What tells two models apart: told from their headers, and from their bytes when they are there."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from seaweed import SeaweedFS
from shards import write_shards
from tiny import TEMPLATE, write_tiny

from llstore.store import Manifest, PutRequest, Settings, Store
from llstore.store.compare import Difference, describe, difference
from llstore.store.errors import Damaged
from llstore.store.headers import base_files, headers, local_paths
from llstore.store.layout import blob_key
from llstore.store.progress import silent

OTHER_TEMPLATE = TEMPLATE.replace("assistant", "helper")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store(settings) as found:
        yield found


def put(store: Store, path: Path) -> Manifest:
    return store.put(PutRequest(path)).manifest


def compared(store: Store, one: Manifest, other: Manifest, *, bytes_too: bool = True) -> Difference:
    sides = [
        describe(headers(store, manifest), local_paths(store, manifest) if bytes_too else None, progress=silent)
        for manifest in (one, other)
    ]
    return difference(*sides)


def test_a_model_is_no_other_than_itself(store: Store, tiny: Path) -> None:
    found = compared(store, put(store, tiny), put(store, tiny))
    assert found.none
    assert found.summary == "same weights, same header"


def test_a_changed_template_is_told_with_the_weights_the_same(store: Store, tiny: Path, tmp_path: Path) -> None:
    other = put(store, write_tiny(tmp_path / "other.gguf", template=OTHER_TEMPLATE))
    found = compared(store, put(store, tiny), other)
    assert found.summary == "same weights, template changed"
    assert found.template == (TEMPLATE, OTHER_TEMPLATE)
    assert (found.keys, found.tokenizer, found.tensors, found.none) == ({}, {}, {}, False)


def test_other_weights_are_told_by_tensor(store: Store, tiny: Path, tmp_path: Path) -> None:
    found = compared(store, put(store, tiny), put(store, write_tiny(tmp_path / "other.gguf", seed=1)))
    assert found.weights is False
    assert set(found.keys) == {"general.name"}
    # The norms are all ones in both.
    assert "output_norm.weight" not in found.tensors
    first, second = found.tensors["output.weight"]
    assert first
    assert second
    assert (first.shape, first.type) == (second.shape, second.type)
    assert first.digest != second.digest


def test_without_bytes_weights_are_not_said_to_be_the_same(store: Store, tiny: Path, tmp_path: Path) -> None:
    other = put(store, write_tiny(tmp_path / "other.gguf", seed=1))
    found = compared(store, put(store, tiny), other, bytes_too=False)
    assert found.weights is None
    assert not found.none
    assert found.summary.startswith("weights not compared")


def test_a_model_and_its_shards_have_the_same_weights_and_header(store: Store, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    write_shards(tiny, 3, tmp_path / "shards")
    found = compared(store, put(store, tiny), put(store, tmp_path / "shards"))
    assert found.summary == "same weights, same header"


def test_a_header_is_read_from_the_bucket_by_its_first_block_and_checked(
    settings: Settings, bucket: str, seaweed: SeaweedFS, smollm2: Path, home: Path
) -> None:
    writer = Settings(cache=home / "a/cache", data=home / "a/data", url=bucket)
    with Store(writer) as store:
        manifest = put(store, smollm2)
    with Store(Settings(cache=home / "b/cache", data=home / "b/data", url=bucket)) as reader:
        (header,) = headers(reader, manifest)
        assert header.architecture == "llama"
        assert header.tokenizer_digest == manifest.facts.vocabulary
        assert not reader.cache.has(manifest.main.digest)
        assert base_files(manifest) == list(manifest.files)
    data = bytearray(smollm2.read_bytes())
    data[1000] ^= 1
    seaweed.client().put_object(Bucket=urlsplit(bucket).netloc, Key=blob_key(manifest.main.digest), Body=bytes(data))
    with (
        Store(Settings(cache=home / "c/cache", data=home / "c/data", url=bucket)) as reader,
        pytest.raises(Damaged, match="in block 0"),
    ):
        headers(reader, manifest)
