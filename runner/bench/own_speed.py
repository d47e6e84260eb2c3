"""Our engine's speed, with all that its step loop costs."""

import math
import time
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

from ..engine.engine import Engine
from ..engine.request import Request
from ..errors import RunnerError
from ..sampling import Sampling
from .speed import BatchedSpeed, BatchedTest, Speed
from .workload import Asked, Lengths, Workload


def request_of(asked: Asked, *, patient: bool = False) -> Request:
    """A greedy request that goes on until it has its tokens."""
    sampling = Sampling(temperature=0.0, max_tokens=asked.max_tokens, ignore_eos=True)
    return Request(asked.prompt, sampling, share=asked.owner, patient=patient)


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step did, in which time, and how much of that was llama.cpp's."""

    prompt_tokens: int
    generated_tokens: int
    seconds: float
    decode_seconds: float


class SpeedTest:
    """Puts an engine, which nobody else uses, to the tests of llama-bench and llama-batched-bench.

    Raises RunnerError where a request ends in an error.
    """

    def __init__(self, engine: Engine, words: Sequence[int], *, seed: int = 0) -> None:
        self._engine = engine
        self._words = words
        self._seed = seed
        self._number = 0

    def alone(self, *, prompt: int, generated: int, repeats: int) -> tuple[Speed, Speed]:
        """`pp` and `tg`: a request that reads a prompt for one token, and one of a single token that generates."""
        self._seconds(prompt=min(prompt, 16), generated=2, parallel=1)
        reading = [self._seconds(prompt=prompt, generated=1, parallel=1) for _ in range(repeats)]
        writing = [self._seconds(prompt=1, generated=generated, parallel=1) for _ in range(repeats)]
        return (
            Speed(f"pp{prompt}", tuple(prompt / seconds for seconds in reading)),
            Speed(f"tg{generated}", tuple(generated / seconds for seconds in writing)),
        )

    def batched(self, test: BatchedTest) -> BatchedSpeed:
        """One test. Steps that read prompts and steps that generate are told apart, in whatever order they come."""
        self._seconds(prompt=16, generated=2, parallel=1)
        began = time.perf_counter()
        # The first of the tokens comes of reading the prompt: with one more, as many are decoded as there.
        self._submit(prompt=test.prompt, generated=test.generated + 1, parallel=test.parallel)
        submitting = time.perf_counter() - began
        steps = list(self._steps())
        reading = [step for step in steps if step.prompt_tokens]
        writing = [step for step in steps if not step.prompt_tokens]
        full = [step for step in writing if step.generated_tokens == test.parallel]
        return BatchedSpeed(
            test,
            prompt_seconds=submitting + sum(step.seconds for step in reading),
            generated_seconds=sum(step.seconds for step in writing),
            seconds=submitting + sum(step.seconds for step in steps),
            own=_own(full),
        )

    def _seconds(self, *, prompt: int, generated: int, parallel: int) -> float:
        began = time.perf_counter()
        self._submit(prompt=prompt, generated=generated, parallel=parallel)
        while not self._engine.idle:
            self._step()
        return time.perf_counter() - began

    def _submit(self, *, prompt: int, generated: int, parallel: int) -> None:
        # A seed of its own: no request begins like an earlier one, whose prefix the engine may have kept.
        self._seed += 1
        drawn = Workload(self._words, Lengths(prompt, prompt), Lengths(generated, generated), self._seed).asks()
        for _ in range(parallel):
            self._number += 1
            self._engine.submit(self._number, request_of(next(drawn), patient=True))

    def _step(self) -> None:
        for update in self._engine.step():
            if update.end and update.end.error:
                # What computes NaN can be fast.
                raise RunnerError(update.end.error)

    def _steps(self) -> Iterator[_Step]:
        before = copy(self._engine.stats)
        while not self._engine.idle:
            began = time.perf_counter()
            self._step()
            seconds = time.perf_counter() - began
            after = copy(self._engine.stats)
            yield _Step(
                prompt_tokens=after.prefill_tokens - before.prefill_tokens,
                generated_tokens=after.decode_tokens - before.decode_tokens,
                seconds=seconds,
                decode_seconds=after.decode_seconds - before.decode_seconds,
            )
            before = after


def _own(steps: Sequence[_Step]) -> float:
    seconds = sum(step.seconds for step in steps)
    return 1 - sum(step.decode_seconds for step in steps) / seconds if seconds else math.nan
