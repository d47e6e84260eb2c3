"""How long somebody is told to wait."""

import pytest

from llstore.runner.serve.turnover import LEAST, MOST, Turnover


def at_work(*ends: float, began: float = 0.0) -> Turnover:
    turnover = Turnover()
    turnover.began(began)
    for end in ends:
        turnover.ended(end, last=False)
    return turnover


def test_who_is_told_to_wait_is_told_how_long_so_many_places_took_of_late() -> None:
    assert at_work(2.0, 4.0, 6.0, 8.0).wait(3, 8.0) == pytest.approx(6.0)


def test_ends_that_came_together_count_as_what_they_took_together() -> None:
    assert at_work(*[8.0] * 16, began=0.0).wait(4, 8.0) == pytest.approx(2.0)


def test_time_in_which_nobody_asked_does_not_count() -> None:
    turnover = Turnover()
    turnover.began(0.0)
    turnover.ended(3.0, last=True)
    turnover.began(1000.0)
    turnover.ended(1003.0, last=False)
    assert turnover.wait(2, 1003.0) == pytest.approx(6.0)


def test_nobody_is_told_to_come_back_at_once_or_never() -> None:
    assert Turnover().wait(100, 5.0) == LEAST
    assert at_work(0.001, 0.002).wait(1, 0.002) == LEAST
    assert at_work(50.0, 100.0).wait(1000, 100.0) == MOST
