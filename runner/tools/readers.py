"""Calls that come character by character, as JSON objects, in lists, or as a name and arguments.

A reader tells a sink what it is certain of, and raises Unfit at the character that makes it none of this.
"""

import re
from collections.abc import Callable
from typing import Protocol

from .families import Form
from .json_text import SPACE, JsonObject, JsonString, Unfit, is_object

MAX_NAME = 64
MAX_HEAD = 256  # characters of a name with what is between it and the arguments

_KEYS = {"name": "name", "arguments": "arguments", "parameters": "arguments", "id": "id", "type": "type"}
_HEAD = re.compile(r"([A-Za-z0-9_-]{1,64})(?:\[CALL_ID\][A-Za-z0-9_-]{0,128})?")


class Sink(Protocol):
    """Who is told."""

    def begin(self, name: str) -> None:
        """A call begins. Raises Unfit when there is no such tool."""

    def arguments(self, text: str) -> None:
        """More of its arguments."""

    def end(self) -> None:
        """The call is whole."""

    def say(self, text: str) -> None:
        """More of a text for people."""


class Reader(Protocol):
    """Reads one thing; `done` is true at its last character."""

    done: bool

    def push(self, character: str) -> None:
        """Goes on by a character. Raises Unfit."""


class CallObject:
    """`{"name": …, "arguments": {…}}`, in any order; Llama writes parameters. Arguments may be JSON in a string."""

    def __init__(self, sink: Sink, *, replies: bool) -> None:
        self.done = False
        self._sink = sink
        self._keys = _KEYS | ({"reply": "reply"} if replies else {})
        self._seen: set[str] = set()
        self._key = ""
        self._read: list[str] = []  # of the string that is being read
        self._held: list[str] = []  # arguments that came before the name
        self._string = JsonString()
        self._object = JsonObject()
        self._next: Callable[[str], None] = self._open

    def push(self, character: str) -> None:
        """Goes on by a character. Raises Unfit."""
        self._next(character)

    def _open(self, character: str) -> None:
        if character == "{":
            self._next = self._before_key
        elif character not in SPACE:
            raise Unfit

    def _before_key(self, character: str) -> None:
        if character == '"':
            self._begin_string(self._in_key)
        elif character not in SPACE:
            raise Unfit

    def _begin_string(self, state: Callable[[str], None]) -> None:
        self._string, self._read, self._next = JsonString(), [], state

    def _in_key(self, character: str) -> None:
        self._read.append(self._string.push(character))
        if len(self._read) > MAX_NAME:
            raise Unfit
        if self._string.done:
            self._key = self._keys.get("".join(self._read), "")
            if not self._key or self._key in self._seen or "reply" in self._seen:
                raise Unfit
            if self._key == "reply" and self._seen:
                raise Unfit
            self._seen.add(self._key)
            self._next = self._colon

    def _colon(self, character: str) -> None:
        if character == ":":
            self._next = self._value
        elif character not in SPACE:
            raise Unfit

    def _value(self, character: str) -> None:
        if character == '"':
            states = {"name": self._in_name, "arguments": self._in_quoted, "reply": self._in_reply}
            self._begin_string(states.get(self._key, self._in_other))
        elif character == "{" and self._key == "arguments":
            self._next = self._in_object
            self._in_object(character)
        elif character not in SPACE:
            raise Unfit

    def _in_name(self, character: str) -> None:
        self._read.append(self._string.push(character))
        if len(self._read) > MAX_NAME + 1:
            raise Unfit
        if self._string.done:
            self._sink.begin("".join(self._read))
            self._sink.arguments("".join(self._held))
            self._next = self._after

    def _in_quoted(self, character: str) -> None:
        self._read.append(self._string.push(character))
        if self._string.done:
            text = "".join(self._read).strip() or "{}"
            if not is_object(text):
                raise Unfit
            self._add(text)
            self._next = self._after

    def _in_object(self, character: str) -> None:
        self._object.push(character)
        self._add(character)
        if self._object.done:
            self._next = self._after

    def _add(self, arguments: str) -> None:
        if "name" in self._seen:
            self._sink.arguments(arguments)
        else:
            self._held.append(arguments)

    def _in_reply(self, character: str) -> None:
        text = self._string.push(character)
        if text or self._string.done:
            self._sink.say(text)
        if self._string.done:
            self._next = self._after

    def _in_other(self, character: str) -> None:
        self._string.push(character)
        if self._string.done:
            self._next = self._after

    def _after(self, character: str) -> None:
        if character == "}":
            self._close()
        elif character == ",":
            self._next = self._before_key
        elif character not in SPACE:
            raise Unfit

    def _close(self) -> None:
        if "reply" not in self._seen:
            if not {"name", "arguments"} <= self._seen:
                raise Unfit
            self._sink.end()
        self.done = True


class CallList:
    """`[{…}, {…}]` of call objects, at least one."""

    def __init__(self, sink: Sink) -> None:
        self.done = False
        self._sink = sink
        self._item = CallObject(sink, replies=False)
        self._next: Callable[[str], None] = self._open

    def push(self, character: str) -> None:
        """Goes on by a character. Raises Unfit."""
        self._next(character)

    def _open(self, character: str) -> None:
        if character != "[":
            raise Unfit
        self._next = self._in_item

    def _in_item(self, character: str) -> None:
        self._item.push(character)
        if self._item.done:
            self._next = self._after

    def _after(self, character: str) -> None:
        if character == "]":
            self.done = True
        elif character == ",":
            self._item, self._next = CallObject(self._sink, replies=False), self._in_item
        elif character not in SPACE:
            raise Unfit


class NamedCall:
    """A name, a separator, the arguments."""

    def __init__(self, sink: Sink, separator: str) -> None:
        self.done = False
        self._sink = sink
        self._separator = separator
        self._head = ""
        self._object = JsonObject()
        self._next: Callable[[str], None] = self._in_name

    def push(self, character: str) -> None:
        """Goes on by a character. Raises Unfit."""
        self._next(character)

    def _in_name(self, character: str) -> None:
        if character == self._separator[0]:
            self._next = self._in_head
        elif len(self._head) == MAX_NAME or not _HEAD.fullmatch(character):
            raise Unfit
        self._head += character

    def _in_head(self, character: str) -> None:
        self._head += character
        if self._head.endswith(self._separator):
            found = _HEAD.fullmatch(self._head.removesuffix(self._separator))
            if not found:
                raise Unfit
            self._sink.begin(found[1])
            self._next = self._in_object
        elif len(self._head) == MAX_HEAD:
            raise Unfit

    def _in_object(self, character: str) -> None:
        if character in SPACE and not self._object.begun:
            return
        self._object.push(character)
        self._sink.arguments(character)
        if self._object.done:
            self._sink.end()
            self.done = True


class CallReader:
    """What stands behind an opening: whichever of these its first character says."""

    def __init__(self, sink: Sink, form: Form) -> None:
        self._sink = sink
        self._form = form
        self._inner: Reader | None = None

    @property
    def done(self) -> bool:
        """Whether it was read to its end."""
        return self._inner is not None and self._inner.done

    def push(self, character: str) -> None:
        """Goes on by a character. Raises Unfit."""
        if self._inner is None:
            if character in SPACE:
                return
            self._inner = self._chosen(character)
        self._inner.push(character)

    def _chosen(self, character: str) -> Reader:
        if character == "{":
            return CallObject(self._sink, replies=self._form.replies)
        if character == "[" and self._form.lists:
            return CallList(self._sink)
        if self._form.separator:
            return NamedCall(self._sink, self._form.separator)
        raise Unfit
