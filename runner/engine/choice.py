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
    from ..llama.sampler import Sampler

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
    """A token for each row, or why there is none. Where the likeliest is wanted, numpy finds it in microseconds."""
    if not rows:
        return
    logits = context.logits()
    for row, sequence in rows:
        try:
            token = _token(logits[row], answers[sequence.id].sampler, sequence, watch)
            wanted = sequence.request.sampling.logprobs
            told = () if wanted is None else (logprobs(logits[row], token, wanted),)
            yield sequence, Chosen(token, told)
        except RunnerError as error:
            yield sequence, str(error)


def _token(logits: Logits, sampler: "Sampler", sequence: Sequence, watch: Watch) -> int:
    token = sampler.likeliest(logits)
    if token is not None:
        return token
    if sequence.request.sampling.grammar:
        # llama.cpp's grammars can be made to end the process.
        watch([sequence.id])
    return sampler.choose(logits)
