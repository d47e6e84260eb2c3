"""How the next token is chosen, and when to stop: plain numbers, checked once."""

from dataclasses import dataclass, fields
from typing import TypeGuard

from .errors import InvalidSampling

# llama.cpp takes 2**32 - 1 to mean "a random seed", so it cannot name a text that can be made again.
MAX_SEED = 2**32 - 2
MAX_COUNT = 2**31 - 1

# Field: type, least, most. A top_k of 0 means the whole vocabulary.
RANGES: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_k": (int, 0, MAX_COUNT),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "seed": (int, 0, MAX_SEED),
    "max_tokens": (int, 1, MAX_COUNT),
}

# Below this, dividing by the temperature overflows 32-bit floats; the choice is the greedy one long before.
LEAST_TEMPERATURE = 1e-3


@dataclass(frozen=True, slots=True)
class Sampling:
    """The settings of one generation; the defaults are llama.cpp's.

    `temperature` 0 is greedy, `seed` None is a fresh one each time, `max_tokens` counts generated tokens, `stop` ends
    the text before any of its strings. Raises InvalidSampling.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in RANGES and not (field.name == "seed" and value is None):
                _check(field.name, value)
        if not isinstance(self.stop, tuple) or not all(isinstance(s, str) and s for s in self.stop):
            raise InvalidSampling(f"stop is {self.stop!r}; it must be strings that are not empty")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < LEAST_TEMPERATURE


def _check(name: str, value: object) -> None:
    kind, least, most = RANGES[name]
    if _is_number(value, kind) and least <= value <= most:
        return
    what = "a whole number" if kind is int else "a number"
    raise InvalidSampling(f"{name} is {value!r}; it must be {what} from {least} to {most}")


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    # True and False are ints to Python; a NaN compares false to every limit.
    return isinstance(value, (int, kind)) and not isinstance(value, bool)
