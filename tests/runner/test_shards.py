"""Split models: shards answer as the whole file does, and a wrong set of them is an error, never an abort."""

import os
from pathlib import Path

import gguf
import numpy as np
import pytest
from shards import write_shards
from tiny import write_tiny

from llstore.runner import Generator, LoadFailed, Sampling, raw_prompt
from llstore.runner.llama import LlamaModel


@pytest.fixture(scope="module")
def shards(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tiny model in three files."""
    return write_shards(tiny, 3, tmp_path_factory.mktemp("shards"))


def answer(model: LlamaModel) -> tuple[int, ...]:
    generator = Generator(model, raw_prompt(model, "Once upon a time"), Sampling(temperature=0, max_tokens=24))
    for _ in generator:
        pass
    return generator.result.tokens


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_shards_answer_as_the_whole_file_does(tiny: Path, shards: list[Path]) -> None:
    with LlamaModel(tiny) as whole, LlamaModel(shards) as split:
        assert split.chat_template == whole.chat_template
        assert len(answer(whole)) == 24
        assert answer(split) == answer(whole)


def test_shards_under_any_names_and_in_any_folders_are_loaded(tiny: Path, shards: list[Path], tmp_path: Path) -> None:
    moved = []
    for n, shard in enumerate(shards):
        (tmp_path / str(n)).mkdir()
        moved.append(tmp_path / str(n) / os.urandom(4).hex())
        moved[-1].write_bytes(shard.read_bytes())
    with LlamaModel(tiny) as whole, LlamaModel(moved) as split:
        assert answer(split) == answer(whole)


def test_open_files_are_loaded_whatever_their_names_mean_by_then(
    tiny: Path, shards: list[Path], tmp_path: Path
) -> None:
    copies = [tmp_path / shard.name for shard in shards]
    for shard, copy in zip(shards, copies, strict=True):
        copy.write_bytes(shard.read_bytes())
    opened = [os.open(copy, os.O_RDONLY) for copy in copies]
    for copy in copies:
        copy.unlink()
    os.lseek(opened[1], 100, os.SEEK_SET)
    with LlamaModel(tiny) as whole, LlamaModel(opened) as split:
        assert answer(split) == answer(whole)
    for fd in opened:
        os.close(fd)


def test_a_load_of_shards_leaves_no_descriptor_open(shards: list[Path]) -> None:
    before = descriptors()
    LlamaModel(shards).close()
    with pytest.raises(LoadFailed):
        LlamaModel([*shards[:2], shards[0].parent])
    with pytest.raises(LoadFailed):
        LlamaModel(shards[:2])
    assert descriptors() == before


def test_a_missing_shard_is_said(shards: list[Path]) -> None:
    with pytest.raises(LoadFailed, match="file 1 is shard 1 of 3, but 2 were given"):
        LlamaModel(shards[:2])
    with pytest.raises(LoadFailed, match="No such file"):
        LlamaModel([*shards[:2], shards[2].with_name("absent")])


@pytest.mark.parametrize("n", [0, 1])
def test_one_shard_alone_is_said_to_be_one(shards: list[Path], n: int) -> None:
    with pytest.raises(LoadFailed, match=f"shard {n + 1} of 3, but 1 was given"):
        LlamaModel(shards[n])


def test_shards_out_of_order_are_refused(shards: list[Path]) -> None:
    with pytest.raises(LoadFailed, match="file 1 of 3 is shard 2"):
        LlamaModel([shards[1], shards[0], shards[2]])
    with pytest.raises(LoadFailed, match="file 2 of 3 is shard 1"):
        LlamaModel([shards[0], shards[0], shards[2]])


def test_a_whole_model_among_shards_is_refused(tiny: Path, shards: list[Path]) -> None:
    with pytest.raises(LoadFailed, match="file 2 of 3 is no shard"):
        LlamaModel([shards[0], tiny, shards[2]])
    with pytest.raises(LoadFailed, match="file 1 of 2 is no shard"):
        LlamaModel([tiny, tiny])


def test_shards_of_models_with_other_tensors_are_refused(shards: list[Path], tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "llama")
    writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_NO, 1)
    writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_COUNT, 3)
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(LoadFailed, match="tensor"):
        LlamaModel([shards[0], tmp_path / "other.gguf", shards[2]])
    two = write_shards(write_tiny(tmp_path / "two.gguf", seed=1), 2, tmp_path)
    with pytest.raises(LoadFailed, match="file 2 is shard 2 of 2, but 3 were given"):
        LlamaModel([shards[0], two[1], shards[2]])


def test_a_shard_number_of_another_type_is_refused_where_llama_cpp_aborts(shards: list[Path], tmp_path: Path) -> None:
    # 2 is GGUF's type uint16, 4 its uint32: the next key's bytes make up the difference, as in a hostile file.
    key = gguf.Keys.Split.LLM_KV_SPLIT_NO.encode()
    data = shards[1].read_bytes()
    at = data.index(key) + len(key)
    hostile = tmp_path / "hostile.gguf"
    hostile.write_bytes(data[:at] + (4).to_bytes(4, "little") + (1).to_bytes(4, "little") + data[at + 6 :])
    with pytest.raises(LoadFailed, match="file 2 of 3 is no shard"):
        LlamaModel([shards[0], hostile, shards[2]])


def test_a_file_cut_short_among_shards_is_refused(shards: list[Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    for size in (0, 10, 200, shards[1].stat().st_size - 100):
        cut.write_bytes(shards[1].read_bytes()[:size])
        with pytest.raises(LoadFailed):
            LlamaModel([shards[0], cut, shards[2]])


def test_no_files_are_no_model() -> None:
    with pytest.raises(LoadFailed):
        LlamaModel([])
