"""Models of many files: put together only when they belong together and nothing is missing."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from shards import write_shards
from tiny import write_tiny

from llstore.store import Digest, PutRequest, Role, Settings, Store
from llstore.store.errors import FileNotThere, Unsafe


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store(settings) as found:
        yield found


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A model in three shards."""
    found = tmp_path / "shards"
    found.mkdir()
    write_shards(tiny, 3, found)
    return found


def side_file(path: Path, kind: str) -> Path:
    """A small GGUF that says it is of that kind."""
    writer = gguf.GGUFWriter(path, "clip" if kind == "mmproj" else "llama")
    writer.add_type(kind)
    writer.add_tensor("a", np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_folder_of_shards_is_one_model_in_their_order(store: Store, folder: Path, tiny: Path) -> None:
    found = store.put(PutRequest(folder)).manifest
    names = sorted(folder.glob("*.gguf"))
    assert [file.digest for file in found.files] == [Digest.of(path.read_bytes()) for path in names]
    assert {file.role for file in found.files} == {Role.SHARD}
    assert found.model == found.digest
    whole = store.put(PutRequest(tiny)).manifest.facts
    assert (found.facts.parameters, found.facts.quantization) == (whole.parameters, whole.quantization)
    assert (found.facts.tensors, found.facts.vocabulary) == (whole.tensors, whole.vocabulary)


def test_files_given_in_any_order_are_the_same_model(store: Store, folder: Path) -> None:
    first, *others = sorted(folder.glob("*.gguf"), reverse=True)
    model = store.put(PutRequest(first, more=tuple(others))).manifest.model
    assert store.put(PutRequest(folder)).deduplicated
    assert store.put(PutRequest(folder / "*.gguf")).manifest.model == model
    assert store.get(model).path.read_bytes() == others[-1].read_bytes()


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_model_that_lacks_a_shard_is_refused_and_nothing_is_stored(store: Store, folder: Path, lost: int) -> None:
    sorted(folder.glob("*.gguf"))[lost].unlink()
    with pytest.raises(Unsafe, match=rf"is one of 3 shards, and of these {lost + 1} is not there"):
        store.put(PutRequest(folder))
    assert store.models() == []


def test_one_shard_alone_is_refused_and_can_be_stored_as_it_is(store: Store, folder: Path) -> None:
    shard = sorted(folder.glob("*.gguf"))[1]
    with pytest.raises(Unsafe, match="of these 1, 3 are not there"):
        store.put(PutRequest(shard))
    assert store.put(PutRequest(shard, role=Role.OTHER)).manifest.main.role is Role.OTHER


def test_shards_of_two_models_are_refused(store: Store, folder: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    write_shards(tiny, 2, tmp_path / "two")
    with pytest.raises(Unsafe):
        store.put(PutRequest(folder, more=(tmp_path / "two",)))


def test_what_belongs_to_the_weights_is_recognised(store: Store, tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(tiny.read_bytes())
    projector, adapter = side_file(folder / "vision.gguf", "mmproj"), side_file(folder / "lora.gguf", "adapter")
    (folder / "LICENSE.txt").write_text("free")
    (folder / "notes.md").write_text("not of the model")
    draft = write_tiny(tmp_path / "draft.gguf", seed=1)
    found = store.put(PutRequest(folder, more=(draft,), roles=(("draft*", Role.DRAFT),))).manifest
    assert [file.role for file in found.files] == [
        Role.WEIGHTS,
        Role.PROJECTOR,
        Role.ADAPTER,
        Role.DRAFT,
        Role.LICENSE,
    ]
    assert found.main.digest == Digest.of(tiny.read_bytes())
    assert found.facts.architecture == "llama"
    files = {file.entry.role: file.path.read_bytes() for file in store.get(found.model).files}
    assert files[Role.PROJECTOR] == projector.read_bytes()
    assert files[Role.ADAPTER] == adapter.read_bytes()


def test_a_projector_or_an_adapter_may_stand_alone(store: Store, tmp_path: Path) -> None:
    for kind, role in (("mmproj", Role.PROJECTOR), ("adapter", Role.ADAPTER)):
        path = side_file(tmp_path / f"{kind}.gguf", kind)
        manifest = store.put(PutRequest(path)).manifest
        assert (manifest.main.role, manifest.model) == (role, Digest.of(path.read_bytes()))


def test_weights_of_two_models_are_refused(store: Store, tiny: Path, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other.gguf", seed=1)
    with pytest.raises(Unsafe, match="weights of 2 models"):
        store.put(PutRequest(tiny, more=(other,)))


def test_the_same_bytes_twice_are_refused(store: Store, tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny.read_bytes())
    with pytest.raises(Unsafe, match="the same bytes"):
        store.put(PutRequest(tiny, more=(copy,), roles=(("copy*", Role.DRAFT),)))


def test_a_folder_or_pattern_that_means_no_file_is_not_found(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "*.gguf"):
        with pytest.raises(FileNotThere):
            store.put(PutRequest(path))
