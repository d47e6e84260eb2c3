"""Who still finds a place in the queue."""

from hypothesis import given
from hypothesis import strategies as some

from llstore.runner.serve.places import has_room

PLACES = 40


def test_whoever_comes_first_may_take_all_places() -> None:
    assert has_room({}, "a", PLACES, places=PLACES)
    assert not has_room({"a": PLACES}, "a", 1, places=PLACES)
    assert not has_room({}, "a", PLACES + 1, places=PLACES)


def test_a_tenant_that_fills_the_queue_keeps_nobody_out() -> None:
    assert has_room({"flood": PLACES}, "other", PLACES // 2, places=PLACES)
    assert not has_room({"flood": PLACES}, "other", PLACES // 2 + 1, places=PLACES)
    assert not has_room({"flood": PLACES, "other": PLACES // 2}, "other", 1, places=PLACES)


@given(some.lists(some.tuples(some.sampled_from("abcd"), some.integers(1, 9))))
def test_however_they_come_there_are_never_many_more_than_places(calls: list[tuple[str, int]]) -> None:
    taken: dict[str, int] = {}
    for tenant, wanted in calls * 10:
        if has_room(taken, tenant, wanted, places=PLACES):
            taken[tenant] = taken.get(tenant, 0) + wanted
    assert sum(taken.values()) <= PLACES * (1 + 1 / 2 + 1 / 3 + 1 / 4)
