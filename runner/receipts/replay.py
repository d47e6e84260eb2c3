"""Running a receipt's prompt again, and saying where the answer leaves the recorded one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from ...store.manifest import FileEntry
from ..errors import InvalidReceipt
from ..generate import Generator
from .receipt import Output, Reading, Receipt, UsedFile

if TYPE_CHECKING:
    from ..llama.model import LlamaModel


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it this time: how the model read the prompt, and what it answered."""

    receipt: Receipt
    reading: Reading
    output: Output

    @property
    def same(self) -> bool:
        """Whether the model read the same and answered the same."""
        return not self.differs

    @property
    def differs(self) -> tuple[str, ...]:
        """What is not as recorded: template, prompt (its tokens), tokens, text, finish_reason."""
        then, now = self.receipt, self
        pairs = {
            "template": (then.reading.template, now.reading.template),
            "prompt": (then.reading.digest, now.reading.digest),
            "tokens": (then.output.tokens, now.output.tokens),
            "text": (then.output.text, now.output.text),
            "finish_reason": (then.output.finish_reason, now.output.finish_reason),
        }
        return tuple(name for name, (recorded, again) in pairs.items() if recorded != again)


def refuse_other_files(receipt: Receipt, files: Sequence[FileEntry]) -> None:
    """Raises InvalidReceipt when a receipt names other files than those that its model is loaded from."""
    if receipt.model.files != tuple(UsedFile(file.role, file.digest) for file in files):
        raise InvalidReceipt(f"the receipt names files that are not those of {receipt.model.digest}")


def replay(receipt: Receipt, model: "LlamaModel") -> Replay:
    """Run it again with the recorded settings. Raises InvalidReceipt for settings that this model cannot have had."""
    if receipt.engine.context_size > model.context_length:
        size = receipt.engine.context_size
        raise InvalidReceipt(f"the receipt has a context of {size} tokens, its model one of {model.context_length}")
    prompt = receipt.ask.tokens(model)
    answer = Generator(model, prompt, receipt.sampling, engine=receipt.engine)
    for _ in answer:
        pass
    return Replay(receipt, Reading.of(receipt.ask, model, answer.result), Output.of(answer.result))


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token and its text; `text` is None for a token that the vocabulary lacks."""

    token: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first token that differs, at `position` counted from 0; None is an answer that was over by then."""

    position: int
    recorded: TokenText | None
    now: TokenText | None


def difference(again: Replay, model: "LlamaModel") -> Difference | None:
    """Where the tokens leave the recorded ones; None when they are equal."""
    then, now = again.receipt.output.tokens, again.output.tokens
    at = first_difference(then, now)
    return None if at is None else Difference(at, _token_text(model, then, at), _token_text(model, now, at))


def first_difference(then: Sequence[int], now: Sequence[int]) -> int | None:
    """The first place, from 0, where two answers differ; where one ends early, that is its end."""
    return next((n for n, (a, b) in enumerate(zip_longest(then, now)) if a != b), None)


def _token_text(model: "LlamaModel", tokens: Sequence[int], position: int) -> TokenText | None:
    if position >= len(tokens):
        return None
    token = tokens[position]
    known = token < model.vocabulary_size
    return TokenText(token, model.piece(token).decode("utf-8", errors="replace") if known else None)
