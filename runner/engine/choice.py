"""The next token of each row of a batch."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunnerError
from ..llama.logprobs import logprobs
from .answer import Answer
from .request import TokenLogprobs
from .sequence import Sequence

if TYPE_CHECKING:
    from ..llama.context import LlamaContext

Logits = np.ndarray[Any, np.dtype[np.float32]]
Watch = Callable[[Several[int]], None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token, and its log-probabilities where they were asked for."""

    token: int
    logprobs: tuple[TokenLogprobs, ...] = ()


def choose(
    context: "LlamaContext",
    rows: list[tuple[int, Sequence]],
    answers: Mapping[int, Answer],
    watch: Watch,
) -> Iterator[tuple[Sequence, Chosen | str]]:
    """A token for each row, or why there is none. Greedy rows are done at once, by numpy; others one by one."""
    if not rows:
        return
    logits = context.logits()
    greedy = _likeliest(logits, [row for row, sequence in rows if answers[sequence.id].sampler.greedy])
    for row, sequence in rows:
        try:
            token = greedy[row] if row in greedy else _sampled(logits[row], sequence, answers, watch)
            wanted = sequence.request.sampling.logprobs
            told = () if wanted is None else (logprobs(logits[row], token, wanted),)
            yield sequence, Chosen(token, told)
        except RunnerError as error:
            yield sequence, str(error)


def _sampled(logits: Logits, sequence: Sequence, answers: Mapping[int, Answer], watch: Watch) -> int:
    if sequence.request.sampling.grammar:
        # llama.cpp's grammars can be made to end the process.
        watch([sequence.id])
    return answers[sequence.id].sampler.choose(logits)


def _likeliest(logits: Logits, rows: list[int]) -> dict[int, int]:
    """The likeliest token of each row; a row that holds a NaN is left to its sampler, which refuses it."""
    if not rows:
        return {}
    chosen = logits if len(rows) == len(logits) else logits[rows]
    tokens = chosen.argmax(axis=1)
    # argmax finds a NaN first.
    sound = ~np.isnan(chosen[np.arange(len(rows)), tokens])
    return {row: int(token) for row, token, whole in zip(rows, tokens, sound, strict=True) if whole}
