"""How the next token is chosen, and when to stop: plain numbers, checked once."""

import math
from dataclasses import dataclass, fields, replace
from typing import TypeGuard

from .errors import InvalidSampling
from .grammar import check_grammar

# llama.cpp takes 2**32 - 1 to mean "a random seed", so it cannot name a text that can be made again.
MAX_SEED = 2**32 - 2
MAX_COUNT = 2**31 - 1
MAX_ANSWERS = 128

# Field: type, least, most. A top_k of 0 means the whole vocabulary, a repeat_last_n of -1 the whole text.
RANGES: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 100.0),
    "top_k": (int, 0, MAX_COUNT),
    "top_p": (float, 0.0, 1.0),
    "min_p": (float, 0.0, 1.0),
    "typical_p": (float, 0.0, 1.0),
    "repeat_penalty": (float, 0.01, 100.0),
    "repeat_last_n": (int, -1, MAX_COUNT),
    "frequency_penalty": (float, -100.0, 100.0),
    "presence_penalty": (float, -100.0, 100.0),
    "seed": (int, 0, MAX_SEED),
    "max_tokens": (int, 1, MAX_COUNT),
    "logprobs": (int, 0, 20),
}
_MAY_BE_NONE = ("seed", "logprobs")

# So many that no honest request meets them, so few that none can slow the others down.
MAX_STOPS, MAX_STOP_CHARACTERS = 64, 65536
MAX_STOP_TOKENS, MAX_BIASES, MAX_BIAS = 1024, 10_000, 1e6

# Below this, dividing by the temperature overflows 32-bit floats; the choice is the greedy one long before.
LEAST_TEMPERATURE = 1e-3


@dataclass(frozen=True, slots=True)
class Sampling:
    """The settings of one generation; the defaults are llama.cpp's.

    `temperature` 0 is greedy, `seed` None is a fresh one each time, `max_tokens` counts generated tokens. Penalties
    look at the last `repeat_last_n` tokens, the prompt's among them. `logit_bias` is pairs of a token and what is
    added to its logit. `stop` ends the text before any of its strings, `stop_tokens` before any of its tokens;
    `ignore_eos` goes on where the model would end. `logprobs` asks for the probabilities of so many of the likeliest
    tokens, beside the chosen one's. `grammar` (GBNF) allows only texts that it describes. `shown_tokens` are special
    tokens whose text is part of the answer's text, which leaves out the others. Raises InvalidSampling.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    grammar: str | None = None
    shown_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in RANGES and not (field.name in _MAY_BE_NONE and value is None):
                _check(field.name, value)
        _check_stops(self.stop)
        _check_tokens("stop_tokens", self.stop_tokens)
        _check_tokens("shown_tokens", self.shown_tokens)
        _check_biases(self.logit_bias)
        if type(self.ignore_eos) is not bool:
            raise InvalidSampling(f"ignore_eos is {self.ignore_eos!r:.100}; it must be true or false")
        if self.grammar is None:
            return
        check_grammar(self.grammar)
        if self.ignore_eos:
            raise InvalidSampling("ignore_eos contradicts grammar, which says where the answer ends")

    @property
    def cold(self) -> bool:
        """Whether the likeliest token is always taken, of those that the other settings leave."""
        return self.temperature < LEAST_TEMPERATURE or self.top_k == 1

    @property
    def penalizes(self) -> bool:
        """Whether tokens that were there already become more or less likely."""
        strengths = (self.repeat_penalty, self.frequency_penalty, self.presence_penalty)
        return self.repeat_last_n != 0 and strengths != (1.0, 0.0, 0.0)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token that may be said is always taken, by what the model says alone."""
        return self.cold and not (self.penalizes or self.logit_bias or self.grammar)


def answers(sampling: Sampling, n: int) -> tuple[Sampling, ...]:
    """The settings of `n` answers to one prompt: a seed counts up, so that they differ. Raises InvalidSampling."""
    if type(n) is not int or not 1 <= n <= MAX_ANSWERS:
        raise InvalidSampling(f"n is {n!r:.100}; it must be a whole number from 1 to {MAX_ANSWERS}")
    seed = sampling.seed
    if seed is None:
        return (sampling,) * n
    return tuple(replace(sampling, seed=(seed + i) % (MAX_SEED + 1)) for i in range(n))


def _check(name: str, value: object) -> None:
    kind, least, most = RANGES[name]
    if _is_number(value, kind) and least <= value <= most:
        return
    what = "a whole number" if kind is int else "a number"
    raise InvalidSampling(f"{name} is {value!r:.100}; it must be {what} from {least} to {most}")


def _check_stops(stop: object) -> None:
    if not isinstance(stop, tuple) or not all(isinstance(s, str) and s for s in stop):
        raise InvalidSampling(f"stop is {stop!r:.100}; it must be strings that are not empty")
    if len(stop) > MAX_STOPS or sum(map(len, stop)) > MAX_STOP_CHARACTERS:
        said = f"{len(stop)} strings of {sum(map(len, stop))} characters"
        raise InvalidSampling(f"stop is {said}; at most {MAX_STOPS} of {MAX_STOP_CHARACTERS} are allowed")


def _check_tokens(name: str, tokens: object) -> None:
    if not isinstance(tokens, tuple) or not all(map(_is_token, tokens)):
        raise InvalidSampling(f"{name} is {tokens!r:.100}; it must be token ids")
    if len(tokens) > MAX_STOP_TOKENS:
        raise InvalidSampling(f"{name} has {len(tokens)} tokens; at most {MAX_STOP_TOKENS} are allowed")


def _check_biases(biases: object) -> None:
    if not isinstance(biases, tuple) or not all(map(_is_bias, biases)):
        said = f"pairs of a token id and a number from {-MAX_BIAS:.0f} to {MAX_BIAS:.0f}"
        raise InvalidSampling(f"logit_bias is {biases!r:.100}; it must be {said}")
    if len(biases) > MAX_BIASES:
        raise InvalidSampling(f"logit_bias has {len(biases)} tokens; at most {MAX_BIASES} are allowed")


def _is_bias(pair: object) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2:
        return False
    token, bias = pair
    return _is_token(token) and _is_number(bias, float) and math.fabs(bias) <= MAX_BIAS


def _is_token(value: object) -> bool:
    return _is_number(value, int) and 0 <= value <= MAX_COUNT


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    # True and False are ints to Python; a NaN compares false to every limit.
    return isinstance(value, (int, kind)) and not isinstance(value, bool)
