"""Sampling settings are checked once, where they are made."""

import math

import pytest

from llstore.runner import InvalidSampling, Sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (-0.1, 100.1, math.nan, math.inf, "1", None, True)),
        *(("top_k", value) for value in (-1, 1.5, 2**31, True)),
        *(("top_p", value) for value in (-0.1, 1.1, math.nan)),
        *(("min_p", value) for value in (-0.1, 1.1, -math.inf)),
        *(("seed", value) for value in (-1, 2**32 - 1, 1.0)),
        *(("max_tokens", value) for value in (0, -1, 2**31)),
        *(("stop", value) for value in (("",), "END", (1,))),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(name: str, value: object) -> None:
    with pytest.raises(InvalidSampling) as raised:
        Sampling(**{name: value})
    assert name in str(raised.value)
    assert repr(value) in str(raised.value)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    Sampling(temperature=0, top_k=0, top_p=0, min_p=0, seed=0, max_tokens=1)
    Sampling(temperature=100, top_k=2**31 - 1, top_p=1, min_p=1, seed=2**32 - 2, stop=("a", "b"))


def test_temperature_zero_is_greedy() -> None:
    assert Sampling(temperature=0).greedy
    assert Sampling(temperature=1e-30).greedy
    assert not Sampling().greedy
