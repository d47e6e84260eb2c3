"""A download against real threads, a real file and a store that fails in every way that stores do."""

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flaky import (
    KEY,
    PACE,
    PIECE,
    Fault,
    Flaky,
    Pieces,
    check_whole,
    content,
    crumble,
    cut,
    downloading,
    drip,
    flip,
    refuse,
    shorten,
    silent,
    stall,
    stall_a_while,
    too_much,
    truth,
    written,
)

from llstore.store.blocks import BLOCK_SIZE, BlockList
from llstore.store.digest import Digest
from llstore.store.disk import PartFile
from llstore.store.errors import Damaged, DiskError, KeyNotFound, Refused, StoreError, Unreachable
from llstore.store.fingerprint import fingerprint
from llstore.store.transfer.download import Download, Pace
from llstore.store.transfer.fetcher import Wanted
from llstore.store.transfer.spans import ATTEMPTS


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 4 * BLOCK_SIZE])
def test_a_blob_of_any_size_comes_whole_and_once(
    size: int, connections: int, part_of: Callable[[int], PartFile]
) -> None:
    for blocks in (truth(size).blocks, None):
        flaky = Flaky(content(size))
        download = check_whole(flaky, part_of(size), blocks, replace(PACE, connections=connections))
        assert download.fetched == flaky.sent == download.here == size
        assert download.condemned is None


def test_the_whole_is_reported_once_it_is_here(part_of: Callable[[int], PartFile]) -> None:
    size, seen = 5 * BLOCK_SIZE + 5, []
    with downloading(Flaky(content(size)), part_of(size), None) as download:
        download.run(seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == size


@pytest.mark.parametrize("fault", [refuse, cut, shorten, flip, too_much, crumble, stall_a_while])
def test_faults_at_a_rate_cost_time_and_no_byte(fault: Fault, part_of: Callable[[int], PartFile]) -> None:
    size = 5 * BLOCK_SIZE + 9
    flaky = Flaky(content(size), fault, 0.3)
    check_whole(flaky, part_of(size), truth(size).blocks)
    assert len(flaky.asked) < 6 * ATTEMPTS


@pytest.mark.parametrize("fault", [cut, shorten, crumble])
def test_without_a_list_no_fault_but_a_flip_is_dangerous(fault: Fault, part_of: Callable[[int], PartFile]) -> None:
    size = 4 * BLOCK_SIZE
    check_whole(Flaky(content(size), fault, 0.3), part_of(size), None)


@pytest.mark.parametrize("fault", [refuse, cut, shorten, stall, drip])
def test_a_fault_that_does_not_end_is_one_clear_error_after_some_tries(
    fault: Fault, part_of: Callable[[int], PartFile]
) -> None:
    size = 3 * BLOCK_SIZE
    flaky = Flaky(content(size), fault)
    with (
        downloading(flaky, part_of(size), truth(size).blocks, Pace(connections=2, timeout=0.5)) as download,
        pytest.raises(Unreachable, match="memory://flaky") as raised,
    ):
        download.run(silent)
    assert 2 <= len(flaky.asked) < ATTEMPTS
    assert "\n" not in str(raised.value)
    assert raised.value.hint


def test_bytes_that_are_wrong_in_another_way_each_time_are_an_error(part_of: Callable[[int], PartFile]) -> None:
    flaky = Flaky(content(99), flip)
    with (
        downloading(flaky, part_of(99), truth(99).blocks, Pace(connections=2, timeout=1.0)) as download,
        pytest.raises(StoreError) as raised,
    ):
        download.run(silent)
    assert isinstance(raised.value, Unreachable | Damaged)
    assert len(flaky.asked) <= 2 * ATTEMPTS


@pytest.mark.parametrize("error", [Refused("no"), KeyNotFound("no object"), RuntimeError("a bug")])
def test_what_trying_again_cannot_mend_ends_it_at_once(error: Exception, part_of: Callable[[int], PartFile]) -> None:
    def fail(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        raise error
        yield from pieces

    size = 3 * BLOCK_SIZE
    with downloading(Flaky(content(size), fail), part_of(size), None) as download, pytest.raises(type(error)) as raised:
        download.run(silent)
    assert raised.value is error


def test_a_byte_flipped_once_costs_one_block_more(part_of: Callable[[int], PartFile]) -> None:
    flipped = []

    def once(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        if start == 2 * BLOCK_SIZE and not flipped:
            flipped.append(start)
            return flip(flaky, pieces, start)
        return pieces

    def flip(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        piece = next(pieces)
        yield bytes([piece[0] ^ 1]) + piece[1:]
        yield from pieces

    size = 5 * BLOCK_SIZE + 5
    flaky = Flaky(content(size), once)
    download = check_whole(flaky, part_of(size), truth(size).blocks)
    assert flaky.sent == download.fetched == size + BLOCK_SIZE
    assert flaky.asked[-1] == range(2 * BLOCK_SIZE, 3 * BLOCK_SIZE), "it was fetched again alone"
    assert download.condemned is None


def test_a_list_that_is_wrong_is_condemned_after_five_equal_fetches(part_of: Callable[[int], PartFile]) -> None:
    size = 4 * BLOCK_SIZE
    hashes = list(truth(size).blocks.hashes)
    hashes[2] = bytes(32)
    flaky = Flaky(content(size))
    download = check_whole(flaky, part_of(size), BlockList(size, tuple(hashes)))
    assert download.condemned == 2
    assert not download.resumable
    assert download.fetched == size + 4 * BLOCK_SIZE


def test_a_fault_that_is_the_same_four_times_does_not_condemn_the_list(part_of: Callable[[int], PartFile]) -> None:
    def same_flip(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        first = next(pieces)
        struck = start == 0 and sum(asked.start == 0 for asked in flaky.asked) <= 4
        yield bytes([first[0] ^ struck]) + first[1:]
        yield from pieces

    size = 3 * BLOCK_SIZE
    download = check_whole(Flaky(content(size), same_flip), part_of(size), truth(size).blocks)
    assert download.condemned is None


def test_a_list_that_is_wrong_everywhere_costs_little_more(part_of: Callable[[int], PartFile]) -> None:
    size = 6 * BLOCK_SIZE
    flaky = Flaky(content(size))
    download = check_whole(flaky, part_of(size), BlockList(size, (bytes(32),) * 6))
    assert download.condemned is not None
    assert download.fetched <= 5 * size


def test_an_object_that_is_wrong_is_told_by_its_digest(part_of: Callable[[int], PartFile]) -> None:
    size = 4 * BLOCK_SIZE
    wrong = bytearray(content(size))
    wrong[3 * BLOCK_SIZE] ^= 1
    with downloading(Flaky(bytes(wrong)), part_of(size), truth(size).blocks) as download:
        assert download.run(silent) == fingerprint([bytes(wrong)])
        assert download.condemned == 3


def test_an_object_swapped_midway_is_never_taken_for_the_first(part_of: Callable[[int], PartFile]) -> None:
    size = 4 * BLOCK_SIZE

    def swap(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        if len(flaky.asked) == 2:
            flaky.write(KEY, [bytes(size)], size=size)
        yield from pieces

    for blocks in (truth(size).blocks, None):
        part = part_of(size)
        with downloading(Flaky(content(size), swap), part, blocks, Pace(connections=1, timeout=8.0)) as download:
            found = download.run(silent)
            assert found == fingerprint([written(part, size)]), "what was hashed is what was written"
            assert found.digest != truth(size).digest


def test_an_object_that_shrank_is_one_error(part_of: Callable[[int], PartFile]) -> None:
    size = 2 * BLOCK_SIZE
    flaky = Flaky(content(size))
    flaky.write(KEY, [b"short"], size=5)
    with (
        downloading(flaky, part_of(size), truth(size).blocks, Pace(connections=2, timeout=1.0)) as download,
        pytest.raises(Unreachable, match="too few bytes"),
    ):
        download.run(silent)


def test_a_stalled_range_is_hedged_once_and_not_waited_for(part_of: Callable[[int], PartFile]) -> None:
    def first_stalls(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        return stall(flaky, pieces, start) if len(flaky.asked) == 1 else pieces

    size = BLOCK_SIZE
    flaky = Flaky(content(size), first_stalls)
    download = check_whole(flaky, part_of(size), truth(size).blocks)
    assert flaky.asked == [range(size)] * 2
    assert download.fetched == size + PIECE, "what stalls has sent one piece, and nothing more"


def test_on_a_slow_line_nothing_is_fetched_twice_nor_given_up(part_of: Callable[[int], PartFile]) -> None:
    """A block may take longer than a hedge waits, and longer than the time-out: what moves has not stalled."""

    def slow(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        for piece in pieces:
            time.sleep(0.45)
            yield piece

    flaky = Flaky(content(BLOCK_SIZE), slow)
    check_whole(flaky, part_of(BLOCK_SIZE), truth(BLOCK_SIZE).blocks, replace(PACE, timeout=1.0))
    assert flaky.sent == BLOCK_SIZE


def test_of_two_versions_of_a_block_the_one_hashed_is_the_one_written(part_of: Callable[[int], PartFile]) -> None:
    """Without a list, a range and its hedge may bring different bytes at the same moment: one of them alone counts."""
    size = BLOCK_SIZE
    both = threading.Barrier(2)

    def together(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        first = len(flaky.asked) == 1
        *most, last = pieces
        yield from most
        both.wait(10.0)
        yield last if first else bytes(len(last))

    part = SlowPart(part_of(size))
    with downloading(Flaky(content(size), together), part, None) as download:
        found = download.run(silent)
        time.sleep(0.4)
        assert found == fingerprint([written(part, size)])


class SlowPart(PartFile):
    """A part file on a slow disk."""

    def __init__(self, part: PartFile) -> None:
        self.__dict__.update(part.__dict__)
        part._fd = -1  # this one is to close it
        self.turns = 0
        self.turn = threading.Lock()

    def write_at(self, offset: int, chunk: bytes | bytearray | memoryview) -> None:
        with self.turn:
            self.turns += 1
            turn = self.turns
        # The first to come is the last to be written.
        time.sleep(0.4 / turn)
        super().write_at(offset, chunk)


def test_one_stream_is_taken_where_ranges_are_ignored(part_of: Callable[[int], PartFile]) -> None:
    size = 4 * BLOCK_SIZE + 6
    flaky = Flaky(content(size), ranges=False)
    check_whole(flaky, part_of(size), truth(size).blocks)
    assert flaky.asked == [range(size)]


@pytest.mark.parametrize("fault", [refuse, cut, shorten, flip])
def test_one_stream_with_faults_comes_whole(fault: Fault, part_of: Callable[[int], PartFile]) -> None:
    size = 4 * BLOCK_SIZE + 6
    flaky = Flaky(content(size), fault, 0.3, ranges=False)
    check_whole(flaky, part_of(size), truth(size).blocks)


def test_a_store_found_to_ignore_ranges_is_read_in_one_stream(part_of: Callable[[int], PartFile]) -> None:
    def find_out(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        flaky.properties = replace(flaky.properties, ranges=False)
        return pieces

    size = 12 * BLOCK_SIZE
    flaky = Flaky(content(size), find_out)
    check_whole(flaky, part_of(size), truth(size).blocks)
    assert len(flaky.asked) <= 5
    assert flaky.sent == size


def test_after_close_nothing_is_written(tmp_path: Path, part_of: Callable[[int], PartFile]) -> None:
    """One worker is writing when it is closed, one gets its bytes later, and the descriptor goes to another file."""
    size = 3 * BLOCK_SIZE

    def hold(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        *most, last = pieces
        yield from most
        if start:
            flaky.free.wait(30.0)
        yield last

    flaky = Flaky(content(size), hold)
    threads = set(threading.enumerate())
    part = LatePart(part_of(size))
    wanted = Wanted(KEY, size, None)

    with pytest.raises(KeyboardInterrupt), part, Download(flaky, wanted, part, pace=PACE) as download:
        download.run(lambda done: part.interrupt())
    victim = os.open(tmp_path / "victim", os.O_RDWR | os.O_CREAT)
    assert victim == part.fd
    flaky.free.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(10.0)
        assert not thread.is_alive()
    assert os.fstat(victim).st_size == 0
    assert part.writes == 1
    os.close(victim)


class LatePart(PartFile):
    """A part file whose writes reach the disk late, by the descriptor that they were begun with."""

    def __init__(self, part: PartFile) -> None:
        self.__dict__.update(part.__dict__)
        part._fd = -1  # this one is to close it
        self.fd = self._fd
        self.writes = 0
        self.writing = threading.Event()

    def interrupt(self) -> None:
        assert self.writing.wait(10.0)
        raise KeyboardInterrupt

    def write_at(self, offset: int, chunk: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        self.writing.set()
        time.sleep(0.3)
        os.pwrite(self.fd, chunk, offset)


def test_an_interrupt_ends_it_promptly_although_the_store_hangs(part_of: Callable[[int], PartFile]) -> None:
    size = 8 * BLOCK_SIZE

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    flaky = Flaky(content(size), stall)
    with downloading(flaky, part_of(size), None) as download:
        with pytest.raises(KeyboardInterrupt):
            download.run(interrupt)
        assert flaky.sent <= PACE.connections * PIECE, "each range has sent a piece, and still stalls"


def test_closing_twice_or_without_a_run_is_no_error(part_of: Callable[[int], PartFile]) -> None:
    with downloading(Flaky(content(99)), part_of(99), None) as download:
        download.close()
        download.close()


def test_a_full_disk_is_told_and_ends_it(part_of: Callable[[int], PartFile]) -> None:
    class ReadOnly(SlowPart):
        def write_at(self, offset: int, chunk: bytes | bytearray | memoryview) -> None:
            raise DiskError("the disk refused")

    size = 8 * BLOCK_SIZE
    with (
        downloading(Flaky(content(size)), ReadOnly(part_of(size)), None) as download,
        pytest.raises(DiskError, match="the disk refused"),
    ):
        download.run(silent)


def test_memory_stays_bounded_whatever_the_order(part_of: Callable[[int], PartFile]) -> None:
    """Blocks that land while the first is awaited are read back from the part file, not held."""
    size = 11 * BLOCK_SIZE

    def first_comes_last(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        if start == 0:
            flaky.free.wait(0.5)
        yield from pieces

    truth(size)
    flaky = Flaky(content(size), first_comes_last)
    gc.collect()
    before, peak = _mapped(), [0]
    with downloading(flaky, part_of(size), truth(size).blocks) as download:
        assert download.run(lambda done: peak.append(_mapped() - before)) == truth(size)
    buffers = PACE.connections + 5 + 1
    assert BLOCK_SIZE // 1024 <= max(peak) <= buffers * BLOCK_SIZE // 1024 + 4096


def _mapped() -> int:
    """Kilobytes of anonymous shared memory, which is what the buffers are."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssShmem:")[1].split()[0])


def test_a_part_file_cut_short_by_somebody_is_not_blamed_on_the_store(part_of: Callable[[int], PartFile]) -> None:
    size = 12 * BLOCK_SIZE

    def last_first(flaky: Flaky, pieces: Pieces, start: int) -> Pieces:
        if start == 0:
            flaky.free.wait(1.0)
            os.truncate(part.path, 3 * BLOCK_SIZE)
        yield from pieces

    part = part_of(size)
    with downloading(Flaky(content(size), last_first), part, None) as download, pytest.raises(DiskError, match="short"):
        download.run(silent)


def test_a_block_is_tried_often_enough() -> None:
    assert ATTEMPTS >= 8


def test_the_digest_is_a_digest(part_of: Callable[[int], PartFile]) -> None:
    with downloading(Flaky(b""), part_of(0), None) as download:
        assert download.run(silent).digest == Digest.of(b"")
