"""Wrappers of a backend: asked again when it fails, used with moderation, counted."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from recorded import Call, Recorded

from llstore.store.backends import Backend, MemoryBackend, Stat
from llstore.store.backends.count import Counted, Totals
from llstore.store.backends.limit import Allowance, Limited
from llstore.store.backends.retry import LONGEST_PAUSE, PROGRESS, SHORTEST_PAUSE, Retrying
from llstore.store.errors import KeyNotFound, Refused, Unreachable


class Flaky(MemoryBackend):
    """A bucket that fails `failures` times; a read or list gives `pieces` of a byte or a key before it does."""

    def __init__(self, *, failures: int = 0, pieces: int = 0, ranges: bool = True, size: int = 1) -> None:
        super().__init__()
        self.failures = failures
        self.asked: list[tuple[str, str, int]] = []
        self._pieces = pieces
        self._size = size
        if not ranges:
            self.properties = type(self.properties)(url="memory://", ranges=False)

    def fill(self, *keys: str, data: bytes = b"0123456789") -> None:
        for key in keys:
            super().write(key, [data], size=len(data))

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Unreachable(f"{self.failures} to go")

    def stat(self, key: str) -> Stat:
        self.asked.append(("stat", key, 0))
        self._fail()
        return super().stat(key)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.asked.append(("read", key, start))
        data = b"".join(super().read(key, start=start, length=length))
        for number in range(0, len(data), self._size):
            if number == self._pieces * self._size:
                self._fail()
            yield data[number : number + self._size]

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        self.asked.append(("write", key, size))
        taken = list(chunks)
        self._fail()
        super().write(key, taken, size=size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        self.asked.append(("list", after, 0))
        for number, key in enumerate(key for key in sorted(self._objects) if key.startswith(prefix) and key > after):
            if number == self._pieces:
                self._fail()
            yield MemoryBackend.stat(self, key)

    def delete(self, key: str) -> None:
        self._fail()
        super().delete(key)

    def clock(self) -> float:
        self._fail() if self.asked else None
        return super().clock()


class Naps:
    """Sleep, without the waiting."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


def whole(backend: Backend, key: str, **span: int) -> bytes:
    return b"".join(backend.read(key, **span))


@pytest.fixture(
    params=[
        MemoryBackend,
        lambda: Retrying(MemoryBackend()),
        lambda: Limited(MemoryBackend(), connections=1, rate=1e9),
        lambda: Counted(MemoryBackend()),
        lambda: Retrying(Limited(Counted(MemoryBackend()), connections=2)),
    ],
    ids=["bare", "retrying", "limited", "counted", "all"],
)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with closing(request.param()) as made:
        yield made


def test_a_wrapped_backend_is_a_backend(backend: Backend) -> None:
    backend.write("a/b", iter([b"01", b"234"]), size=5)
    backend.write("a/c", [b""], size=0)
    assert whole(backend, "a/b") == b"01234"
    assert whole(backend, "a/b", start=1, length=3) == b"123"
    assert whole(backend, "a/b", start=2) == b"234"
    assert whole(backend, "a/b", length=0) == b""
    assert whole(backend, "a/c") == b""
    assert backend.stat("a/b").size == 5
    assert [stat.key for stat in backend.list("a/")] == ["a/b", "a/c"]
    assert [stat.key for stat in backend.list("", after="a/b")] == ["a/c"]
    backend.delete("a/b")
    backend.delete("a/b")
    with pytest.raises(KeyNotFound):
        backend.stat("a/b")
    with pytest.raises(KeyNotFound):
        whole(backend, "a/b")
    before, clock = time.time(), backend.clock()
    assert before <= clock <= time.time()
    assert backend.properties.url == "memory://"


def test_a_write_whose_source_fails_leaves_nothing(backend: Backend) -> None:
    def failing() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        backend.write("broken", failing(), size=2)
    assert list(backend.list("")) == []


@pytest.mark.parametrize(
    "verb",
    [
        lambda backend: backend.stat("a").size == 10,
        lambda backend: backend.write("b", [b"x"], size=1) is None,
        lambda backend: backend.delete("a") is None,
        lambda backend: whole(backend, "a") == b"0123456789",
        lambda backend: [stat.key for stat in backend.list("")] == ["a"],
        lambda backend: backend.stat("a") and backend.clock() > 0,
    ],
)
def test_a_verb_that_fails_is_asked_again(naps: Naps, verb: Callable[[Backend], bool]) -> None:
    flaky = Flaky(failures=7)
    flaky.fill("a")
    assert verb(Retrying(flaky, sleep=naps))
    assert len(naps.taken) == 7


def test_pauses_grow_and_stay_within_bounds(naps: Naps) -> None:
    flaky = Flaky(failures=39)
    flaky.fill("a")
    Retrying(flaky, attempts=40, deadline=1e6, sleep=naps).stat("a")
    assert all(SHORTEST_PAUSE <= nap <= LONGEST_PAUSE for nap in naps.taken)
    assert naps.taken[0] <= 2 * SHORTEST_PAUSE
    assert max(naps.taken) > 1
    assert len(set(naps.taken)) > 30


def test_the_last_error_is_raised_when_attempts_are_spent(naps: Naps) -> None:
    flaky = Flaky(failures=100)
    flaky.fill("a")
    for verb in (lambda b: b.stat("a"), lambda b: whole(b, "a"), lambda b: list(b.list(""))):
        flaky.failures, flaky.asked = 100, []
        with pytest.raises(Unreachable, match=r"^97 to go"):
            verb(Retrying(flaky, attempts=3, sleep=naps))
        assert len(flaky.asked) == 3


def test_the_deadline_ends_the_attempts() -> None:
    flaky = Flaky(failures=1000)
    flaky.fill("a")
    with pytest.raises(Unreachable):
        Retrying(flaky, attempts=1000, deadline=0.5).stat("a")
    assert flaky.failures > 990


@pytest.mark.parametrize("error", [Refused, KeyNotFound])
def test_what_was_answered_is_not_asked_again(naps: Naps, error: type[Exception]) -> None:
    class No(MemoryBackend):
        def stat(self, key: str) -> Stat:
            raise error("no")

    with pytest.raises(error):
        Retrying(No(), sleep=naps).stat("a")
    assert not naps.taken


@pytest.mark.parametrize(
    ("ranges", "starts"), [(True, [2, 5, 8]), (False, [2, 2, 2])], ids=["by ranges", "by skipping"]
)
def test_a_broken_read_goes_on_where_it_was(naps: Naps, ranges: bool, starts: list[int]) -> None:
    flaky = Flaky(failures=2, pieces=3, ranges=ranges)
    flaky.fill("a")
    if not ranges:
        flaky._pieces = 4
    assert whole(Retrying(flaky, sleep=naps), "a", start=2, length=7) == b"2345678"
    assert [start for _, _, start in flaky.asked] == starts


def test_a_read_that_breaks_at_its_very_end_is_whole(naps: Naps) -> None:
    class Ending(MemoryBackend):
        def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            yield from super().read(key, start=start, length=length)
            raise Unreachable("no goodbye")

    backend = Ending()
    backend.write("a", [b"01234"], size=5)
    assert whole(Retrying(backend, sleep=naps), "a", start=1, length=3) == b"123"


def test_a_read_that_comes_further_is_patient_anew_and_one_that_drips_is_not(naps: Naps) -> None:
    flaky = Flaky(failures=11, pieces=1, size=PROGRESS)
    flaky.fill("a", data=bytes(12 * PROGRESS))
    assert len(whole(Retrying(flaky, attempts=3, sleep=naps), "a")) == 12 * PROGRESS
    flaky = Flaky(failures=11, pieces=1)
    flaky.fill("a", data=bytes(12))
    with pytest.raises(Unreachable):
        whole(Retrying(flaky, attempts=3, sleep=naps), "a")


def test_a_broken_list_goes_on_where_it_was(naps: Naps) -> None:
    flaky = Flaky(failures=3, pieces=2)
    flaky.fill("j/1", "j/2", "j/3", "j/4", "j/5", "k/1")
    assert [stat.key for stat in Retrying(flaky, attempts=2, sleep=naps).list("j/")] == [f"j/{n}" for n in range(1, 6)]
    assert [after for _, after, _ in flaky.asked] == ["", "j/2", "j/4"]


def test_a_list_ordered_by_folder_loses_and_doubles_nothing(naps: Naps) -> None:
    class ByFolder(Flaky):
        def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
            # A file system's order: the folder `a` comes before `a.b`, though "a.b" < "a/x".
            found = sorted(super().list(prefix, after=after), key=lambda stat: stat.key.split("/"))
            for number, stat in enumerate(found):
                if number == 2:
                    self._fail()
                yield stat

    keys = ["p/a/x", "p/a/y", "p/a.b", "p/b", "p/c/d"]
    flaky = ByFolder(failures=3, pieces=-1)
    flaky.fill(*keys)
    assert [stat.key for stat in Retrying(flaky, sleep=naps).list("p/")] == keys


def test_a_write_is_repeated_only_when_its_chunks_can_be(naps: Naps) -> None:
    flaky = Flaky(failures=1)
    Retrying(flaky, sleep=naps).write("a", (b"x", b"y"), size=2)
    assert whole(flaky, "a") == b"xy"
    flaky.failures = 1
    with pytest.raises(Unreachable):
        Retrying(flaky, sleep=naps).write("b", iter([b"x"]), size=1)


def test_closing_a_read_lets_go_of_the_connection() -> None:
    class Open(MemoryBackend):
        open = 0

        def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
            self.open += 1
            try:
                yield b"x"
                yield b"y"
            finally:
                self.open -= 1

    for wrap in (Retrying, Counted, lambda inner: Limited(inner, connections=1)):
        inner = Open()
        reading = wrap(inner).read("a")
        assert next(reading) == b"x"
        assert inner.open == 1
        reading.close()
        assert inner.open == 0


def test_no_more_transfers_run_at_once_than_allowed() -> None:
    class Counting(MemoryBackend):
        def __init__(self) -> None:
            super().__init__()
            self.running = self.most = 0
            self.lock = threading.Lock()

        def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            time.sleep(0.01)
            super().write(key, chunks, size=size)
            with self.lock:
                self.running -= 1

    inner = Counting()
    limited = Limited(inner, connections=3)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: limited.write(f"{number}", [b"x"], size=1), range(24)))
    assert inner.most == 3


def test_a_read_holds_its_place_until_it_is_closed() -> None:
    inner = MemoryBackend()
    inner.write("a", [b"x"], size=1)
    limited = Limited(inner, connections=1)
    reading = limited.read("a")
    next(reading)
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(whole, limited, "a")
        time.sleep(0.05)
        assert not second.done()
        reading.close()
        assert second.result(timeout=10) == b"x"


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = self.slept = 0.0
        self._turn = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._turn:
            self.now += seconds
            self.slept += seconds


def test_bytes_pass_at_their_rate_in_both_directions() -> None:
    timer = Time()
    limited = Limited(MemoryBackend(), connections=1, rate=1000, clock=timer.clock, sleep=timer.sleep)
    limited.write("a", [bytes(500)] * 10, size=5000)
    assert timer.now == pytest.approx(4)  # a second's worth passes at once
    whole(limited, "a")
    assert timer.now == pytest.approx(9)


def test_an_allowance_is_not_saved_up() -> None:
    timer = Time()
    allowance = Allowance(100, clock=timer.clock, sleep=timer.sleep)
    timer.now = 1000
    allowance.take(300)
    assert timer.now == pytest.approx(1002)


def test_threads_share_the_rate() -> None:
    timer = Time()
    limited = Limited(MemoryBackend(), connections=4, rate=200_000, clock=timer.clock, sleep=timer.sleep)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: limited.write(f"{number}", [bytes(10_000)] * 10, size=100_000), range(4)))
    # Two seconds' worth, of which one passes at once.
    assert timer.slept >= 1


def test_calls_and_bytes_are_counted() -> None:
    recorded = Recorded(MemoryBackend())
    recorded.write("a", [b"012", b"34"], size=5)
    whole(recorded, "a", start=1, length=3)
    recorded.stat("a")
    list(recorded.list(""))
    recorded.delete("a")
    recorded.clock()
    assert recorded.totals == Totals(stat=1, read=1, write=1, list=1, delete=1, clock=1, bytes_read=3, bytes_written=5)
    assert recorded.totals.requests == 6
    assert recorded.calls[:3] == [Call("write", "a", 0, 5), Call("read", "a", 1, 3), Call("stat", "a")]


def test_threads_lose_no_count() -> None:
    counted = Counted(MemoryBackend())
    counted.write("a", [b"xy"], size=2)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: whole(counted, "a"), range(400)))
    assert counted.totals == Totals(write=1, bytes_written=2, read=400, bytes_read=800)


def test_what_is_read_together_is_counted_one_by_one() -> None:
    class Together(MemoryBackend):
        def read_together(self, stats: Sequence[Stat]) -> list[bytes | None]:
            return [b"abc", None, b"d"]

    counted = Counted(Together())
    assert counted.read_together is not None
    assert counted.read_together([]) == [b"abc", None, b"d"]
    assert counted.totals == Totals(read=2, bytes_read=4)
    assert Counted(MemoryBackend()).read_together is None
