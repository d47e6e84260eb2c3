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
            "model": self.name,
            "system_fingerprint": self.fingerprint,
        }

    @property
    def name(self) -> str:
        """What the client called the model, or what it is called."""
        return self.asked or self.model.identity.label

    @property
    def fingerprint(self) -> str:
        """The model's digest."""
        return str(self.model.digest)


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
        return {"usage": usage(Count.of(self.call, answers)), **self.receipt(answers)}

    def receipt(self, answers: Sequence[Collected]) -> dict[str, Any]:
        """The field of the receipt, if there is to be one."""
        return {"receipt": self.receipts.document(self.call, answers[0])} if self.receipts else {}


def quoted(word: str | None) -> str:
    """A word as JSON; `json.dumps` takes ten times as long for none."""
    return "null" if word is None else f'"{word}"'


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens were read, how many of them had been read before, and how many were made.

    Answers to one prompt share it, and it counts once.
    """

    read: int
    reused: int
    made: int

    @classmethod
    def of(cls, call: Call, answers: Sequence[Collected]) -> "Count":
        """Those of answers that have ended."""
        ends = [answer.end for answer in answers if answer.end]
        return cls(call.read, ends[0].reused_tokens, sum(end.completion_tokens for end in ends))


def usage(count: Count) -> dict[str, Any]:
    """As completions tell them."""
    return {
        "prompt_tokens": count.read,
        "completion_tokens": count.made,
        "total_tokens": count.read + count.made,
        "prompt_tokens_details": {"cached_tokens": count.reused},
    }


def token_logprobs(told: Sequence[TokenLogprobs], piece: Piece) -> list[dict[str, Any]]:
    """Token by token, each with the likeliest ones."""
    return [{**_token(one.chosen, piece), "top_logprobs": [_token(t, piece) for t in one.top]} for one in told]


def chat_logprobs(told: Sequence[TokenLogprobs], piece: Piece) -> dict[str, Any]:
    """As chat completions tell them."""
    return {"content": token_logprobs(told, piece), "refusal": None}


def _token(one: Logprob, piece: Piece) -> dict[str, Any]:
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
