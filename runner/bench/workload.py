"""What is asked of an engine under test, and when: drawn from a seed, so that every engine gets the very same."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from ..errors import InvalidLoad

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: a prompt as token ids, and how many tokens it is to be given. `owner` is whose it is."""

    prompt: tuple[int, ...]
    max_tokens: int
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Numbers of tokens, each from `least` to `most` as likely as any other. Raises InvalidLoad."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise InvalidLoad(f"{self} is no range of tokens", hint="16-256, or 64 for always the same")

    @classmethod
    def parse(cls, text: str) -> "Lengths":
        """From `16-256` or `64`; raises InvalidLoad."""
        found = _RANGE.fullmatch(text.strip())
        if not found:
            raise InvalidLoad(f"{text!r} is no range of tokens", hint="16-256, or 64 for always the same")
        return cls(int(found[1]), int(found[2] or found[1]))

    def draw(self, chance: random.Random) -> int:
        """One of them."""
        return chance.randint(self.least, self.most)

    @property
    def mean(self) -> float:
        """What they come to in the long run."""
        return (self.least + self.most) / 2

    def __str__(self) -> str:
        return f"{self.least}-{self.most}"


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests without end, the same for the same `seed` and `words`.

    A prompt is drawn from `words`, which are token ids. Of `len(words)` in a row no two begin with the same token, so
    that there is no prefix to be reused.
    """

    words: Sequence[int]
    prompt: Lengths
    answer: Lengths
    seed: int = 0
    owner: str = ""

    def asks(self) -> Iterator[Asked]:
        """The requests, from the first."""
        chance = random.Random(f"{self.seed} {self.owner}")
        first = chance.sample(self.words, len(self.words))
        for number in count():
            length = self.prompt.draw(chance)
            prompt = (first[number % len(first)], *chance.choices(self.words, k=length - 1))
            yield Asked(prompt, self.answer.draw(chance), self.owner)

    def schedule(self, *, rate: float, seconds: float) -> list[tuple[float, Asked]]:
        """The requests of so many seconds, each with the time at which it is due."""
        due = list(arrivals(rate, seconds, seed=self.seed))
        return list(zip(due, islice(self.asks(), len(due)), strict=True))


def arrivals(rate: float, seconds: float, *, seed: int) -> Iterator[float]:
    """The times within `seconds` at which a Poisson process of `rate` a second has arrivals. Raises InvalidLoad."""
    if not 0 < rate < float("inf"):
        raise InvalidLoad(f"a rate of {rate:g} requests a second; it must be above 0")
    chance = random.Random(seed)
    time = chance.expovariate(rate)
    while time < seconds:
        yield time
        time += chance.expovariate(rate)
