"""What a part file holds already is taken as far as the block list confirms it, and no further."""

from collections.abc import Callable

import pytest
from flaky import KEY, Flaky, Pieces, content, downloading, same, silent, truth, written

from llstore.store.blocks import BLOCK_SIZE, BlockList
from llstore.store.disk import PartFile
from llstore.store.transfer.download import Download
from llstore.store.transfer.fetcher import Wanted


def adopted(part: PartFile, blocks: BlockList, data: bytes) -> Download:
    flaky = Flaky(data)
    with downloading(flaky, part, blocks) as download:
        download.adopt(lambda done: None)
        here = download.here
        assert download.run(silent) == truth(len(data))
        assert same(written(part, len(data)), data)
        assert download.fetched == len(data) - here == flaky.sent
        assert download.condemned is None
        part.commit(part.path.with_suffix(".whole"))
        assert same(part.path.with_suffix(".whole").read_bytes(), data)
    return download


@pytest.mark.parametrize("good", [(), (0, 1), (2,), (0, 1, 2)], ids=lambda good: "".join(map(str, good)) or "none")
@pytest.mark.parametrize("rest", ["half", "wrong"])
def test_of_a_part_file_only_what_is_right_is_adopted(
    good: tuple[int, ...], rest: str, part_of: Callable[[int], PartFile]
) -> None:
    size = 2 * BLOCK_SIZE + 33
    data = content(size)
    part = part_of(size)
    for block in range(3):
        at = slice(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
        right = data[at]
        others = {"half": right[: len(right) // 2], "wrong": right[::-1]}  # after the half, zeros
        part.write_at(at.start, right if block in good else others[rest])
    path, part._kept = part.path, True
    part.close()
    with PartFile(path, size=size, adopt=True) as again:
        found = adopted(again, truth(size).blocks, data)
    wanted = Wanted(KEY, size, None)
    assert found.fetched == sum(wanted.length(block) for block in range(3) if block not in good)


@pytest.mark.parametrize("length", [0, 1, BLOCK_SIZE, 2 * BLOCK_SIZE + 1])
def test_a_part_file_that_is_shorter_is_adopted_as_far_as_it_goes(
    length: int, part_of: Callable[[int], PartFile]
) -> None:
    size = 2 * BLOCK_SIZE + 22
    part = part_of(0)
    part.write_at(0, content(size)[:length])
    found = adopted(part, truth(size).blocks, content(size))
    assert found.fetched == size - length // BLOCK_SIZE * BLOCK_SIZE


def test_a_block_refused_when_adopted_does_not_condemn_the_list(part_of: Callable[[int], PartFile]) -> None:
    size = BLOCK_SIZE
    part = part_of(size)
    wrong = bytes([content(size)[0] ^ 1]) + content(size)[1:]
    part.write_at(0, wrong)

    def same(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        if len(flaky.asked) == 1:
            piece = next(pieces)
            yield wrong[:1] + piece[1:]
        yield from pieces

    flaky = Flaky(content(size), same)
    with downloading(flaky, part, truth(size).blocks) as download:
        download.adopt(lambda done: None)
        assert download.here == 0
        assert download.run(silent) == truth(size)
        assert download.condemned is None


def test_without_a_list_nothing_is_adopted(part_of: Callable[[int], PartFile]) -> None:
    part = part_of(99)
    part.write_at(0, content(99))
    with downloading(Flaky(content(99)), part, None) as download:
        download.adopt(lambda done: None)
        assert download.here == 0


def test_a_part_file_that_was_only_reserved_is_not_read(part_of: Callable[[int], PartFile]) -> None:
    """Reading reserved space would fill the page cache with zeros, as much as the whole blob."""
    size = 3 * BLOCK_SIZE
    part = part_of(size)
    part.write_at(BLOCK_SIZE, content(size)[BLOCK_SIZE : 2 * BLOCK_SIZE])
    looked_at: list[int] = []
    with downloading(Flaky(content(size)), part, truth(size).blocks) as download:
        download.adopt(looked_at.append)
        assert looked_at == [BLOCK_SIZE]
        assert download.here == BLOCK_SIZE
