"""The reader of GGUF headers: right about whole files, and quick to refuse the rest."""

import ast
import io
import math
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import gguf
import pytest
from ggml import ggml_base, llama_cpp
from gguf_bytes import F32, U8, U32, array, head, pair, tensor, text, u32, whole, words
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import calls
from worst_headers import WORST

from llstore.store import Digest
from llstore.store.errors import Unsafe
from llstore.store.gguf import GgufHeader, read_header
from llstore.store.gguf.types import ARRAY, FILE_TYPES, SCALARS, STRING, TENSOR_TYPES
from llstore.store.gguf.window import CHUNK

TINY_HEADER = 5984  # where the tiny model's data start
HUGE = 1 << 62
MOST_CALLS = 2_000_000  # half a second's worth of work


def read(data: bytes) -> GgufHeader:
    return read_header(io.BytesIO(data), len(data))


def read_file(path: Path) -> GgufHeader:
    with path.open("rb") as file:
        return read_header(file, path.stat().st_size)


def test_tensors_are_those_the_format_s_own_reader_finds(tiny: Path) -> None:
    header = read_file(tiny)
    mine = [(tensor.name, tensor.shape, tensor.type, tensor.size) for tensor in header.tensors]
    reader = gguf.GGUFReader(tiny)
    theirs = [
        (tensor.name, tuple(int(length) for length in tensor.shape), tensor.tensor_type.name, int(tensor.n_bytes))
        for tensor in reader.tensors
    ]
    assert mine == theirs
    assert [header.data_start + tensor.offset for tensor in header.tensors] == [
        int(tensor.data_offset) for tensor in reader.tensors
    ]


def test_every_kind_of_value_is_read() -> None:
    values = {kind: struct.pack(form, 1) for kind, form in SCALARS.items()}
    keys = [pair(f"key.{kind}", kind, value) for kind, value in values.items()]
    keys += [words("words", "wörter"), array("numbers", U8, 3, b"abc"), array("none", STRING, 0)]
    nested = struct.pack("<IQ", STRING, 1) + text("inner")
    keys += [array("nested", ARRAY, 1, nested), u32("last", 7)]
    metadata = read(whole(keys)).metadata
    assert metadata == {f"key.{kind}": 1 for kind in SCALARS} | {"words": "wörter", "last": 7}


def test_strings_across_what_is_read_at_once_are_read_all_the_same() -> None:
    lengths = [0, 1, CHUNK - 60, 5, CHUNK - 8, CHUNK, 2 * CHUNK + 3, 7, 0]
    body = b"".join(text(b"x" * length) for length in lengths)
    for shift in range(9):
        header = read(whole([words("k" * shift, "v"), array("a", STRING, len(lengths), body), u32("end", 7)]))
        assert header.arrays["a"].digest == Digest.of(body)
        assert header.metadata["end"] == 7


@pytest.mark.parametrize("of", WORST)
def test_the_worst_header_costs_two_million_calls_and_64_mib_at_most(of: str) -> None:
    data = WORST[of]()
    file = io.BytesIO(data)

    def judge() -> None:
        with suppress(Unsafe):
            read_header(file, len(data))

    assert calls(judge) < MOST_CALLS
    file.seek(0)
    tracemalloc.start()
    try:
        with suppress(Unsafe):
            read_header(file, len(data))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_text_that_is_not_utf_8_is_still_read() -> None:
    assert read(whole([pair("general.architecture", STRING, text(b"ll\xffama"))])).architecture == "ll�ama"


def test_alignment_moves_the_data() -> None:
    keys = [u32("general.alignment", 256)]
    found = head(keys, [tensor("a", (4,))])
    assert read(found + bytes(-len(found) % 256 + 16)).data_start == -(-len(found) // 256) * 256
    with pytest.raises(Unsafe, match="cut short"):
        read(found + bytes(-len(found) % 256 + 15))


def positions(tiny: Path) -> Iterator[int]:
    size = tiny.stat().st_size
    yield from range(30)
    yield from range(30, TINY_HEADER + 40, 53)
    yield from range(TINY_HEADER + 40, size, 4001)
    yield from (size - 32, size - 1)


def test_a_truncated_file_is_refused_wherever_it_ends(tiny: Path) -> None:
    data = tiny.read_bytes()
    tried = list(positions(tiny))
    assert len(tried) > 200
    for length in tried:
        with pytest.raises(Unsafe):
            read(data[:length])
    assert read(data).architecture == "llama"


def test_a_header_that_ends_anywhere_is_refused() -> None:
    keys = [words("general.architecture", "llama"), array("tokens", STRING, 2, text("a") + text("b"))]
    data = head([*keys, array("types", U32, 2, bytes(8))], [tensor("weights", (4, 2))])
    for length in range(len(data)):
        with pytest.raises(Unsafe):
            read(data[:length])


def test_a_file_that_shrinks_while_it_is_read_is_refused(tiny: Path) -> None:
    data = tiny.read_bytes()
    for length in (3, 100, TINY_HEADER - 100):
        with pytest.raises(Unsafe):
            read_header(io.BytesIO(data[:length]), len(data))


@settings(max_examples=300, deadline=2000)
@given(st.data())
def test_a_mutated_header_is_read_or_refused_and_quickly(tiny: Path, data: st.DataObject) -> None:
    bytes_ = bytearray(tiny.read_bytes())
    changes = st.tuples(
        st.integers(0, TINY_HEADER - 1), st.sampled_from([0, 1, 9, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    )
    for position, value in data.draw(st.lists(changes, min_size=1, max_size=8)):
        bytes_[position] = value
    try:
        header = read(bytes(bytes_))
    except Unsafe:
        return
    assert header.size <= len(bytes_)
    assert isinstance(header.architecture, str | None)
    assert isinstance(header.quantization, str | None)
    assert isinstance(header.context_length, int | None)
    assert header.parameters >= 0


@given(st.binary(max_size=200))
def test_junk_behind_the_magic_is_read_or_refused(tail: bytes) -> None:
    for data in (tail, b"GGUF" + tail, head([])[:8] + tail):
        with suppress(Unsafe):
            assert read(data).size <= len(data)


FALSE_COUNTS = {
    "keys": b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE),
    "tensors": b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0),
    "both": b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 2**64 - 1),
    "bytes in a key": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE),
    "bytes in a string": head([pair("k", STRING, struct.pack("<Q", HUGE))]),
    "bytes in a tensor name": b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, HUGE),
    "numbers in an array": head([array("k", U8, HUGE)]),
    "wide numbers in an array": head([array("k", 12, HUGE)]),
    "strings in an array": head([array("k", STRING, HUGE)]),
    "arrays in an array": head([array("k", ARRAY, HUGE)]),
    "bytes in a string in an array": head([array("k", STRING, 1, struct.pack("<Q", HUGE))]),
    "numbers in an array in an array": head([array("k", ARRAY, 1, struct.pack("<IQ", U8, HUGE))]),
    "dimensions": b"GGUF" + struct.pack("<IQQQI", 3, 1, 0, 0, 2**32 - 1),
    "weights": head([], [tensor("t", (HUGE, HUGE, HUGE, HUGE))]),
    "offset": head([], [tensor("t", (1,), offset=HUGE)]),
}


@pytest.mark.parametrize("of", FALSE_COUNTS)
def test_a_false_count_is_refused_at_once(of: str) -> None:
    data = FALSE_COUNTS[of].ljust(43, b"\0")

    def refuse() -> None:
        with pytest.raises(Unsafe):
            read(data)

    assert calls(refuse) < 500


class CountingFile(io.BytesIO):
    """A file that knows how often it was read."""

    reads = 0

    def read(self, count: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(count)


@pytest.mark.parametrize("kind", [STRING, ARRAY])
@pytest.mark.parametrize("length", [HUGE, 2**40, 1 << 20])
def test_a_false_count_is_refused_before_its_items_are_looked_at(kind: int, length: int) -> None:
    file = CountingFile(head([array("k", kind, length)]) + bytes(1 << 20))
    with pytest.raises(Unsafe, match="cut short"):
        read_header(file, len(file.getvalue()))
    assert file.reads < 20


@pytest.mark.parametrize("data", [b"", b"G", b"GGU", b"GGML" + bytes(40), b"\x80\x05pickle" + bytes(40), b"PK\3\4"])
def test_what_is_not_gguf_is_refused(data: bytes) -> None:
    with pytest.raises(Unsafe, match="empty" if not data else "not a GGUF"):
        read(data)


@pytest.mark.parametrize("version", [0, 1, 4])
def test_another_version_is_refused(version: int) -> None:
    with pytest.raises(Unsafe, match=f"version {version}"):
        read(whole([], version=version))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_another_byte_order_is_refused(version: int) -> None:
    with pytest.raises(Unsafe, match="big-endian"):
        read(whole([], version=version << 24))


@pytest.mark.parametrize(
    "twice",
    [u32("k", 1), words("k", "v"), pytest.param(array("k", STRING, 1, text("token")), id="array")],
)
def test_a_key_that_stands_twice_is_refused(twice: bytes) -> None:
    assert read(whole([twice]))
    with pytest.raises(Unsafe, match="'k' twice"):
        read(whole([twice, u32("other", 1), twice]))


@pytest.mark.parametrize("kind", [13, 99, 2**32 - 1])
def test_a_value_of_unknown_type_is_refused(kind: int) -> None:
    for data in (whole([pair("k", kind, bytes(8))]), whole([array("k", kind, 1, bytes(8))])):
        with pytest.raises(Unsafe, match=f"unknown type {kind}"):
            read(data)


def test_arrays_nested_without_end_are_refused() -> None:
    with pytest.raises(Unsafe):
        read(whole([array("k", ARRAY, 1, struct.pack("<IQ", ARRAY, 1) * 5_000 + bytes(100))]))


@pytest.mark.parametrize("alignment", [0, 3, 33, 1 << 21, 2**32 - 1])
def test_an_alignment_that_is_none_is_refused(alignment: int) -> None:
    with pytest.raises(Unsafe, match="alignment"):
        read(whole([u32("general.alignment", alignment)]))


def test_an_alignment_that_is_no_number_is_refused() -> None:
    with pytest.raises(Unsafe, match="alignment"):
        read(whole([words("general.alignment", "32")]))
    with pytest.raises(Unsafe, match="alignment"):
        read(whole([pair("general.alignment", F32, struct.pack("<f", 32.0))]))


@pytest.mark.parametrize("kind", [4, 5, 31, 43, 2**32 - 1])
def test_a_tensor_of_unknown_type_is_refused(kind: int) -> None:
    with pytest.raises(Unsafe, match=f"unknown type {kind}"):
        read(whole([], [tensor("t", (32,), kind=kind)], data=4096))


def test_a_tensor_with_five_dimensions_is_refused() -> None:
    assert read(whole([], [tensor("t", (1, 1, 1, 1))], data=4))
    with pytest.raises(Unsafe, match="5 dimensions"):
        read(whole([], [tensor("t", (1, 1, 1, 1, 1))], data=4096))


def test_a_row_that_does_not_fill_its_blocks_is_refused() -> None:
    assert read(whole([], [tensor("t", (32, 3), kind=2)], data=54)).tensors[0].size == 54
    with pytest.raises(Unsafe, match="Q4_0"):
        read(whole([], [tensor("t", (33, 32), kind=2)], data=4096))


@given(
    st.sampled_from(sorted(TENSOR_TYPES)),
    st.integers(1, 4),
    st.lists(st.integers(1, 5), max_size=3),
    st.integers(0, 3),
)
def test_a_file_is_whole_when_its_last_tensor_is(kind: int, blocks: int, rows: list[int], place: int) -> None:
    _, in_block, block_bytes = TENSOR_TYPES[kind]
    shape = (blocks * in_block, *rows)
    size = blocks * math.prod(rows) * block_bytes
    tensors = [tensor("last", shape, kind=kind, offset=32 * place), tensor("first", (1,))]
    least = max(32 * place + size, 4)
    header = read(whole([], tensors, data=least))
    assert header.tensors[0].size == size
    assert header.tensors[0].weights == math.prod(shape)
    assert header.parameters == math.prod(shape) + 1
    with pytest.raises(Unsafe, match="cut short"):
        read(whole([], tensors, data=least - 1))


@cache
def constants() -> dict[str, int]:
    """llama.cpp's numbers by name."""
    body = ast.parse((llama_cpp() / "llama_cpp.py").read_text(encoding="utf-8")).body
    assigned = [node for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    return {ast.unparse(node.targets[0]): node.value.value for node in assigned if isinstance(node.value.value, int)}


def test_tensor_types_are_those_of_ggml() -> None:
    ggml, theirs = ggml_base(), {}
    # Asked for more, ggml reads past its table.
    for kind in range(constants()["GGML_TYPE_COUNT"]):
        if in_block := ggml.ggml_blck_size(kind):
            name = ggml.ggml_type_name(kind).decode().upper()
            theirs[kind] = (name, in_block, ggml.ggml_type_size(kind))
    assert theirs == TENSOR_TYPES


def test_value_types_are_those_of_gguf_py() -> None:
    assert {*SCALARS, STRING, ARRAY} == {int(kind) for kind in gguf.GGUFValueType}
    assert (STRING, ARRAY) == (gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY)


def test_mixtures_are_named_as_llama_cpp_names_them() -> None:
    theirs = {kind: name for name, kind in constants().items() if name.startswith("LLAMA_FTYPE_")}
    theirs.pop(constants()["LLAMA_FTYPE_GUESSED"])
    called = {
        kind: name.replace("_ALL_", "_MOSTLY_").removeprefix("LLAMA_FTYPE_MOSTLY_") for kind, name in theirs.items()
    }
    assert called | {constants()["LLAMA_FTYPE_MOSTLY_MXFP4_MOE"]: "MXFP4"} == FILE_TYPES
