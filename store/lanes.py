"""Calls made several at once, each on a thread of its own, that stop together."""

import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock, Thread
from typing import TypeVar

T = TypeVar("T")

_TICK = 0.02
_PATIENCE = 2.0  # seconds for the others to stop; what still runs then is left to its time-outs


def side_by_side(calls: Sequence[Callable[[], T]], *, at_once: int, stopping: Event | None = None) -> list[T]:
    """What the calls return, in their order; at most `at_once` of them run at a time, in this order.

    When one raises, no other is begun, `stopping` is set so that those under way can end early, and its error is
    raised. They are waited for a moment only, after an interrupt too: the threads end with the process.
    """
    stop = stopping or Event()
    take, results, failures = _shared(enumerate(calls)), dict[int, T](), list[BaseException]()

    def work() -> None:
        while not stop.is_set() and (taken := take()):
            index, call = taken
            try:
                results[index] = call()
            except BaseException as failure:
                failures.append(failure)
                stop.set()

    threads = [Thread(target=work, name="lane", daemon=True) for _ in range(min(at_once, len(calls)))]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not stop.wait(_TICK):
            pass
    finally:
        if len(results) < len(calls):
            stop.set()
            _settle(threads)
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


def _shared(items: Iterable[T]) -> Callable[[], T | None]:
    """What several threads may draw from, one item each time; None at the end."""
    iterator, turn = iter(items), Lock()

    def take() -> T | None:
        with turn:
            return next(iterator, None)

    return take


def _settle(threads: Sequence[Thread]) -> None:
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
