"""The next token of each row of a batch."""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import RunnerError
from ..llama.logprobs import logprobs
from .answer import Answer
from .request import TokenLogprobs
from .sequence import Sequence

if TYPE_CHECKING:
    from ..llama.context import LlamaContext

_NAN = "the model computes NaN: its weights are damaged or made to"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token, and its log-probabilities where they were asked for."""

    token: int
    logprobs: tuple[TokenLogprobs, ...] = ()


def choose(
    context: "LlamaContext",
    rows: list[tuple[int, Sequence]],
    answers: Mapping[int, Answer],
    watch: Callable[[Several[int]], None],
) -> Iterator[tuple[Sequence, Chosen | str]]:
    """A token for each row, or why there is none. Greedy rows are done at once, by numpy; others one by one."""
    if not rows:
        return
    logits = context.logits()
    # Of all rows, also those that sample: it finds a NaN first, and llama.cpp's softmax of one is undefined.
    likeliest = logits.argmax(axis=1)
    broken = np.isnan(logits[np.arange(len(likeliest)), likeliest])
    for row, sequence in rows:
        answer = answers[sequence.id]
        if broken[row]:
            yield sequence, _NAN
            continue
        try:
            token = int(likeliest[row])
            if not answer.sampler.greedy:
                watch([sequence.id])
                token = answer.sampler.choose(logits[row])
            wanted = sequence.request.sampling.logprobs
            told = () if wanted is None else (logprobs(logits[row], token, wanted),)
            yield sequence, Chosen(token, told)
        except RunnerError as error:
            yield sequence, str(error)
