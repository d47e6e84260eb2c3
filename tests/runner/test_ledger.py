"""The parent's books of requests, by a clock that is told."""

from llstore.runner import Sampling
from llstore.runner.engine.ledger import Entry, Ledger
from llstore.runner.engine.request import End, Request, Update


def added(ledger: Ledger, *, now: float, seconds: float | None = None) -> Entry:
    request = Request((1, 2), Sampling(max_tokens=3), seconds=seconds)
    return ledger.add(request, lambda update: None, fail=None, now=now)


def ended(entry: Entry, *, prefill: float, decode: float) -> Update:
    """As the process says it that ended it, of its own work alone."""
    return Update(entry.id, end=End("stop", 2, 0, 3, prefill_seconds=prefill, decode_seconds=decode))


def test_the_stages_of_a_request_make_up_its_time_and_what_a_dead_process_did_is_waiting() -> None:
    entry = added(Ledger(), now=10.0)
    # A process worked on it for 4 seconds and died; the next one had it 1 second later, and took 2.
    end = entry.timed(ended(entry, prefill=0.5, decode=1.5), 17.0).end
    assert end is not None
    assert (end.queue_seconds, end.prefill_seconds, end.decode_seconds) == (5.0, 0.5, 1.5)


def test_clocks_that_disagree_make_no_negative_waiting() -> None:
    entry = added(Ledger(), now=10.0)
    end = entry.timed(ended(entry, prefill=0.5, decode=0.6), 11.0).end
    assert end is not None
    assert end.queue_seconds == 0.0


def test_all_the_time_of_a_request_that_no_process_ended_is_waiting() -> None:
    ledger = Ledger()
    entry = added(ledger, now=10.0, seconds=2.0)
    assert ledger.overdue(11.9) == []
    assert ledger.overdue(12.0) == [(entry, "timeout")]
    end = entry.ended("timeout", now=12.5).end
    assert end is not None
    assert (end.queue_seconds, end.prefill_seconds, end.decode_seconds) == (2.5, 0.0, 0.0)


def test_who_goes_on_has_the_time_that_is_left() -> None:
    assert added(Ledger(), now=10.0, seconds=5.0).continued(12.0).seconds == 3.0
    assert added(Ledger(), now=10.0).continued(12.0).seconds is None
