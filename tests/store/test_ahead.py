"""Work that is begun before its result is needed."""

from threading import Event, get_ident

import pytest

from llstore.store.ahead import Ahead


def test_it_runs_while_the_caller_does_something_else() -> None:
    here, go = get_ident(), Event()
    ahead = Ahead(lambda: (go.wait(10), get_ident()))
    go.set()
    waited, there = ahead.result()
    assert waited
    assert there != here


def test_what_it_raised_is_raised_where_the_result_is_asked_for() -> None:
    def fail() -> None:
        raise LookupError("not there")

    ahead = Ahead(fail)
    with pytest.raises(LookupError, match="not there"):
        ahead.result()
