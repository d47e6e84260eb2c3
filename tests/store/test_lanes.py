"""Calls side by side: results in order, never too many at once, and one failure ends the others."""

import threading
import time
from functools import partial

import pytest

from llstore.store import lanes
from llstore.store.lanes import side_by_side


def test_results_come_in_the_order_of_the_calls() -> None:
    calls = [partial(lambda number: (time.sleep((9 - number) / 500), number)[1], number) for number in range(9)]
    assert side_by_side(calls, at_once=4) == list(range(9))
    assert side_by_side([], at_once=4) == []


def test_as_many_run_at_once_as_were_allowed_and_no_more() -> None:
    meeting = threading.Barrier(3)
    running: list[int] = []
    lock, most = threading.Lock(), []

    def call() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        # Nobody gets past this alone: three must run at once.
        meeting.wait(timeout=10)
        with lock:
            running.pop()

    side_by_side([call] * 9, at_once=3)
    assert max(most) == 3


def test_one_failure_begins_nothing_more_tells_the_others_to_stop_and_is_raised() -> None:
    stopping, begun = threading.Event(), []

    def fail() -> None:
        raise LookupError("first")

    def wait() -> None:
        begun.append(1)
        assert stopping.wait(10)
        raise KeyError("an echo")

    with pytest.raises(LookupError, match="first"):
        side_by_side([wait, fail, wait, wait], at_once=2, stopping=stopping)
    assert begun == [1]


def test_a_call_that_does_not_stop_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    released, ended = threading.Event(), []
    monkeypatch.setattr(lanes, "_PATIENCE", 0.1)

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        side_by_side([lambda: ended.append(released.wait(60)), fail], at_once=2)
    assert ended == []
    released.set()
