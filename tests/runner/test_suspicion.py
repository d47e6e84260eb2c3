"""Whose fault a crash was: a culprit is found soon, and nobody else is sentenced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner.engine.restarts import Keeping, Restarts
from llstore.runner.engine.suspicion import LIFETIME, PROGRESS, SHARED, SOLE, Suspicion, after_crash

Tokens = dict[int, int]


def crash(known: dict[int, Suspicion], suspects: tuple[int, ...] | None, tokens: Tokens) -> dict[int, Suspicion]:
    return after_crash({id: (known[id], tokens[id]) for id in known}, suspects)


def test_who_crashes_it_alone_twice_is_convicted() -> None:
    known = crash({1: Suspicion(), 2: Suspicion()}, (1,), {1: 0, 2: 0})
    assert not known[1].convicted
    known = crash(known, (1,), {1: 1, 2: 900})
    assert known[1].convicted
    assert known[2] == Suspicion(tokens=900)


def test_those_of_two_shared_crashes_are_parted() -> None:
    known = crash(dict.fromkeys((1, 2, 3), Suspicion()), (1, 2), dict.fromkeys((1, 2, 3), 0))
    assert not any(each.alone for each in known.values())
    known = crash(known, (1, 2), dict.fromkeys((1, 2, 3), 1))
    assert [known[id].alone for id in (1, 2, 3)] == [True, True, False]
    assert not any(each.convicted for each in known.values())


def test_when_nobody_knows_who_took_part_all_did() -> None:
    known = crash(dict.fromkeys((1, 2), Suspicion()), None, {1: 0, 2: 0})
    assert [known[id].shared for id in (1, 2)] == [1, 1]
    assert crash({1: Suspicion()}, None, {1: 0})[1].sole == 0  # it may have been the engine itself


def test_a_crash_between_calls_is_nobodys() -> None:
    assert crash({1: Suspicion()}, (), {1: 3}) == {1: Suspicion(tokens=3)}


def test_once_one_is_convicted_the_others_are_cleared_of_what_they_shared() -> None:
    known = crash({1: Suspicion(shared=SHARED), 2: Suspicion(shared=SHARED)}, (1,), {1: 0, 2: 0})
    assert [known[id].alone for id in (1, 2)] == [True, True]
    known = crash(known, (1,), {1: 0, 2: 0})
    assert known[1].convicted
    assert not known[2].alone


def test_who_came_a_good_way_since_is_not_suspected_but_not_for_ever() -> None:
    known, tokens = {1: Suspicion()}, 0
    for times in range(1, LIFETIME + 1):
        known = crash(known, (1,), {1: tokens})
        assert known[1].convicted == (times == LIFETIME)
        tokens += PROGRESS


@given(st.integers(2, 16), st.integers(0, 15), st.booleans())
def test_a_culprit_is_found_within_four_crashes_and_nobody_else_is(count: int, which: int, slow: bool) -> None:
    """It crashes each call that it takes part in: batches of all, until it is to be alone."""
    culprit, known = which % count, {id: Suspicion() for id in range(count)}
    tokens = dict.fromkeys(range(count), 0)
    crashes = 0
    while not known[culprit].convicted:
        crashes += 1
        assert crashes <= SHARED + SOLE
        together = tuple(id for id in known if not known[id].alone)
        known = crash(known, (culprit,) if known[culprit].alone else together, tokens)
        tokens = {id: made + (1 if slow or id == culprit else 50) for id, made in tokens.items()}
        assert not any(known[id].convicted for id in known if id != culprit)


def test_restarts_are_at_once_then_later_and_later_then_never() -> None:
    restarts = Restarts(Keeping(crashes=6, pause=0.1, most_pause=0.3))
    assert [restarts.crashed() for _ in range(6)] == [0.0, 0.1, 0.2, 0.3, 0.3, None]


def test_restarts_that_each_find_a_suspect_go_on_but_not_for_ever() -> None:
    restarts = Restarts(Keeping(crashes=2, barren=10))
    assert [restarts.crashed(suspect=True) for _ in range(10)] == [0.0] * 9 + [None]


def test_progress_forgives() -> None:
    restarts = Restarts(Keeping(crashes=2))
    for _ in range(10):
        assert restarts.crashed() == pytest.approx(0.0)
        restarts.progress()


def test_different_suspects_with_no_answer_between_are_the_end() -> None:
    restarts = Restarts(Keeping(suspects=3))
    assert [restarts.crashed(suspect=each) for each in (1, 2, 1, 2)] == [0.0] * 4
    restarts.progress()  # a token is no answer
    assert restarts.crashed(suspect=3) is None


def test_an_answer_clears_the_suspects_before_it() -> None:
    restarts = Restarts(Keeping(suspects=3))
    for suspect in range(10):
        assert restarts.crashed(suspect=suspect) == 0.0
        restarts.answered()
        restarts.progress()
