"""ULIDs: names that sort by the time they were made."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.store import ulid

SPEC_EXAMPLE = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

clocks = st.integers(0, 2**45).map(lambda milliseconds: milliseconds / 1000)
ulids = st.builds(
    lambda clock, noise: ulid.lowest(clock)[:10] + noise, clocks, st.text(ulid.ALPHABET, min_size=16, max_size=16)
)


def test_the_example_of_the_spec_is_a_ulid_of_its_time() -> None:
    assert ulid.valid(SPEC_EXAMPLE)
    assert ulid.seconds(SPEC_EXAMPLE) == 1469922850.259


def test_a_time_is_spelled_as_the_spec_spells_it() -> None:
    assert ulid.lowest(1469918176.385) == "01ARYZ6S41" + "0" * 16
    assert ulid.mint(1469918176.385).startswith("01ARYZ6S41")


@pytest.mark.parametrize(
    "text",
    [
        "",
        SPEC_EXAMPLE[:25],
        SPEC_EXAMPLE + "0",
        SPEC_EXAMPLE.lower(),
        SPEC_EXAMPLE + "\n",
        "8" + SPEC_EXAMPLE[1:],  # more than 128 bits
        "Z" * 26,
        *(SPEC_EXAMPLE[:25] + letter for letter in "ILOU-_ é"),
    ],
)
def test_another_spelling_is_no_ulid(text: str) -> None:
    assert not ulid.valid(text)


@given(clocks)
def test_a_ulid_tells_the_millisecond_it_was_made_in(clock: float) -> None:
    made = ulid.mint(clock)
    assert ulid.valid(made)
    assert abs(ulid.seconds(made) - clock) < 0.0011


@given(clocks, clocks)
def test_ulids_sort_by_time(one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    if later - earlier > 0.002:
        assert ulid.mint(earlier) < ulid.mint(later)


@given(clocks, ulids)
def test_a_ulid_is_greater_than_the_one_it_follows_even_when_the_clock_went_back(clock: float, after: str) -> None:
    made = ulid.mint(clock, after=after)
    assert ulid.valid(made)
    assert made > after


@given(clocks, clocks)
def test_following_an_older_ulid_changes_nothing_about_the_time(one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    if later - earlier > 0.002:
        assert abs(ulid.seconds(ulid.mint(later, after=ulid.mint(earlier))) - later) < 0.0011


def test_two_writers_that_saw_the_same_ulid_make_different_ones() -> None:
    made = {ulid.mint(0.0, after=SPEC_EXAMPLE) for _ in range(1000)}
    assert len(made) == 1000
    assert len({ulid.mint(1.0) for _ in range(1000)}) == 1000


def test_a_chain_made_by_a_clock_that_stands_still_stays_close_to_it() -> None:
    made = ""
    for _ in range(10_000):
        previous, made = made, ulid.mint(1469918176.385, after=made)
        assert made > previous
    assert ulid.seconds(made) - 1469918176.385 < 0.01


@given(clocks)
def test_a_listing_from_a_moment_misses_nothing_made_in_it_and_nothing_before(clock: float) -> None:
    assert ulid.lowest(clock) <= ulid.mint(clock)
    if clock >= 0.002:
        assert ulid.mint(clock - 0.002) < ulid.lowest(clock)


def test_a_listing_from_before_1970_starts_at_the_first_ulid() -> None:
    assert ulid.lowest(-900.0) == "0" * 26


def test_ulids_sort_as_the_moments_they_were_made_at() -> None:
    moments = [1_700_000_000 + number / 100 for number in range(500)]
    made = [(ulid.mint(moment), moment) for moment in random.Random(0).sample(moments, len(moments))]
    assert [moment for _, moment in sorted(made)] == moments
