"""Speeds of one kind of work, as llama-bench and llama-batched-bench count them."""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of one request, repeated: `pp512` reads a prompt of 512 tokens, `tg128` generates 128."""

    test: str
    samples: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the repetitions."""
        return statistics.fmean(self.samples)

    @property
    def deviation(self) -> float:
        """Their sample standard deviation; 0 of one."""
        return statistics.stdev(self.samples) if len(self.samples) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class BatchedTest:
    """`parallel` requests at once, each of `prompt` tokens and given `generated` more."""

    prompt: int
    generated: int
    parallel: int

    @property
    def tokens(self) -> int:
        """Read and generated, of all."""
        return self.parallel * (self.prompt + self.generated)


@dataclass(frozen=True, slots=True)
class BatchedSpeed:
    """What a test took: seconds of reading prompts, of generating, and altogether.

    `own` is the share of the generating time that was not llama.cpp's; NaN where it is not known.
    """

    test: BatchedTest
    prompt_seconds: float
    generated_seconds: float
    seconds: float
    own: float = math.nan

    @property
    def prompt_speed(self) -> float:
        """Prompt tokens a second of reading: S_PP."""
        return self.test.parallel * self.test.prompt / self.prompt_seconds

    @property
    def generated_speed(self) -> float:
        """Generated tokens a second of generating: S_TG."""
        return self.test.parallel * self.test.generated / self.generated_seconds

    @property
    def speed(self) -> float:
        """All tokens a second of all the time: S."""
        return self.test.tokens / self.seconds
