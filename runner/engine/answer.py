"""From the tokens of one request to its text, and when to stop."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...store.closing import Closing
from ..llama.sampler import Sampler
from ..sampling import MAX_SEED, Sampling
from ..text import TextStream
from .request import Reason, Request

if TYPE_CHECKING:
    from ..llama import LlamaModel


@dataclass(frozen=True, slots=True)
class Said:
    """What a token added: whether it belongs to the answer, the text that is safe to show, and whether it ended it."""

    token: int
    counts: bool
    text: str
    end: Reason | None


class Answer(Closing):
    """The sampler and the text of one request. Raises InvalidSampling for what only the model can tell: a grammar."""

    def __init__(self, model: "LlamaModel", request: Request, *, most: int) -> None:
        sampling = request.sampling
        self._model = model
        self._sampling = sampling
        self._stream = TextStream(sampling.stop)
        self._left = min(sampling.max_tokens, most)
        self.sampler = Sampler(model, sampling, _seed(sampling), prompt=request.prompt)
        for token in request.generated:
            # It was said before the engine crashed: what it says from here on must join it without a seam.
            self.sampler.accept(token)
            self._stream.push(self._piece(token))
            self._left -= 1

    def close(self) -> None:
        """Frees the sampler."""
        self.sampler.close()

    @property
    def over(self) -> bool:
        """Whether no token may follow."""
        return self._left <= 0 or self._stream.stopped

    def take(self, token: int) -> Said:
        """The next token was chosen."""
        if token in self._sampling.stop_tokens or (self._model.is_end(token) and not self._sampling.ignore_eos):
            return Said(token, False, self._stream.finish(), "stop")
        self._left -= 1
        text = self._stream.push(self._piece(token))
        if self._stream.stopped:
            return Said(token, True, text, "stop")
        if self._left <= 0:
            return Said(token, True, text + self._stream.finish(), "length")
        return Said(token, True, text, None)

    def finish(self) -> str:
        """The text that was held back, of an answer that is cut off."""
        return self._stream.finish()

    def _piece(self, token: int) -> bytes:
        return self._model.mark(token) if token in self._sampling.shown_tokens else self._model.piece(token)


def _seed(sampling: Sampling) -> int:
    return secrets.randbelow(MAX_SEED + 1) if sampling.seed is None else sampling.seed
