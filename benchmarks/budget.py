"""Minutes that a measurement may take, shared by its parts; what no longer fits is left out and said."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from llstore.runner import RunnerError

Found = TypeVar("Found")


@dataclass(frozen=True)
class Budget:
    """Time until `end` on a clock of seconds."""

    end: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Budget":
        """One that begins now."""
        return cls(clock() + seconds, clock)

    @property
    def left(self) -> float:
        """Seconds, 0 where it is over."""
        return max(0.0, self.end - self.clock())

    def share(self, part: float) -> "Budget":
        """A part of what is left, from 0 to 1. What it does not use stays in this one."""
        return Budget(self.clock() + part * self.left, self.clock)


@dataclass
class Turns(Generic[Found]):
    """What each found, round by round; why there are no more rounds, if fewer were made than asked for; and the seconds
    of the longest round."""

    found: dict[str, list[Found]]
    remark: str = ""
    longest: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


def in_turns(
    acts: Mapping[str, Callable[[int], Found]], budget: Budget, *, rounds: int, expected: float = 0.0
) -> Turns[Found]:
    """So many rounds, or as many as fit; who began one round ends the next.

    `expected` is how many seconds the first round may take; a later one may take as long as the longest before. What
    raises RuntimeError or RunnerError is left out of the rounds that follow.
    """
    turns: Turns[Found] = Turns({name: [] for name in acts})
    for number in range(rounds):
        if budget.left <= max(turns.longest, expected):
            turns.remark = f"{number} of {rounds} rounds: no time for more"
            break
        began = budget.clock()
        for name in list(acts)[:: -1 if number % 2 else 1]:
            if name not in turns.failed:
                _act(turns, name, acts[name], number)
        turns.longest = max(turns.longest, budget.clock() - began)
    return turns


def _act(turns: Turns[Found], name: str, act: Callable[[int], Found], number: int) -> None:
    try:
        turns.found[name].append(act(number))
    except (RuntimeError, RunnerError) as error:
        turns.failed[name] = str(error)
