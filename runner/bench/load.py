"""Puts a load on a target and writes down what its clients see."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ..errors import RunnerError
from .latencies import CUT, Load, Record
from .target import Arrival, Cancel, Target
from .workload import Asked

STALL_SECONDS = 300.0  # without any request ending: longer than any single answer should take


@dataclass(frozen=True, slots=True)
class Clients:
    """So many at once, each asking anew when it was answered. Who was refused leaves, and all do when `asks` ends."""

    asks: Iterator[Asked]
    number: int


class _Stream:
    """One request under way."""

    def __init__(self, asked: Asked, submitted: float, ended: "SimpleQueue[_Stream]") -> None:
        self._asked, self._submitted, self._queue = asked, submitted, ended
        self._times: list[float] = []
        self._ended = submitted
        self._cut = False
        self._error = ""
        self._cancel: Cancel | None = None

    def start(self, target: Target) -> None:
        self._cancel = target.start(self._asked, self.arrived)

    def arrived(self, arrival: Arrival) -> None:
        now = time.perf_counter()
        self._times += [now] * arrival.tokens
        if arrival.ended:
            self._ended, self._error = now, arrival.error
            self._queue.put(self)

    def cut(self) -> None:
        self._cut = True
        if self._cancel:
            self._cancel()

    @property
    def failed(self) -> bool:
        return bool(self._error)

    def record(self) -> Record:
        error = CUT if self._cut and self._error else self._error
        return Record(
            submitted=self._submitted,
            times=tuple(self._times),
            ended=self._ended,
            prompt_tokens=len(self._asked.prompt),
            owner=self._asked.owner,
            error=error,
        )


class _Underway:
    """The streams that did not end yet."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._queue: SimpleQueue[_Stream] = SimpleQueue()
        self._open: set[_Stream] = set()

    def begin(self, asked: Asked, submitted: float) -> _Stream:
        stream = _Stream(asked, submitted, self._queue)
        self._open.add(stream)
        stream.start(self._target)
        return stream

    def next(self, *, until: float | None = None) -> _Stream | None:
        """The next one to end; None when none did by then. Raises RunnerError."""
        seconds = STALL_SECONDS if until is None else max(until - time.perf_counter(), 0)
        try:
            stream = self._queue.get(timeout=seconds)
        except Empty:
            if until is None:
                raise RunnerError(f"{self._target.name} ended no request in {STALL_SECONDS:g} s") from None
            return None
        self._open.discard(stream)
        return stream

    def cut(self) -> None:
        for stream in tuple(self._open):
            stream.cut()

    def __bool__(self) -> bool:
        return bool(self._open)


def closed(target: Target, clients: Sequence[Clients], *, seconds: float, cut: bool = False) -> Load:
    """A closed loop: every client has one request under way, for so many seconds.

    What is under way then is awaited, or taken back with `cut`. Raises RunnerError.
    """
    underway, records = _Underway(target), []
    whose: dict[_Stream, Clients] = {}
    began = time.perf_counter()

    def ask(group: Clients) -> None:
        asked = next(group.asks, None)
        if asked is not None:
            whose[underway.begin(asked, time.perf_counter())] = group

    for group in clients:
        for _ in range(group.number):
            ask(group)
    over = began + seconds
    while underway and (stream := underway.next(until=over)):
        records.append(stream.record())
        if not stream.failed:
            ask(whose[stream])
    ended = min(over, time.perf_counter())
    return Load((*records, *_rest(underway, cut=cut)), began, ended - began)


def opened(target: Target, schedule: Sequence[tuple[float, Asked]]) -> Load:
    """An open loop: requests come when they are due, whatever became of those before. Raises RunnerError.

    A request's time runs from when it was due, so that none is flattered by a client that was late itself.
    """
    underway = _Underway(target)
    began = time.perf_counter()
    for due, asked in schedule:
        time.sleep(max(began + due - time.perf_counter(), 0))
        underway.begin(asked, began + due)
    records = _rest(underway, cut=False)
    return Load(records, began, max((record.ended for record in records), default=began) - began)


def _rest(underway: _Underway, *, cut: bool) -> tuple[Record, ...]:
    if cut:
        underway.cut()
    records = []
    while underway and (stream := underway.next()):
        records.append(stream.record())
    return tuple(records)
