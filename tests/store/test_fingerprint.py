"""The fingerprint: what some bytes are, however they arrive."""

import hashlib
import random
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from llstore.store.blocks import BLOCK_SIZE
from llstore.store.fingerprint import Fingerprint, Fingerprinter, fingerprint

LARGE = random.Random(0).randbytes(2 * BLOCK_SIZE + 12_345)

near_edges = st.builds(
    lambda edge, step: max(0, edge * BLOCK_SIZE + step), st.integers(0, 2), st.integers(-2, 2)
) | st.integers(0, len(LARGE))


def assert_right(found: Fingerprint, data: bytes) -> None:
    assert found.digest.hex == hashlib.sha256(data).hexdigest()
    assert found.size == found.blocks.size == len(data)
    blocks = (data[at : at + BLOCK_SIZE] for at in range(0, len(data), BLOCK_SIZE))
    assert found.blocks.hashes == tuple(blake3(block).digest() for block in blocks)


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE, len(LARGE)])
def test_a_fingerprint_is_the_sha256_and_a_blake3_of_every_8_mib(size: int) -> None:
    assert_right(fingerprint([LARGE[:size]]), LARGE[:size])


@settings(max_examples=12, deadline=None)
@given(st.lists(near_edges, max_size=8))
def test_how_the_bytes_are_cut_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(LARGE)]
    chunks = [LARGE[start:end] for start, end in pairwise(edges)]
    assert fingerprint(chunks) == fingerprint([LARGE])


@settings(deadline=None)
@given(st.lists(st.binary()))
def test_small_and_empty_chunks_count_for_what_they_are(chunks: list[bytes]) -> None:
    assert_right(fingerprint(iter(chunks)), b"".join(chunks))


def test_no_bytes_have_the_digest_of_no_bytes_and_no_blocks() -> None:
    found = fingerprint([])
    assert found.digest.hex.startswith("e3b0c44298fc1c14")
    assert found.blocks.hashes == ()


def test_a_fingerprint_so_far_does_not_disturb_the_rest() -> None:
    with Fingerprinter() as hasher:
        hasher.update(LARGE[:1000])
        assert_right(hasher.finish(), LARGE[:1000])
        hasher.update(LARGE[1000:])
        assert_right(hasher.finish(), LARGE)


def test_a_source_that_fails_is_not_given_a_fingerprint() -> None:
    def failing():
        yield b"some bytes"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        fingerprint(failing())
