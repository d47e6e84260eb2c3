"""An answer that comes in pieces: no clock and no I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...store import Digest
from ..errors import AnswerBroken
from .answers import Head, digest, document, only_choice, part, receipt, rows, text, usage, whole
from .completion import Completion, ToolCall
from .events import Events
from .refusals import broke_off

_DONE = b"[DONE]"
MAX_TOOL_CALLS = 1024


@dataclass(slots=True)
class _Call:
    """A tool call so far."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Growing:
    """Takes the bytes of a stream, gives the pieces of its text, and has the whole answer in the end.

    `began` is when the call began, and every `now` when the bytes came, in seconds of one clock. `key` is what no
    error may show. Raises AnswerBroken for an answer that is no stream.
    """

    def __init__(self, head: Head, *, chat: bool, began: float, key: str | None) -> None:
        if not head.headers.get("content-type", "").lower().startswith("text/event-stream"):
            raise AnswerBroken("the server does not stream what it was asked to stream", hint="is it a llstore serve?")
        self._head, self._chat, self._began, self._key = head, chat, began, key
        self._events = Events()
        self._pieces: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._first: float | None = None
        self._reason: str | None = None
        self._digest: Digest | None = None
        self._usage: tuple[int, int] | None = None
        self._receipt: dict[str, Any] | None = None
        self.whole: Completion | None = None

    @property
    def text(self) -> str:
        """What there is so far."""
        return "".join(self._pieces)

    def feed(self, data: bytes, now: float) -> Iterator[str]:
        """The pieces of text in `data`, none of them empty; what follows the end is not looked at.

        Raises AnswerBroken, or ServerRefused for an error that came instead of the rest.
        """
        for event in self._events.feed(data):
            if self.whole:
                return
            if event.strip() == _DONE:
                self.whole = self._completion(now)
            else:
                yield from self._taken(document(event), now)

    def ended(self) -> Completion:
        """The whole answer, when nothing more comes; raises AnswerBroken if it is not whole."""
        if self.whole is None:
            raise AnswerBroken(f"the stream broke off after {len(self.text)} characters", hint="ask again")
        return self.whole

    def _taken(self, chunk: dict[str, Any], now: float) -> Iterator[str]:
        if chunk.get("error") is not None:
            raise broke_off(chunk["error"], key=self._key, request_id=self._head.request_id)
        self._digest = digest(self._head, chunk)
        if chunk.get("usage") is not None:
            self._usage = usage(chunk)
        self._receipt = receipt(chunk) or self._receipt
        if chunk.get("choices") == []:
            return
        piece = self._chosen(only_choice(chunk), now)
        if piece:
            yield piece

    def _chosen(self, choice: Mapping[str, Any], now: float) -> str:
        message = part(choice, "delta") if self._chat else choice
        piece = text(message, "content" if self._chat else "text", optional=True)
        called = self._called(message)
        if self._first is None and (piece or called):
            self._first = now
        if choice.get("finish_reason") is not None:
            self._reason = text(choice, "finish_reason")
        if piece:
            self._pieces.append(piece)
        return piece

    def _called(self, message: Mapping[str, Any]) -> bool:
        found = rows(message, "tool_calls")
        for row in found:
            index = whole(row, "index")
            if index >= MAX_TOOL_CALLS:
                raise AnswerBroken(f"the server streams more than {MAX_TOOL_CALLS} tool calls")
            call = self._calls.setdefault(index, _Call())
            call.id += text(row, "id", optional=True)
            function = part(row, "function") if row.get("function") is not None else {}
            call.name += text(function, "name", optional=True)
            call.arguments += text(function, "arguments", optional=True)
        return bool(found)

    def _completion(self, now: float) -> Completion:
        if self._reason is None or self._usage is None or self._digest is None:
            raise AnswerBroken("the stream ended without saying why, or how many tokens it had")
        return Completion(
            text=self.text,
            latency_ms=(now - self._began) * 1000,
            first_token_ms=None if self._first is None else (self._first - self._began) * 1000,
            tokens=self._usage[0],
            prompt_tokens=self._usage[1],
            finish_reason=self._reason,
            digest=self._digest,
            receipt=self._receipt,
            request_id=self._head.request_id,
            tool_calls=tuple(ToolCall(c.id, c.name, c.arguments) for _, c in sorted(self._calls.items())),
        )
