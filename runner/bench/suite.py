"""The whole benchmark: every engine does the same work, in turns, so that a machine's moods fall on all alike."""

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from ..errors import InvalidLoad
from .latencies import Load, Spread
from .limits import NO_LIMITS, Limits
from .load import Clients, closed, opened
from .speed import BatchedSpeed, BatchedTest, Speed
from .target import Target
from .workload import Lengths, Workload

SHARE = 0.8  # of what was done under full load: the rate of an open loop that names none

Found = TypeVar("Found")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often.

    One request alone reads `prompt` tokens and generates `generated`, `repeats` times in a round. Requests of the loops
    have lengths from `prompts` and `answers`. With no `rate` the open loop takes a share of what the first engine can
    do under the fullest closed one; with 0 there is none. Raises InvalidLoad.
    """

    prompts: Lengths
    answers: Lengths
    seed: int = 0
    prompt: int = 512
    generated: int = 128
    repeats: int = 3
    batched: tuple[BatchedTest, ...] = ()
    concurrency: tuple[int, ...] = ()
    rate: float | None = None
    seconds: float = 15.0
    limits: Limits = NO_LIMITS
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise InvalidLoad(f"loops of {self.seconds} seconds; it must be above 0")
        if self.rate is not None and not 0 <= self.rate < math.inf:
            raise InvalidLoad(f"a rate of {self.rate} requests a second; it must be 0 or above")

    @property
    def room(self) -> int:
        """Tokens that a slot must hold for the loops."""
        return self.prompts.most + self.answers.most


class Contestant(Protocol):
    """An engine that can be put to all tests. Between two calls it leaves the machine alone."""

    @property
    def name(self) -> str:
        """What results call it."""
        ...

    def alone(self, *, prompt: int, generated: int, repeats: int) -> tuple[Speed, ...]:
        """The speed of one request."""
        ...

    def batched(self, test: BatchedTest) -> BatchedSpeed:
        """The speed of several at once."""
        ...

    def target(self) -> AbstractContextManager[Target]:
        """It at work, to put a load on."""
        ...


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What the loads of all rounds come to. `good` are rates of requests and tokens that kept to the limits."""

    requests: int
    failed: int
    seconds: float
    tokens_per_second: float
    requests_per_second: float
    good_requests_per_second: float
    good_tokens_per_second: float
    ttft: Spread
    itl: Spread
    request: Spread

    @classmethod
    def of(cls, loads: Sequence[Load], limits: Limits) -> "LoadFigures":
        """Means over the time of all, and distributions over all requests."""
        seconds = sum(load.seconds for load in loads)

        def mean(rate: Callable[[Load], float]) -> float:
            return sum(rate(load) * load.seconds for load in loads) / seconds if seconds else 0.0

        whole = [record for load in loads for record in load.whole]
        return cls(
            requests=len(whole),
            failed=sum(len(load.failed) for load in loads),
            seconds=seconds,
            tokens_per_second=mean(lambda load: load.tokens_per_second),
            requests_per_second=mean(lambda load: load.requests_per_second),
            good_requests_per_second=mean(lambda load: load.goodput(limits.met)),
            good_tokens_per_second=mean(lambda load: load.good_tokens_per_second(limits.met)),
            ttft=Spread.of(record.ttft for record in whole),
            itl=Spread.of(gap for load in loads for gap in load.gaps()),
            request=Spread.of(record.seconds for record in whole),
        )


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine's loads of one kind, round by round: a closed loop has a `concurrency`, an open one a `rate`."""

    engine: str
    loads: tuple[Load, ...]
    concurrency: int = 0
    rate: float = 0.0

    def figures(self, limits: Limits = NO_LIMITS) -> LoadFigures:
        """What they come to."""
        return LoadFigures.of(self.loads, limits)


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured; an engine's speeds of all rounds are one Speed, its batched ones stand round by round."""

    speeds: tuple[tuple[str, Speed], ...]
    batched: tuple[tuple[str, tuple[BatchedSpeed, ...]], ...]
    closed: tuple[Loaded, ...]
    open: tuple[Loaded, ...]


class Suite:
    """Runs a plan with contestants, the first of which is us; prompts are made of `words`, which are token ids.

    `say` hears what is being done. Raises RunnerError.
    """

    def __init__(self, plan: Plan, contestants: Sequence[Contestant], *, words: Sequence[int], say: Say) -> None:
        self._plan, self._contestants, self._say = plan, contestants, say
        self._workload = Workload(words, plan.prompts, plan.answers, plan.seed)

    def run(self) -> Results:
        """Everything, one section after another."""
        speeds, batched, loops = self.speeds(), self.batched(), self.closed()
        rate = self._usual_rate(loops) if self._plan.rate is None else self._plan.rate
        return Results(speeds, batched, loops, self.open(rate))

    def speeds(self) -> tuple[tuple[str, Speed], ...]:
        """One request alone."""
        plan = self._plan
        turns = self._in_turns(
            "one request",
            lambda one: one.alone(prompt=plan.prompt, generated=plan.generated, repeats=plan.repeats),
        )
        found = []
        for name, rounds in turns.items():
            for same in zip(*rounds, strict=True):
                samples = tuple(sample for speed in same for sample in speed.samples)
                found.append((name, Speed(same[0].test, samples)))
        return tuple(sorted(found, key=lambda pair: pair[1].test))

    def batched(self) -> tuple[tuple[str, tuple[BatchedSpeed, ...]], ...]:
        """Several of the same lengths."""
        found = []
        for test in self._plan.batched:
            turns = self._in_turns(f"{test.parallel} at once", partial(_batched, test))
            found += [(name, tuple(rounds)) for name, rounds in turns.items()]
        return tuple(found)

    def closed(self) -> tuple[Loaded, ...]:
        """So many clients."""
        found = []
        for number in self._plan.concurrency:
            turns = self._in_turns(f"{number} clients", partial(self._closed, number))
            found += [Loaded(name, tuple(loads), concurrency=number) for name, loads in turns.items()]
        return tuple(found)

    def open(self, rate: float) -> tuple[Loaded, ...]:
        """Requests that come at random; with a rate of 0 there are none."""
        if not rate:
            return ()
        schedule = self._workload.schedule(rate=rate, seconds=self._plan.seconds)

        def load(one: Contestant) -> Load:
            with one.target() as target:
                return opened(target, schedule)

        turns = self._in_turns(f"{rate:.2f} requests a second", load)
        return tuple(Loaded(name, tuple(loads), rate=rate) for name, loads in turns.items())

    def _closed(self, number: int, one: Contestant) -> Load:
        with one.target() as target:
            return closed(target, [Clients(self._workload.asks(), number)], seconds=self._plan.seconds)

    def _usual_rate(self, loops: Sequence[Loaded]) -> float:
        if not loops:
            return 0.0
        ours = [loop for loop in loops if loop.engine == self._contestants[0].name]
        fullest = max(ours, key=lambda loop: loop.concurrency)
        # By tokens, not by requests: of these only some may have ended in time.
        speed = statistics.fmean(load.tokens_per_second for load in fullest.loads)
        return SHARE * speed / self._plan.answers.mean

    def _in_turns(self, what: str, act: Callable[[Contestant], Found]) -> dict[str, list[Found]]:
        found: dict[str, list[Found]] = {one.name: [] for one in self._contestants}
        for number in range(self._plan.rounds):
            # Who was first is last in the next round.
            for one in self._contestants[:: -1 if number % 2 else 1]:
                self._say(f"{what}: {one.name}, round {number + 1} of {self._plan.rounds}")
                found[one.name].append(act(one))
        return found


def _batched(test: BatchedTest, one: Contestant) -> BatchedSpeed:
    return one.batched(test)
