"""`make bench-gpu` keeps to its minutes: what no longer fits is left out, and a line says so."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def budget() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_budget", BENCHMARKS / "budget.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Time:
    """Seconds that pass only when something is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lasting(time: Time, seconds: float, done: list[Any], name: str) -> Any:
    def act(number: int) -> str:
        time.now += seconds
        done.append((name, number))
        return f"{name}{number}"

    return act


def test_who_began_one_round_ends_the_next(budget: ModuleType) -> None:
    time, done = Time(), []
    acts = {name: lasting(time, 1, done, name) for name in "ab"}
    turns = budget.in_turns(acts, budget.Budget.of(100, time), rounds=2)
    assert done == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert (turns.found, turns.remark) == ({"a": ["a0", "a1"], "b": ["b0", "b1"]}, "")


def test_a_round_begins_only_where_one_as_long_as_the_longest_fits(budget: ModuleType) -> None:
    time, done = Time(), []
    turns = budget.in_turns({"a": lasting(time, 4, done, "a")}, budget.Budget.of(10, time), rounds=5)
    assert len(done) == 2
    assert turns.remark == "2 of 5 rounds: no time for more"
    assert time.now <= 10


def test_what_is_expected_to_take_longer_than_there_is_is_left_out(budget: ModuleType) -> None:
    time, done = Time(), []
    turns = budget.in_turns({"a": lasting(time, 4, done, "a")}, budget.Budget.of(10, time), rounds=5, expected=11)
    assert (done, turns.remark) == ([], "0 of 5 rounds: no time for more")


def test_who_fails_is_left_out_and_named_and_the_others_go_on(budget: ModuleType) -> None:
    time, done = Time(), []

    def failing(number: int) -> str:
        raise RuntimeError("no device")

    acts = {"a": failing, "b": lasting(time, 1, done, "b")}
    turns = budget.in_turns(acts, budget.Budget.of(100, time), rounds=3)
    assert turns.failed == {"a": "no device"}
    assert turns.found == {"a": [], "b": ["b0", "b1", "b2"]}


def test_what_a_part_does_not_use_stays_for_the_others(budget: ModuleType) -> None:
    time = Time()
    whole = budget.Budget.of(100, time)
    part = whole.share(0.4)
    time.now += 10
    assert (part.left, whole.left) == (30, 90)
    time.now += 200
    assert (part.left, whole.left) == (0, 0)
