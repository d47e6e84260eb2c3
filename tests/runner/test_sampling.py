"""Sampling settings are checked once, where they are made."""

import math

import pytest

from llstore.runner import InvalidSampling, Sampling
from llstore.runner.sampling import answers


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
        *(("typical_p", value) for value in (-0.1, 1.1, math.nan)),
        *(("repeat_penalty", value) for value in (0, -1.0, math.inf, math.nan)),
        *(("repeat_last_n", value) for value in (-2, 0.5)),
        *(("frequency_penalty", value) for value in (-101, 101, math.nan)),
        *(("presence_penalty", value) for value in (-101, 101, None)),
        *(
            ("logit_bias", value)
            for value in ({1: 2}, ((1,),), ((-1, 1.0),), ((1, math.nan),), ((1, -math.inf),), (1,))
        ),
        *(("stop_tokens", value) for value in ((-1,), [1], (1.0,), (True,))),
        *(("ignore_eos", value) for value in (0, None, "yes")),
        *(("logprobs", value) for value in (-1, 21, True, 1.0)),
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


def test_several_answers_have_seeds_that_count_up() -> None:
    assert [one.seed for one in answers(Sampling(seed=7), 3)] == [7, 8, 9]
    assert [one.seed for one in answers(Sampling(seed=2**32 - 2), 2)] == [2**32 - 2, 0]
    assert answers(Sampling(top_k=3), 2) == (Sampling(top_k=3), Sampling(top_k=3))
    for n in (0, 129, True, "2"):
        with pytest.raises(InvalidSampling, match="n is"):
            answers(Sampling(), n)


def test_stop_strings_are_bounded_but_long_ones_are_fine() -> None:
    Sampling(stop=("x" * 10_240, "y"))
    for stop in (("x" * 65_537,), tuple(map(str, range(65)))):
        with pytest.raises(InvalidSampling, match="stop is"):
            Sampling(stop=stop)


def test_greedy_is_only_what_takes_the_likeliest_token_that_may_be_said() -> None:
    changes = ({"repeat_penalty": 1.1}, {"logit_bias": ((1, 1.0),)}, {"grammar": "root ::= ."})
    for change in changes:
        assert not Sampling(temperature=0, **change).greedy
    for harmless in ({"repeat_penalty": 1.1, "repeat_last_n": 0}, {"logprobs": 5}, {"ignore_eos": True}):
        assert Sampling(temperature=0, **harmless).greedy
    assert Sampling(top_k=1).greedy
