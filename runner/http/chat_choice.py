"""One answer of a conversation: what was said, and which tools were called."""

from typing import Any

from ..engine.request import End
from ..tools.parser import CallParser
from ..tools.pieces import CallArguments, CallBegun, CallBroken, CallEnded, Piece, Said

Delta = dict[str, Any]


class ChatChoice:
    """An answer as it grows; without a parser, all of it is text."""

    def __init__(self, parser: CallParser | None) -> None:
        self._parser = parser
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    @property
    def plain(self) -> bool:
        """Whether nothing but text can come."""
        return self._parser is None

    def take(self, text: str, *, over: bool) -> list[Delta]:
        """What the next text means, as the deltas of a stream; `over` says that it is the last."""
        pieces: list[Piece] = [Said(text)] if text else []
        if self._parser:
            pieces = [*self._parser.push(text), *(self._parser.finish() if over else ())]
        return [delta for piece in pieces if (delta := self._add(piece))]

    def message(self) -> dict[str, Any]:
        """All of it, as a message; an answer of calls alone has no content."""
        text = "".join(self._texts)
        found: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self._calls:
            found["content"] = text or None
            found["tool_calls"] = [call for _, call in sorted(self._calls.items())]
        return found

    def finish_reason(self, end: End) -> str:
        """Why it ended, in OpenAI's words."""
        return "tool_calls" if self._calls and end.reason == "stop" else end.reason

    def _add(self, piece: Piece) -> Delta:
        match piece:
            case Said(text):
                self._texts.append(text)
                return {"content": text}
            case CallBegun(index, id, name):
                function = {"name": name, "arguments": ""}
                self._calls[index] = {"id": id, "type": "function", "function": function}
                return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": dict(function)}]}
            case CallArguments(index, text):
                self._calls[index]["function"]["arguments"] += text
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
            case CallBroken(index):
                # What was streamed of it cannot be taken back: its arguments are no JSON, which every client checks.
                del self._calls[index]
                return {}
            case CallEnded():
                return {}
