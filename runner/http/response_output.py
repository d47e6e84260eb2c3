"""The output of a response as it grows: messages, and calls of functions."""

from typing import Any

from ..tools.parser import CallParser
from ..tools.pieces import CallArguments, CallBegun, CallBroken, CallEnded, Piece, Said
from .response_items import CallItem, Logprobs, MessageItem, Status


class ResponseOutput:
    """Its items; without a parser, one message. Each verb gives the events of what it did (`response_items.event`)."""

    def __init__(self, parser: CallParser | None) -> None:
        self._parser = parser
        self._items: list[MessageItem | CallItem] = []
        self._begun = 0
        self._message: MessageItem | None = None  # the one that goes on
        self._call: CallItem | None = None  # the one that goes on
        self._waiting: Logprobs = []  # of tokens whose text may yet turn out to be a call

    def begin(self) -> list[str]:
        """Nothing is said yet. Where nothing but a message can come, it is there."""
        return [] if self._parser else self._begin_message()

    def take(self, text: str, logprobs: Logprobs, *, over: bool) -> list[str]:
        """What the next text means; `over` says that it is the last."""
        if self._parser is None:
            # By far the most: one text, nothing else.
            return [self._message.say(text, logprobs)] if self._message and (text or logprobs) else []
        self._waiting += logprobs
        pieces = [*self._parser.push(text), *(self._parser.finish() if over else ())]
        return [event for piece in pieces for event in self._add(piece)]

    def end(self, status: Status) -> list[str]:
        """All is said; an answer of nothing is a message without a text. `status` is that of the last message."""
        begun = [] if self._begun else self._begin_message()
        said = [self._say("")] if self._message and self._waiting else []
        return [*begun, *said, *self._end_message(status), *self._end_call("incomplete")]

    def document(self) -> list[dict[str, Any]]:
        """The items so far."""
        return [item.document() for item in self._items]

    def _add(self, piece: Piece) -> list[str]:
        match piece:
            case Said(text):
                begun = [] if self._message else self._begin_message()
                return [*begun, self._say(text)]
            case CallBegun(_, id, name):
                return [*self._end_message("completed"), *self._begin_call(id, name)]
            case CallArguments(_, text):
                return [self._call.add(text)] if self._call else []
            case CallEnded():
                # The tokens were the call's.
                self._waiting = []
                return self._end_call("completed")
            case CallBroken():
                # What was streamed of it cannot be taken back, but nobody should make the call: its text follows.
                self._items.pop()
                return self._end_call("incomplete")

    def _say(self, text: str) -> str:
        logprobs, self._waiting = self._waiting, []
        return self._message.say(text, logprobs) if self._message else ""

    def _begin_message(self) -> list[str]:
        self._message = MessageItem(self._begun)
        return self._begin(self._message)

    def _begin_call(self, id: str, name: str) -> list[str]:
        self._call = CallItem(self._begun, id, name)
        return self._begin(self._call)

    def _begin(self, item: MessageItem | CallItem) -> list[str]:
        self._items.append(item)
        self._begun += 1
        return item.begin()

    def _end_message(self, status: Status) -> list[str]:
        ended, self._message = self._message, None
        return ended.end(status) if ended else []

    def _end_call(self, status: Status) -> list[str]:
        ended, self._call = self._call, None
        return ended.end(status) if ended else []
