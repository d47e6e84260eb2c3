"""A tenant's limits, whatever the order of requests: never a token over, and the wait that is told is true."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner.errors import OverLimit
from llstore.runner.tenants.bucket import Bucket
from llstore.runner.tenants.limits import Grant, Limits
from llstore.runner.tenants.tenant import Tenant

TEAM = Tenant("team-a", tokens_per_minute=1000)


def admits(limits: Limits, tenant: Tenant, tokens: int, now: float) -> bool:
    try:
        limits.admit(tenant, tokens, now)
    except OverLimit:
        return False
    return True


def refusal(limits: Limits, tenant: Tenant, tokens: int, now: float) -> OverLimit:
    with pytest.raises(OverLimit) as refused:
        limits.admit(tenant, tokens, now)
    return refused.value


@dataclass
class Slow:
    """What a bucket is, by its definition: everything that happened, gone through again for each question."""

    limit: int
    taken: list[list[int]] = field(default_factory=list)  # when (ms), how much

    def level(self, now: int) -> int:
        # In thousandths of a sixtieth of a token, so that a millisecond brings a whole number.
        level, at = self.limit * 60_000, 0
        for when, amount in [*self.taken, [now, 0]]:
            level = min(self.limit * 60_000, level + self.limit * (when - at)) - amount * 60_000
            at = when
        return level


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "settle"]),
        st.integers(0, 30_000),  # ms that passed before
        st.integers(0, 100),  # tokens; of a settlement, percent of what was reserved
        st.integers(0, 20),  # which open one is settled
    ),
    max_size=60,
)


@given(limit=st.integers(1, 100), steps=STEPS)
def test_a_bucket_is_as_if_finished_requests_had_asked_for_what_they_used(limit: int, steps: list) -> None:
    limits, slow, now = Limits(), Slow(limit), 0
    tenant = replace(TEAM, tokens_per_minute=limit)
    open_grants: list[tuple[Grant, list[int]]] = []
    for what, passed, number, which in steps:
        now += passed
        if what == "settle" and open_grants:
            grant, taken = open_grants.pop(which % len(open_grants))
            taken[1] = grant.tokens * number // 100
            limits.settle(grant, taken[1], now / 1000)
        elif what == "admit" and number <= limit:
            fits = slow.level(now) >= number * 60_000
            if fits:
                slow.taken.append([now, number])
                open_grants.append((limits.admit(tenant, number, now / 1000), slow.taken[-1]))
            else:
                refusal(limits, tenant, number, now / 1000)


@given(limit=st.integers(1, 100), steps=STEPS)
def test_in_no_span_of_time_is_more_used_than_the_limit_allows(limit: int, steps: list) -> None:
    limits, now = Limits(), 0
    tenant = replace(TEAM, tokens_per_minute=limit)
    used: list[list[int]] = []
    open_grants: list[tuple[Grant, list[int]]] = []
    for what, passed, number, which in steps:
        now += passed
        if what == "settle" and open_grants:
            grant, row = open_grants.pop(which % len(open_grants))
            row[1] = grant.tokens * number // 100
            limits.settle(grant, row[1], now / 1000)
        elif what == "admit" and number <= limit:
            try:
                grant = limits.admit(tenant, number, now / 1000)
            except OverLimit:
                continue
            used.append([now, number])
            open_grants.append((grant, used[-1]))
    for first in range(len(used)):
        for last in range(first, len(used)):
            tokens = sum(amount for _, amount in used[first : last + 1])
            assert tokens * 60_000 <= limit * 60_000 + limit * (used[last][0] - used[first][0])


@given(
    rpm=st.none() | st.integers(1, 10),
    tpm=st.integers(1, 5000),
    asked=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5000)), max_size=12),
    start=st.sampled_from([0.0, 86_400.123456, 1.7e9]),
)
def test_waiting_as_long_as_told_suffices_and_a_millisecond_less_does_not(
    rpm: int | None, tpm: int, asked: list, start: float
) -> None:
    tenant = Tenant("t", requests_per_minute=rpm, tokens_per_minute=tpm)

    def after(past: list) -> tuple[Limits, float]:
        limits, now = Limits(), start
        for passed, tokens in past:
            now += passed
            admits(limits, tenant, min(tokens, tpm), now)
        return limits, now

    limits, now = after(asked)
    wanted = max(1, tpm * 2 // 3)
    try:
        limits.admit(tenant, wanted, now)
    except OverLimit as refused:
        wait = refused.retry_after
        assert wait is not None
        assert admits(after(asked)[0], tenant, wanted, now + wait)
        if wait > 0.001:
            assert not admits(after(asked)[0], tenant, wanted, now + wait - 0.001)


def test_a_refusal_says_what_may_be_used_what_is_left_and_when() -> None:
    limits = Limits()
    limits.admit(TEAM, 790, 0.0)
    refused = refusal(limits, TEAM, 400, 0.0)
    assert str(refused) == "team-a may use 1000 tokens a minute; 210 are left, this request may take 400"
    assert (refused.limit, refused.hint) == ("tokens", "try again in 12 s")
    assert refused.retry_after == pytest.approx(190 * 60 / 1000, abs=1e-5)


def test_what_was_not_used_is_given_back() -> None:
    limits = Limits()
    first, second = limits.admit(TEAM, 600, 0.0), limits.admit(TEAM, 400, 0.0)
    limits.settle(second, 100, 0.0)
    assert not admits(limits, TEAM, 301, 0.0)
    limits.settle(first, 0, 0.0)
    assert admits(limits, TEAM, 900, 0.0)
    assert not admits(limits, TEAM, 1, 0.0)


def test_what_would_have_flowed_over_is_not_given_back() -> None:
    limits = Limits()
    grant = limits.admit(TEAM, 600, 0.0)
    # After 36 seconds the bucket is full again: had nothing been taken, it would be no fuller.
    assert admits(limits, TEAM, 1000, 36.0)
    limits.settle(grant, 0, 36.0)
    assert not admits(limits, TEAM, 1, 36.0)


def test_what_was_used_beyond_a_reservation_is_owed() -> None:
    limits = Limits()
    limits.settle(limits.admit(TEAM, 1000, 0.0), 1500, 0.0)
    assert refusal(limits, TEAM, 1, 0.0).retry_after == pytest.approx(501 * 60 / 1000, abs=1e-5)


def test_settling_a_second_time_gives_nothing() -> None:
    limits = Limits()
    tenant = replace(TEAM, concurrency=2)
    grant = limits.admit(tenant, 600, 0.0)
    limits.admit(tenant, 400, 0.0)
    for _ in range(3):
        limits.settle(grant, 500, 0.0)
    assert admits(limits, tenant, 100, 0.0)
    assert refusal(limits, tenant, 0, 0.0).limit == "concurrency"


def test_a_request_larger_than_the_limit_can_never_pass() -> None:
    refused = refusal(Limits(), TEAM, 1001, 0.0)
    assert (refused.retry_after, refused.limit) == (None, "tokens")
    assert "1001" in str(refused)
    assert "can never pass" in str(refused)


def test_requests_are_counted_apart_from_tokens() -> None:
    limits = Limits()
    tenant = Tenant("t", requests_per_minute=2)
    assert [admits(limits, tenant, 10**9, 0.0) for _ in range(3)] == [True, True, False]
    refused = refusal(limits, tenant, 0, 0.0)
    assert (refused.limit, str(refused)) == ("requests", "t may make 2 requests a minute; none is left")
    assert refused.retry_after == pytest.approx(30, abs=1e-5)


def test_a_request_that_is_done_was_still_made() -> None:
    limits = Limits()
    tenant = Tenant("t", requests_per_minute=1)
    limits.settle(limits.admit(tenant, 5, 0.0), 0, 0.0)
    assert not admits(limits, tenant, 5, 59.9)
    assert admits(limits, tenant, 5, 60.0)


def test_concurrency_ends_with_the_answer() -> None:
    limits = Limits()
    tenant = Tenant("t", concurrency=2)
    grants = [limits.admit(tenant, 5, 0.0) for _ in range(2)]
    refused = refusal(limits, tenant, 5, 1000.0)
    assert (refused.limit, refused.retry_after) == ("concurrency", 1.0)
    limits.settle(grants[0], 5, 1000.0)
    assert admits(limits, tenant, 5, 1000.0)
    assert not admits(limits, tenant, 5, 1000.0)


def test_of_several_limits_the_one_that_takes_longest_is_told() -> None:
    limits = Limits()
    tenant = Tenant("t", requests_per_minute=1, tokens_per_minute=1000, concurrency=1)
    limits.admit(tenant, 10, 0.0)
    assert refusal(limits, tenant, 1000, 0.0).limit == "requests"
    assert refusal(limits, tenant, 1000, 59.9).limit == "concurrency"


@given(
    tenant=st.builds(
        Tenant,
        st.just("t"),
        requests_per_minute=st.none() | st.integers(1, 3),
        tokens_per_minute=st.none() | st.integers(1, 50),
        concurrency=st.none() | st.integers(1, 3),
    ),
    asked=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60)), max_size=20),
)
def test_a_refused_request_costs_nothing(tenant: Tenant, asked: list) -> None:
    pestered, quiet, now = Limits(), Limits(), 0
    for passed, tokens in asked:
        now += passed
        if admits(pestered, tenant, tokens, now):
            assert admits(quiet, tenant, tokens, now)
        else:
            assert not admits(pestered, tenant, tokens, now)


def test_tenants_do_not_share_a_bucket() -> None:
    limits = Limits()
    assert admits(limits, TEAM, 1000, 0.0)
    assert admits(limits, replace(TEAM, name="team-b"), 1000, 0.0)


def test_a_tenant_without_limits_is_always_admitted() -> None:
    limits = Limits()
    assert all(admits(limits, Tenant("t"), 10**12, 0.0) for _ in range(1000))


@pytest.mark.parametrize(("limit", "left"), [(2000, 1300), (800, 100), (700, 0), (100, 0)])
def test_a_limit_that_changes_keeps_what_was_used(limit: int, left: int) -> None:
    limits = Limits()
    limits.admit(TEAM, 700, 0.0)
    changed = replace(TEAM, tokens_per_minute=limit)
    assert not admits(limits, changed, left + 1, 0.0)
    assert admits(limits, changed, left, 0.0)


def test_what_is_given_back_after_a_change_is_as_if_it_had_not_been_taken() -> None:
    limits = Limits()
    grant = limits.admit(TEAM, 700, 0.0)
    changed = replace(TEAM, tokens_per_minute=100)
    assert not admits(limits, changed, 1, 0.0)
    limits.settle(grant, 0, 0.0)
    assert admits(limits, changed, 100, 0.0)


def test_a_limit_that_is_taken_away_and_set_again_begins_anew() -> None:
    limits = Limits()
    grant = limits.admit(TEAM, 1000, 0.0)
    assert admits(limits, replace(TEAM, tokens_per_minute=None), 10**6, 0.0)
    assert admits(limits, TEAM, 600, 0.0)
    limits.settle(grant, 0, 0.0)
    assert not admits(limits, TEAM, 401, 0.0)


def test_a_clock_that_goes_back_fills_nothing() -> None:
    limits = Limits()
    limits.admit(TEAM, 1000, 100.0)
    assert not admits(limits, TEAM, 1, 40.0)
    assert not admits(limits, TEAM, 1, 100.0)
    assert admits(limits, TEAM, 1, 100.06)


def test_negative_counts_are_refused() -> None:
    limits = Limits()
    with pytest.raises(ValueError, match="-1 tokens"):
        limits.admit(TEAM, -1, 0.0)
    with pytest.raises(ValueError, match="-1 tokens"):
        limits.settle(limits.admit(TEAM, 1, 0.0), -1, 0.0)


def test_a_wait_is_rounded_up_to_the_nanosecond() -> None:
    bucket = Bucket(7, 0)
    bucket.take(7)
    assert bucket.wait(1) == -(-60 * 10**9 // 7)
    bucket.fill(bucket.wait(1) - 1)
    assert (bucket.wait(1), bucket.left) == (1, 0)
    bucket.fill(-(-60 * 10**9 // 7))
    assert (bucket.wait(1), bucket.left) == (0, 1)
