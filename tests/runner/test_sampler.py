"""The next token: llama.cpp's choice where it has one, found faster, and the same again whoever asks."""

import ctypes
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from llstore.runner import DecodeFailed, EngineSettings, InvalidSampling, RunnerError, Sampling
from llstore.runner.llama import LlamaModel, grammar
from llstore.runner.llama.chain import Chain, Draw, second_seed
from llstore.runner.llama.context import LlamaContext
from llstore.runner.llama.grammar import Grammar
from llstore.runner.llama.logprobs import logprobs
from llstore.runner.llama.sampler import Sampler
from llstore.runner.llama.shortlist import likeliest

PENALTIES = {"repeat_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": -0.25, "repeat_last_n": 8}
LETTERS = "root ::= [a-z ]+"
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.5, "top_k": 100, "top_p": 0.99, "min_p": 0.0},
    {"top_k": 0, "top_p": 0.9, "min_p": 0.01},
    {"temperature": 1.0, "typical_p": 0.7},
    {"temperature": 1.2, **PENALTIES},
    {"temperature": 1.0, "logit_bias": ((314, 4.0), (7, -3.0), (7, -3.0))},
    {"temperature": 1.0, **PENALTIES, "repeat_last_n": -1, "typical_p": 0.9, "top_p": 0.8},
]


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[LlamaModel]:
    with LlamaModel(smollm2) as model:
        yield model


@pytest.fixture(scope="module")
def prompt(model: LlamaModel) -> list[int]:
    return model.tokenize("Once upon a time there was a", add_special=True, parse_special=False)


@pytest.fixture(scope="module")
def rows(model: LlamaModel, prompt: list[int]) -> "np.ndarray[Any, Any]":
    """The logits of 24 tokens in a row, as a model gives them."""
    found = []
    with LlamaContext(model, EngineSettings(256, threads=2)) as context:
        pending = prompt
        for _ in range(24):
            context.decode(pending)
            found.append(context.logits()[0].copy())
            pending = [int(found[-1].argmax())]
    return np.array(found)


def by_llama_cpp(model: LlamaModel, sampling: Sampling, prompt: list[int], rows: Any) -> list[int]:
    """What llama.cpp's own chain chooses, as llama.cpp's server builds and feeds it."""
    ll = llama_cpp.llama_cpp
    biases = (ll.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
    last_n = 4096 if sampling.repeat_last_n < 0 else sampling.repeat_last_n
    strengths = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    chain = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
    for member in (
        ll.llama_sampler_init_logit_bias(model.vocabulary_size, len(biases), biases),
        ll.llama_sampler_init_penalties(model.vocabulary_size, last_n, *strengths),
        ll.llama_sampler_init_top_k(sampling.top_k),
        ll.llama_sampler_init_typical(sampling.typical_p, 1),
        ll.llama_sampler_init_top_p(sampling.top_p, 1),
        ll.llama_sampler_init_min_p(sampling.min_p, 1),
        ll.llama_sampler_init_temp(sampling.temperature),
        ll.llama_sampler_init_dist(sampling.seed),
    ):
        ll.llama_sampler_chain_add(chain, member)
    for token in prompt:
        ll.llama_sampler_accept(chain, token)
    chosen = []
    for row in rows:
        tokens = np.zeros(len(row), [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        tokens["id"], tokens["logit"] = np.arange(len(row)), row
        array = ll.llama_token_data_array(tokens.ctypes.data_as(ll.llama_token_data_p), len(row), -1, False)
        ll.llama_sampler_apply(chain, ctypes.byref(array))
        chosen.append(array.data[array.selected].id)
        ll.llama_sampler_accept(chain, chosen[-1])
    ll.llama_sampler_free(chain)
    return chosen


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_chooses_what_llama_cpp_chooses(
    model: LlamaModel, prompt: list[int], rows: Any, settings: dict[str, Any]
) -> None:
    sampling = Sampling(seed=11, **settings)
    with Sampler(model, sampling, 11, prompt=prompt) as sampler:
        assert [sampler.choose(row) for row in rows] == by_llama_cpp(model, sampling, prompt, rows)


@pytest.mark.parametrize("settings", [*SETTINGS, {"temperature": 1.0, "grammar": LETTERS}, {"temperature": 0}])
@pytest.mark.parametrize("known", [1, 9])
def test_one_that_accepts_the_first_tokens_goes_on_as_the_one_that_chose_them(
    model: LlamaModel, prompt: list[int], rows: Any, settings: dict[str, Any], known: int
) -> None:
    sampling = Sampling(**settings)
    with Sampler(model, sampling, 5, prompt=prompt) as first:
        chosen = [first.choose(row) for row in rows]
    with Sampler(model, sampling, 5, prompt=prompt) as second:
        for token in chosen[:known]:
            second.accept(token)
        assert [second.choose(row) for row in rows[known:]] == chosen[known:]


def test_a_grammar_that_refuses_some_tokens_leaves_the_chance_of_the_others(model: LlamaModel, rows: Any) -> None:
    sampling = Sampling(temperature=1.0, grammar=LETTERS)
    refused = 0
    with Sampler(model, sampling, 5) as sampler, Sampler(model, Sampling(temperature=1.0), 5) as free:
        for row in rows:
            token = sampler.choose(row)
            assert all(character in b"abcdefghijklmnopqrstuvwxyz " for character in model.piece(token))
            refused += token != free.choose(row)
    assert 0 < refused < len(rows)  # or the test above would not have met a second choice


def test_cold_settings_take_the_likeliest_of_what_is_left(model: LlamaModel, rows: Any) -> None:
    best = int(rows[0].argmax())
    second = int(np.argsort(-rows[0])[1])
    with Sampler(model, Sampling(temperature=0, logit_bias=((best, -100.0),)), 1) as sampler:
        assert sampler.likeliest(rows[0]) is None
        assert sampler.choose(rows[0]) == second
    with Sampler(model, Sampling(temperature=0), 1) as sampler:
        assert sampler.likeliest(rows[0]) == sampler.choose(rows[0]) == best


def test_the_likeliest_token_is_not_taken_at_once_where_it_may_not_be_said(model: LlamaModel, rows: Any) -> None:
    ending = rows[0].copy()
    ending[list(model.end_tokens)] = ending.max() + 1
    broken = rows[0].copy()
    broken[7] = np.nan
    with Sampler(model, Sampling(temperature=0, ignore_eos=True), 1) as sampler:
        assert sampler.likeliest(rows[0]) == int(rows[0].argmax())
        assert sampler.likeliest(ending) is None
        assert sampler.choose(ending) == int(rows[0].argmax())
        assert sampler.likeliest(broken) is None


def test_the_end_is_not_chosen_when_it_is_to_be_ignored(model: LlamaModel, rows: Any) -> None:
    logits = rows[0].copy()
    logits[list(model.end_tokens)] = 100.0
    with Sampler(model, Sampling(temperature=0, ignore_eos=True), 1) as sampler:
        assert sampler.choose(logits) == int(rows[0].argmax())
    assert all(model.is_end(token) for token in model.end_tokens)
    assert len(model.end_tokens) >= 2


def test_the_logits_of_the_context_are_left_as_they_were(model: LlamaModel, rows: Any) -> None:
    before = rows[0].copy()
    sampling = Sampling(**PENALTIES, logit_bias=((1, 2.0),), ignore_eos=True)
    with Sampler(model, sampling, 1, prompt=[1, 2, 3]) as sampler:
        sampler.choose(rows[0])
    assert (rows[0] == before).all()


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"top_k": 0}, {"top_k": 5000}, PENALTIES])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_a_damaged_model(
    model: LlamaModel, rows: Any, settings: dict[str, Any], bad: float
) -> None:
    logits = rows[0].copy()
    logits[40_000] = bad
    with Sampler(model, Sampling(**settings), 1) as sampler, pytest.raises(DecodeFailed, match="NaN"):
        sampler.choose(logits)


def test_tokens_that_the_vocabulary_lacks_are_named(model: LlamaModel) -> None:
    for settings in ({"logit_bias": ((10**6, 1.0),)}, {"stop_tokens": (10**6,)}):
        with pytest.raises(InvalidSampling, match="1000000"):
            Sampler(model, Sampling(**settings), 1)


def test_a_closed_sampler_says_so(model: LlamaModel, rows: Any) -> None:
    sampler = Sampler(model, Sampling(grammar=LETTERS), 1)
    sampler.close()
    sampler.close()
    for act in (lambda: sampler.choose(rows[0]), lambda: sampler.accept(5)):
        with pytest.raises(DecodeFailed, match="closed"):
            act()


@given(st.data())
@hypothesis_settings(max_examples=200)
def test_the_shortlist_is_the_beginning_of_the_sorted_row(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 2000))
    k = data.draw(st.integers(1, size))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-9, 9, size).astype(np.float32)
    values[data.draw(st.integers(0, size - 1))] = -np.inf
    assert likeliest(values, k).tolist() == sorted(range(size), key=lambda i: (-values[i], i))[:k]


def test_logprobs_are_the_log_of_the_softmax(rows: Any) -> None:
    row = rows[0].astype(np.float64)
    wanted = row - row.max() - np.log(np.exp(row - row.max()).sum())
    token = int(np.argsort(row)[5])
    found = logprobs(rows[0], token, 5)
    assert found.chosen.token == token
    assert found.chosen.logprob == pytest.approx(wanted[token], abs=1e-4)
    assert [one.token for one in found.top] == np.argsort(-row)[:5].tolist()
    assert [one.logprob for one in found.top] == pytest.approx(sorted(wanted, reverse=True)[:5], abs=1e-4)
    assert logprobs(rows[0], token, 0).top == ()


@pytest.mark.parametrize("grammar", [LETTERS, 'root ::= ("€" | "žluť" | [0-9])+', "root ::= [^a-zA-Z ]+"])
@pytest.mark.parametrize("settings", [{"temperature": 1.3}, {"temperature": 0}, {"temperature": 1.0, "top_k": 0}])
def test_a_second_choice_is_the_one_among_all_tokens_that_follow(
    model: LlamaModel, rows: Any, grammar: str, settings: dict[str, Any]
) -> None:
    """Though only the likeliest are asked about, where that makes no difference."""
    sampling = Sampling(grammar=grammar, **settings)
    everything = np.arange(model.vocabulary_size)
    for row in rows[:8]:
        with (
            Sampler(model, sampling, 3) as sampler,
            Sampler(model, replace(sampling, grammar=None), 3) as free,
            Grammar(model, grammar) as follows,
            Chain(sampling, model.vocabulary_size) as chain,
            Draw(second_seed(3)) as second,
        ):
            wanted = free.choose(row)
            if not follows.admits(wanted):
                among = follows.admitted(everything, row)
                cold = int(among[row[among].argmax()])
                wanted = cold if sampling.cold else chain.choose_among(among, row[among], draw=second)
            assert sampler.choose(row) == wanted


def test_an_answer_that_no_token_can_continue_ends_in_an_error(model: LlamaModel, rows: Any) -> None:
    with (
        Sampler(model, Sampling(grammar='root ::= "\\x00"'), 1) as sampler,
        pytest.raises(DecodeFailed, match="leaves no token"),
    ):
        sampler.choose(rows[0])


def test_a_token_that_was_not_chosen_here_cannot_be_accepted(model: LlamaModel, rows: Any) -> None:
    with Sampler(model, Sampling(grammar='root ::= "a"'), 1) as sampler:
        with pytest.raises(DecodeFailed, match="does not follow"):
            sampler.accept(5)
        with pytest.raises(RunnerError, match="there is no -1"):
            sampler.accept(-1)
        with pytest.raises(RunnerError, match="there is no 49152"):
            sampler.accept(49152)
        assert model.piece(sampler.choose(rows[0])) == b"a"


def test_a_grammar_that_is_read_in_ever_more_ways_is_given_up(
    model: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar, "MAX_SECONDS", 0.05)
    accepted: list[None] = []
    (a,) = model.tokenize("a", add_special=False, parse_special=False)
    text = 'root ::= s\ns ::= "a" s "b" | "a" s "c" | "a"'
    with Sampler(model, Sampling(grammar=text), 1) as sampler, pytest.raises(DecodeFailed, match="ambiguous"):
        accepted.extend(map(sampler.accept, [a] * 40))
    # Each doubles the ways: long before the last, one token takes too long.
    assert 1 < len(accepted) < 40
