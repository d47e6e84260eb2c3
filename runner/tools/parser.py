"""From the text of an answer, as it grows, to what is said and which tools are called."""

import random
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..text import Search
from .families import Form
from .json_text import Unfit
from .pieces import CallArguments, CallBegun, CallBroken, CallEnded, Piece, Said, joined
from .readers import CallReader

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Expected:
    """Which calls there may be: their form (None: no calls at all), the tools offered, and how many calls at most."""

    form: Form | None
    offered: Collection[str]
    most: int | None = None


class CallParser:
    """Reads an answer, in pieces cut anywhere, in time that grows as the text does.

    Text passes as soon as it cannot become a mark. What looked like a call and is none, of a tool that was not
    offered or with arguments that are not JSON, comes out as text. Space alone before, between and behind calls is left
    out. Ids are made with `source`.
    """

    def __init__(self, expected: Expected, source: random.Random) -> None:
        self._form = expected.form or Form()
        self._expected = expected
        self._source = source
        marks = [mark for mark in (self._form.lead, self._form.opening) if mark] if expected.form else []
        self._marks = [Search(mark) for mark in marks]
        self._out: list[Piece] = []
        self._held: list[str] = []  # what may yet turn out to belong to a call
        self._fresh = expected.form is not None  # nothing but space since the beginning, or since a call
        self._tail = ""
        self._closing: tuple[str, ...] = ()
        self._reader: CallReader | None = None
        self._calls = 0
        self._in_call = False
        self._next: Callable[[str], None] = self._text

    def push(self, text: str) -> list[Piece]:
        """What `text` makes certain."""
        if self._plain(text):
            return [Said(text)] if text else []
        for character in text:
            self._next(character)
        return self._taken()

    def finish(self) -> list[Piece]:
        """What was held back; no more text may follow."""
        if self._next == self._text:
            between_calls = self._fresh and self._calls > 0 and not "".join(self._held).strip()
            self._say("" if between_calls else "".join(self._held))
        elif self._next == self._close:
            self._say("".join(self._held) + self._tail if self._tail else "")
        else:
            self._fail()
        self._held = []
        return self._taken()

    # What a reader tells.

    def begin(self, name: str) -> None:
        """A call begins. Raises Unfit for a tool that was not offered, or one call too many."""
        most = self._expected.most
        if name not in self._expected.offered or (most is not None and self._calls >= most):
            raise Unfit
        id = "call_" + "".join(self._source.choices(_LETTERS, k=24))
        self._out.append(CallBegun(self._calls, id, name))
        self._calls += 1
        self._in_call = True

    def arguments(self, text: str) -> None:
        """More of its arguments."""
        self._out.append(CallArguments(self._calls - 1, text))

    def end(self) -> None:
        """The call is whole."""
        self._out.append(CallEnded(self._calls - 1))
        self._in_call = False
        self._held = []

    def say(self, text: str) -> None:
        """More of a text for people."""
        self._say(text)
        self._held = []

    # States, by the character that comes next.

    def _text(self, character: str) -> None:
        alone = self._fresh and self._form.bare and not any(search.matched for search in self._marks)
        self._held.append(character)
        complete = [search for search in self._marks if search.push(character)]
        if complete:
            self._found(complete[0].sought)
        elif alone and (character == "{" or (character == "[" and self._form.lists)):
            self._begin_body(character)
        else:
            self._pass()

    def _found(self, mark: str) -> None:
        if not self._fresh:
            self._say("".join(self._held[: -len(mark)]))
            self._held = list(mark)
        if mark == self._form.opening:
            self._begin_body("")
        else:
            self._tail, self._next = "", self._open

    def _pass(self) -> None:
        """Says what cannot be the beginning of a mark; space where a call may follow waits for what does."""
        safe = len(self._held) - max((search.matched for search in self._marks), default=0)
        if self._fresh:
            longest = max((len(search.sought) for search in self._marks), default=0)
            if not "".join(self._held[max(0, safe - longest - 1) : safe]).strip():
                return
            self._fresh = False
        self._say("".join(self._held[:safe]))
        del self._held[:safe]

    def _open(self, character: str) -> None:
        """Between the lead and the opening."""
        tail = self._tail + character
        if not self._form.opening.startswith(tail) and not (character.isspace() and not self._tail):
            self._fail()
            self._next(character)
            return
        self._held.append(character)
        if self._form.opening.startswith(tail):
            self._tail = tail
        if self._tail == self._form.opening:
            self._begin_body("")

    def _begin_body(self, first: str) -> None:
        self._reader, self._next = CallReader(self, self._form), self._body
        if first:
            self._reader.push(first)

    def _body(self, character: str) -> None:
        reader = self._reader or CallReader(self, self._form)
        self._held.append(character)
        try:
            reader.push(character)
        except Unfit:
            self._held.pop()
            self._fail()
            self._next(character)
            return
        if reader.done:
            self._held, self._tail, self._closing, self._next = [], "", self._form.closing, self._close

    def _close(self, character: str) -> None:
        """Behind a call, where its closing marks may follow."""
        if character.isspace() and not self._tail:
            self._held.append(character)
            return
        self._tail += character
        begun = [n for n, mark in enumerate(self._closing) if mark.startswith(self._tail)]
        if not begun:
            self._resume()
        elif self._closing[begun[0]] == self._tail:
            self._held, self._tail, self._closing = [], "", self._closing[begun[0] + 1 :]

    def _resume(self) -> None:
        again, self._held, self._tail = [*self._held, *self._tail], [], ""
        self._to_text(fresh=True)
        for character in again:
            self._next(character)

    def _fail(self) -> None:
        if self._in_call:
            self._out.append(CallBroken(self._calls - 1))
            self._in_call = False
        self._say("".join(self._held))
        self._held = []
        self._to_text(fresh=False)

    def _to_text(self, *, fresh: bool) -> None:
        self._fresh, self._next = fresh, self._text
        for search in self._marks:
            search.matched = 0

    def _plain(self, text: str) -> bool:
        """Whether all of it can pass at once."""
        if self._expected.form is None:
            return True
        waiting = self._held or self._fresh or self._next != self._text
        return not waiting and not any(search.sought[0] in text for search in self._marks)

    def _say(self, text: str) -> None:
        if text:
            self._out.append(Said(text))

    def _taken(self) -> list[Piece]:
        out, self._out = self._out, []
        return joined(out)
