"""Many clients that connect to a server at once, each with one short request: who is answered, who is refused."""

import heapq
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from llstore.runner.bench.http_target import Answered, HttpTarget
from llstore.runner.bench.latencies import Spread
from llstore.runner.bench.target import Arrival
from llstore.runner.bench.workload import Asked

FILES = 8192  # a connection is one
BUSY = (429, 503)
WAIT_SECONDS = 1.0  # of who is refused without a word of when to come again
PATIENCE_SECONDS = 1800.0  # for all together


@dataclass
class Outcome:
    """What became of the requests: those answered whole, and how many answers of each other kind there were.

    `seconds` is the time until all were answered, `waits` what each one served had waited, refusals included.
    """

    complete: int = 0
    tokens: int = 0
    others: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def waited(self) -> Spread:
        """Times until a request was served."""
        return Spread.of(self.waits)


@contextmanager
def open_files() -> Iterator[None]:
    """As many open files as this machine lets us have, up to what a thousand clients need, for the time being."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(target: HttpTarget, asks: Sequence[Asked], *, retry: bool) -> Outcome:
    """All of them at once, each on its own connection; with `retry` who is refused comes again when told to."""
    outcome, ended = Outcome(), SimpleQueue[tuple[int, Answered, int]]()
    due: list[tuple[float, int]] = []
    began = time.perf_counter()

    def ask(number: int) -> None:
        target.start(asks[number], partial(_arrived, ended, number, [0]))

    for number in range(len(asks)):
        ask(number)
    underway = len(asks)
    while (underway or due) and time.perf_counter() - began < PATIENCE_SECONDS:
        while due and due[0][0] <= time.perf_counter():
            ask(heapq.heappop(due)[1])
            underway += 1
        try:
            number, answered, tokens = ended.get(timeout=max(due[0][0] - time.perf_counter(), 0) if due else 1.0)
        except Empty:
            continue
        underway -= 1
        _count(outcome, answered, tokens, time.perf_counter() - began)
        if retry and answered.status in BUSY:
            wait = WAIT_SECONDS if answered.retry_after is None else answered.retry_after
            heapq.heappush(due, (time.perf_counter() + wait, number))
    outcome.seconds = time.perf_counter() - began
    if unserved := underway + len(due):
        outcome.others[f"not served within {PATIENCE_SECONDS:g} s"] += unserved
    return outcome


def _arrived(ended: "SimpleQueue[tuple[int, Answered, int]]", number: int, tokens: list[int], arrival: Arrival) -> None:
    tokens[0] += arrival.tokens
    if isinstance(arrival, Answered):
        ended.put((number, arrival, tokens[0]))


def _count(outcome: Outcome, answered: Answered, tokens: int, waited: float) -> None:
    outcome.tokens += tokens
    if not answered.error:
        outcome.complete += 1
        outcome.waits.append(waited)
    elif answered.status in BUSY:
        told = "without" if answered.retry_after is None else "with"
        outcome.others[f"{answered.status} {told} Retry-After"] += 1
    else:
        outcome.others[answered.error] += 1
