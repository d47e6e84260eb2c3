"""Reading an object back and comparing it with its block list."""

import os
from dataclasses import replace

import pytest

from llstore.store.backends import MemoryBackend
from llstore.store.blocks import BLOCK_SIZE, BlockList
from llstore.store.fingerprint import fingerprint
from llstore.store.transfer.audit import wrong_blocks

DATA = os.urandom(2 * BLOCK_SIZE + 1000)


@pytest.fixture(params=[True, False], ids=["ranges", "one-stream"])
def backend(request: pytest.FixtureRequest) -> MemoryBackend:
    found = MemoryBackend()
    found.properties = replace(found.properties, ranges=request.param)
    return found


def wrong(backend: MemoryBackend, data: bytes, indexes: range = range(3)) -> list[int]:
    backend.write("a", [data], size=len(data))
    return wrong_blocks(backend, "a", blocks(), indexes=indexes, progress=lambda done: None)


def blocks() -> BlockList:
    return fingerprint([DATA]).blocks


def test_what_is_right_has_no_wrong_block(backend: MemoryBackend) -> None:
    assert wrong(backend, DATA) == []


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_flipped_bit_is_found_in_its_block(backend: MemoryBackend, index: int) -> None:
    data = bytearray(DATA)
    data[index * BLOCK_SIZE + 7] ^= 4
    assert wrong(backend, bytes(data)) == [index]
    others = [other for other in range(3) if other != index]
    assert wrong_blocks(backend, "a", blocks(), indexes=others, progress=lambda done: None) == []


def test_what_is_cut_short_is_wrong_from_there_on(backend: MemoryBackend) -> None:
    assert wrong(backend, DATA[: BLOCK_SIZE + 5]) == [1, 2]
    assert wrong(backend, b"") == [0, 1, 2]
