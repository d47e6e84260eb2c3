"""The items that a response is made of, and the events that tell how they grow.

An event is its text up to the number that it gets in the stream.
"""

import json
import secrets
from typing import Any, Literal

Logprobs = list[dict[str, Any]]
Status = Literal["in_progress", "completed", "incomplete"]

TEXT, ARGUMENTS = "response.output_text", "response.function_call_arguments"
ITEM, PART = "response.output_item", "response.content_part"


def event(name: str, fields: dict[str, Any]) -> str:
    """An event without its number."""
    return f"event: {name}\ndata: {_inside({'type': name, **fields})},{_NUMBER}"


def numbered(event: str, number: int) -> str:
    """It with its number."""
    return f"{event}{number}}}\n\n"


_NUMBER = '"sequence_number":'


def _inside(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))[:-1]


class MessageItem:
    """A message as it grows: one text, and how likely its tokens were."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = f"msg_{secrets.token_hex(12)}"
        self.status: Status = "in_progress"
        self._texts: list[str] = []
        self._logprobs: Logprobs = []
        self._where = {"item_id": self.id, "output_index": index, "content_index": 0}
        # Made once: the rest of the event is made for every token of every client.
        name = f"{TEXT}.delta"
        self._head = f"event: {name}\ndata: {_inside({'type': name, **self._where})},"

    def begin(self) -> list[str]:
        """It is there, without a text."""
        part = {**self._where, "part": self._part()}
        return [event(f"{ITEM}.added", self._told()), event(f"{PART}.added", part)]

    def say(self, text: str, logprobs: Logprobs) -> str:
        """More of the text."""
        self._texts.append(text)
        self._logprobs += logprobs
        told = json.dumps(logprobs, separators=(",", ":")) if logprobs else "[]"
        return f'{self._head}"delta":{json.dumps(text)},"logprobs":{told},{_NUMBER}'

    def end(self, status: Status) -> list[str]:
        """It is over."""
        self.status = status
        part = self._part()
        done = {**self._where, "text": part["text"], "logprobs": part["logprobs"]}
        return [
            event(f"{TEXT}.done", done),
            event(f"{PART}.done", {**self._where, "part": part}),
            event(f"{ITEM}.done", self._told()),
        ]

    def document(self) -> dict[str, Any]:
        """The item so far."""
        content = [] if self.status == "in_progress" and not self._texts else [self._part()]
        return {"id": self.id, "type": "message", "status": self.status, "role": "assistant", "content": content}

    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], "logprobs": self._logprobs, "text": "".join(self._texts)}

    def _told(self) -> dict[str, Any]:
        return {"output_index": self.index, "item": self.document()}


class CallItem:
    """A call of a function as it grows."""

    def __init__(self, index: int, call_id: str, name: str) -> None:
        self.index = index
        self.id = f"fc_{secrets.token_hex(12)}"
        self.status: Status = "in_progress"
        self._call_id, self._name = call_id, name
        self._arguments: list[str] = []
        self._where = {"item_id": self.id, "output_index": index}

    def begin(self) -> list[str]:
        """It is there, without arguments."""
        return [event(f"{ITEM}.added", self._told())]

    def add(self, text: str) -> str:
        """More of the arguments."""
        self._arguments.append(text)
        return event(f"{ARGUMENTS}.delta", {**self._where, "delta": text})

    def end(self, status: Status) -> list[str]:
        """It is over."""
        self.status = status
        done = {**self._where, "name": self._name, "arguments": "".join(self._arguments)}
        return [event(f"{ARGUMENTS}.done", done), event(f"{ITEM}.done", self._told())]

    def document(self) -> dict[str, Any]:
        """The item so far."""
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": "".join(self._arguments),
        }

    def _told(self) -> dict[str, Any]:
        return {"output_index": self.index, "item": self.document()}
