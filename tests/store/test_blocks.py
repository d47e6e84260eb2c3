"""The block list: its stored form, and what it says about a blob."""

import struct

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from llstore.store.blocks import BLOCK_SIZE, BlockList
from llstore.store.errors import Damaged

hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple)
TWO = BlockList(BLOCK_SIZE + 1, (blake3(b"first").digest(), blake3(b"second").digest()))


@st.composite
def block_lists(draw: st.DrawFn) -> BlockList:
    found = draw(hashes)
    last = draw(st.integers(1, BLOCK_SIZE))
    return BlockList((len(found) - 1) * BLOCK_SIZE + last if found else 0, found)


@given(block_lists())
def test_a_list_decodes_as_it_was_encoded(blocks: BlockList) -> None:
    assert BlockList.decode(blocks.encode()) == blocks


def test_the_stored_form_is_the_one_that_is_written_down() -> None:
    header = b"llblocks" + bytes.fromhex("01000000 00008000 0100800000000000 0000000000000000")
    assert TWO.encode() == header + TWO.hashes[0] + TWO.hashes[1]
    assert len(BlockList(0, ()).encode()) == 32


def header(*, magic: bytes = b"llblocks", version: int = 1, block: int = BLOCK_SIZE, size: int = TWO.size) -> bytes:
    return struct.pack("<8sIIQ8x", magic, version, block, size)


@pytest.mark.parametrize(
    "wrong",
    [
        header(magic=b"llblockz"),
        header(version=0),
        header(version=2),
        header(block=BLOCK_SIZE // 2),
        header(block=0),
        header(size=0),
        header(size=BLOCK_SIZE),
        header(size=2 * BLOCK_SIZE + 1),
        header(size=2**64 - 1),
    ],
)
def test_a_header_that_does_not_fit_is_refused(wrong: bytes) -> None:
    body = TWO.encode()[32:]
    assert BlockList.decode(header() + body) == TWO
    with pytest.raises(Damaged):
        BlockList.decode(wrong + body)


@pytest.mark.parametrize("length", range(len(TWO.encode())))
def test_a_truncated_list_is_refused(length: int) -> None:
    with pytest.raises(Damaged):
        BlockList.decode(TWO.encode()[:length])


def test_a_list_with_bytes_behind_it_is_refused() -> None:
    for tail in (b"\0", bytes(32)):
        with pytest.raises(Damaged):
            BlockList.decode(TWO.encode() + tail)


@given(st.binary(max_size=200))
def test_junk_is_refused(data: bytes) -> None:
    with pytest.raises(Damaged):
        BlockList.decode(data)


def test_a_list_holds_the_blocks_it_was_made_of_where_they_stand() -> None:
    assert TWO.holds(0, b"first")
    assert TWO.holds(1, b"second")
    assert not TWO.holds(0, b"second")
    assert not TWO.holds(1, b"secon")


def test_a_list_holds_nothing_past_its_end() -> None:
    assert not TWO.holds(2, b"second")
    assert not BlockList(0, ()).holds(0, b"")


@given(hashes)
def test_equal_lists_have_no_difference(found: tuple[bytes, ...]) -> None:
    assert BlockList(0, found).first_difference(BlockList(0, found)) is None


@given(hashes, hashes, hashes)
def test_the_first_difference_is_where_two_lists_part(
    same: tuple[bytes, ...], one: tuple[bytes, ...], other: tuple[bytes, ...]
) -> None:
    if one[:1] == other[:1]:
        return
    mine, theirs = BlockList(0, same + one), BlockList(0, same + other)
    assert mine.first_difference(theirs) == len(same)
    assert theirs.first_difference(mine) == len(same)
