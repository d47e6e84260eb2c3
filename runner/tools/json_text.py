"""JSON that comes character by character: whether it can still become what it should be."""

import re
from collections.abc import Callable

from .tool import MAX_DEPTH

MAX_NUMBER = 1000  # characters; Python reads no whole number of much more

SPACE = " \t\n\r"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"t": "true", "f": "false", "n": "null"}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LOST = "\ufffd"  # for half of a surrogate pair, which is no text


class Unfit(Exception):
    """It cannot become that any more."""


class JsonString:
    """A JSON string behind its opening quote. `done` is true at the closing one."""

    def __init__(self) -> None:
        self.done = False
        self._half = ""  # a high surrogate, whose low one may follow
        self._escape: str | None = None

    def push(self, character: str) -> str:
        """The text that the character makes certain. Raises Unfit."""
        if self._escape is not None:
            return self._escaped(character)
        if character == "\\":
            self._escape = ""
            return ""
        if character < " ":
            raise Unfit
        self.done = character == '"'
        return self._lone() + ("" if self.done else character)

    def _escaped(self, character: str) -> str:
        if not self._escape and character != "u":
            if character not in _ESCAPES:
                raise Unfit
            self._escape = None
            return self._lone() + _ESCAPES[character]
        if self._escape and character not in "0123456789abcdefABCDEF":
            raise Unfit
        self._escape = (self._escape or "") + character
        if len(self._escape) < 5:
            return ""
        code, self._escape = chr(int(self._escape[1:], 16)), None
        return self._unit(code)

    def _unit(self, code: str) -> str:
        if self._half and "\udc00" <= code <= "\udfff":
            pair, self._half = self._half + code, ""
            return pair.encode("utf-16", "surrogatepass").decode("utf-16")
        before = self._lone()
        if "\ud800" <= code <= "\udbff":
            self._half = code
            return before
        return before + (_LOST if "\udc00" <= code <= "\udfff" else code)

    def _lone(self) -> str:
        half, self._half = self._half, ""
        return _LOST if half else ""


class JsonObject:
    """A JSON object, whose brace makes it `begun`. `done` is true at the closing one."""

    def __init__(self) -> None:
        self.begun = self.done = False
        self._closers: list[str] = []
        self._string: JsonString | None = None
        self._word = ""
        self._next: Callable[[str], None] = self._open

    def push(self, character: str) -> None:
        """Goes on by a character. Raises Unfit."""
        self._next(character)

    def _open(self, character: str) -> None:
        if character != "{":
            raise Unfit
        self.begun = True
        self._value(character)

    def _value(self, character: str) -> None:
        if character in SPACE:
            return
        if character in "{[":
            self._nest("}" if character == "{" else "]")
        elif character == '"':
            self._begin_string(self._in_string)
        elif character in "-0123456789":
            self._word, self._next = character, self._number
        elif character in _WORDS:
            self._word, self._next = _WORDS[character][1:], self._literal
        else:
            raise Unfit

    def _nest(self, closer: str) -> None:
        if len(self._closers) == MAX_DEPTH:
            raise Unfit
        self._closers.append(closer)
        self._next = self._first_key if closer == "}" else self._first_item

    def _first_key(self, character: str) -> None:
        if character == "}":
            self._close(character)
        else:
            self._key(character)

    def _key(self, character: str) -> None:
        if character == '"':
            self._begin_string(self._in_key)
        elif character not in SPACE:
            raise Unfit

    def _first_item(self, character: str) -> None:
        if character == "]":
            self._close(character)
        elif character not in SPACE:
            self._value(character)

    def _begin_string(self, state: Callable[[str], None]) -> None:
        self._string, self._next = JsonString(), state

    def _in_string(self, character: str) -> None:
        if self._string_ends(character):
            self._next = self._after

    def _in_key(self, character: str) -> None:
        if self._string_ends(character):
            self._next = self._colon

    def _string_ends(self, character: str) -> bool:
        string = self._string or JsonString()
        string.push(character)
        return string.done

    def _colon(self, character: str) -> None:
        if character == ":":
            self._next = self._value
        elif character not in SPACE:
            raise Unfit

    def _number(self, character: str) -> None:
        if character in "0123456789+-.eE":
            self._word += character
            if len(self._word) > MAX_NUMBER:
                raise Unfit
            return
        if not _NUMBER.fullmatch(self._word):
            raise Unfit
        self._next = self._after
        self._after(character)

    def _literal(self, character: str) -> None:
        if character != self._word[0]:
            raise Unfit
        self._word = self._word[1:]
        if not self._word:
            self._next = self._after

    def _after(self, character: str) -> None:
        if character == ",":
            self._next = self._key if self._closers[-1] == "}" else self._value
        elif character in "}]":
            self._close(character)
        elif character not in SPACE:
            raise Unfit

    def _close(self, character: str) -> None:
        if self._closers.pop() != character:
            raise Unfit
        self._next = self._after
        self.done = not self._closers


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object, as JsonObject reads it."""
    found = JsonObject()
    try:
        for character in text.strip(SPACE):
            if found.done:
                return False
            found.push(character)
    except Unfit:
        return False
    return found.done
