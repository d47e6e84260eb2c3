"""What the answers of all routes have in common: who answered, how much it took, how likely tokens were."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.request import Logprob, TokenLogprobs
from ..serve.call import Call
from ..serve.model import ServedModel
from .answering import Collected
from .receipts import Receipts

Piece = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Who:
    """The facts at the head of each answer: its id, when it was begun (seconds since 1970), and by which model.

    `asked` is what the client called the model.
    """

    id: str
    created: int
    model: ServedModel
    asked: str | None

    def document(self, kind: str) -> dict[str, Any]:
        """Them, for an object of that kind."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked or self.model.identity.label,
            "system_fingerprint": str(self.model.digest),
        }


@dataclass(frozen=True, slots=True)
class Last:
    """What is told when all is answered; `usage` is whether a stream says how many tokens it took."""

    call: Call
    usage: bool = False
    receipts: Receipts | None = None

    @property
    def streamed(self) -> bool:
        """Whether a stream ends with it."""
        return self.usage or self.receipts is not None

    def document(self, answers: Sequence[Collected]) -> dict[str, Any]:
        """Its fields."""
        found: dict[str, Any] = {"usage": usage(self.call, answers)}
        if self.receipts:
            found["receipt"] = self.receipts.document(self.call, answers[0])
        return found


def quoted(word: str | None) -> str:
    """A word as JSON; `json.dumps` takes ten times as long for none."""
    return "null" if word is None else f'"{word}"'


def usage(call: Call, answers: Sequence[Collected]) -> dict[str, Any]:
    """How many tokens were read and made; answers to one prompt share it, and it counts once."""
    ends = [answer.end for answer in answers if answer.end]
    prompt, made = call.read, sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": ends[0].reused_tokens},
    }


def chat_logprobs(told: Sequence[TokenLogprobs], piece: Piece) -> dict[str, Any]:
    """As chat completions tell them."""
    tokens = [
        {**_chat_token(one.chosen, piece), "top_logprobs": [_chat_token(t, piece) for t in one.top]} for one in told
    ]
    return {"content": tokens, "refusal": None}


def _chat_token(one: Logprob, piece: Piece) -> dict[str, Any]:
    data = piece(one.token)
    return {"token": data.decode("utf-8", errors="replace"), "logprob": _finite(one.logprob), "bytes": list(data)}


def completion_logprobs(told: Sequence[TokenLogprobs], piece: Piece, *, offset: int = 0) -> dict[str, Any]:
    """As completions tell them; `offset` is where in the text the first token begins."""
    texts = [piece(one.chosen.token).decode("utf-8", errors="replace") for one in told]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [_finite(one.chosen.logprob) for one in told],
        "top_logprobs": [
            {piece(t.token).decode("utf-8", errors="replace"): _finite(t.logprob) for t in one.top} for one in told
        ],
        "text_offset": offsets,
    }


def _finite(logprob: float) -> float:
    # JSON has no infinity; OpenAI says so much of what was never likely.
    return max(logprob, -9999.0)
