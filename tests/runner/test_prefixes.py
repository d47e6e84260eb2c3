"""Prefixes: the longest one that may be used, within a budget, and nothing across domains."""

from hypothesis import given
from hypothesis import strategies as st

from llstore.runner.engine.prefixes import Prefixes, ids

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def kept(prefixes: Prefixes, tokens: list[int], *, domain: str = "a", public: int = 0, size: int = 10) -> None:
    prefixes.keep(tokens, bytearray(size), domain=domain, public=public)


def longest(prefixes: Prefixes, prompt: list[int], domain: str = "a") -> int:
    found = prefixes.longest(ids(prompt), domain)
    return found[1] if found else 0


def shared(one: list[int], other: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(
    st.lists(st.tuples(TOKENS, st.sampled_from("ab"), st.integers(0, 12)), max_size=12), TOKENS, st.sampled_from("ab")
)
def test_the_longest_allowed_prefix_is_found_and_no_token_of_another_domain(
    past: list[tuple[list[int], str, int]], prompt: list[int], domain: str
) -> None:
    prefixes = Prefixes(10_000)
    allowed = [0]
    for tokens, owner, public in past:
        kept(prefixes, tokens, domain=owner, public=public)
        allowed.append(min(shared(tokens, prompt), len(tokens) if owner == domain else public))
    assert longest(prefixes, prompt, domain) == min(max(allowed), len(prompt) - 1)


def test_a_prompts_last_token_is_always_read_for_its_logits_are_needed() -> None:
    prefixes = Prefixes(1000)
    kept(prefixes, [1, 2, 3, 4])
    assert longest(prefixes, [1, 2, 3, 4]) == 3


def test_a_domain_cannot_tell_what_another_has_asked() -> None:
    prefixes = Prefixes(1000)
    canary = [7, 1, 9, 4, 8, 2]
    kept(prefixes, canary, domain="victim")
    assert longest(prefixes, canary, "attacker") == 0
    assert longest(prefixes, canary, "victim") == 5


def test_what_is_declared_public_is_shared_up_to_there() -> None:
    prefixes = Prefixes(1000)
    kept(prefixes, [1, 2, 3, 4, 5, 6], domain="one", public=3)
    assert longest(prefixes, [1, 2, 3, 4, 5, 9], "other") == 3


def test_declaring_it_public_oneself_opens_nothing_of_others() -> None:
    prefixes = Prefixes(1000)
    kept(prefixes, [1, 2, 3, 4, 5, 6], domain="one")
    kept(prefixes, [1, 2, 9], domain="other", public=3)
    assert longest(prefixes, [1, 2, 3, 4, 5, 6], "other") == 2


def test_the_budget_holds_and_the_least_recently_used_goes_first() -> None:
    prefixes = Prefixes(30)
    kept(prefixes, [1, 1, 1])
    kept(prefixes, [2, 2, 2])
    kept(prefixes, [3, 3, 3])
    assert longest(prefixes, [1, 1, 1, 0]) == 3
    kept(prefixes, [4, 4, 4])
    assert prefixes.bytes == 30
    assert [longest(prefixes, [n] * 3 + [0]) for n in (1, 2, 3, 4)] == [3, 0, 3, 3]


def test_one_larger_than_the_budget_displaces_nobody() -> None:
    prefixes = Prefixes(30)
    kept(prefixes, [1, 1])
    kept(prefixes, [2, 2], size=31)
    assert longest(prefixes, [1, 1, 0]) == 2
    assert longest(prefixes, [2, 2, 0]) == 0


def test_what_a_longer_one_extends_takes_no_room() -> None:
    prefixes = Prefixes(1000)
    kept(prefixes, [1, 2])
    kept(prefixes, [1, 2, 3])
    assert prefixes.bytes == 10


def test_a_short_prefix_is_not_worth_copying_a_long_state() -> None:
    prefixes = Prefixes(1000)
    kept(prefixes, list(range(2000)))
    assert longest(prefixes, [*range(5), 9]) == 0
    assert longest(prefixes, [*range(50), 9]) == 50


def test_a_parked_request_comes_back_once_and_serves_no_other() -> None:
    prefixes = Prefixes(1000)
    prefixes.park(5, [1, 2, 3], bytearray(b"state"))
    assert longest(prefixes, [1, 2, 3, 4], "") == 0
    found = prefixes.resume(5)
    assert found is not None
    assert found.state == b"state"
    assert prefixes.resume(5) is None
    assert prefixes.bytes == 0


def test_a_parked_request_loses_its_state_when_the_budget_is_spent() -> None:
    prefixes = Prefixes(20)
    prefixes.park(5, [1, 2, 3], bytearray(15))
    kept(prefixes, [4, 4], size=15)
    assert prefixes.resume(5) is None
