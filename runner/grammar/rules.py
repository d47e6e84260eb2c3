"""The rules of a grammar in GBNF, read as llama.cpp reads them (src/llama-grammar.cpp), with its errors as ours.

llama.cpp prints its own to stderr, and some texts make it loop or take all memory: it must not see them.
"""

import re
import sys
from dataclasses import dataclass, field
from typing import NoReturn

from ..errors import InvalidSampling

MAX_BYTES = 256 * 1024
MAX_NESTING = 100
MAX_ELEMENTS = 500_000
MAX_REPETITIONS = 2000  # llama.cpp's own; of a larger upper bound it makes none at all

_NAME = re.compile(r"[a-zA-Z0-9-]+")
_NUMBER = re.compile(r"[0-9]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_OR_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_CHARACTER = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[tnr\\\"\[\]-])|[^\\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """One part of an alternative: a reference to a rule, or `size` characters to be matched."""

    rule: int | None
    size: int = 1


Alternative = list[Item]


@dataclass(slots=True)
class Rules:
    """A grammar's rules, those among them that llama.cpp makes of groups and repetitions. A rule is its number."""

    names: list[str] = field(default_factory=list)
    alternatives: list[list[Alternative] | None] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    elements: int = 0

    def named(self, name: str) -> int:
        """The rule of that name, which may be defined later."""
        if name not in self.numbers:
            self.numbers[name] = self.made_for(name)
        return self.numbers[name]

    def made_for(self, name: str) -> int:
        """A new rule, for a part of the rule `name`."""
        self.names.append(name)
        self.alternatives.append(None)
        return len(self.names) - 1

    def define(self, rule: int, alternatives: list[Alternative]) -> None:
        """Says what a rule is; what it was before no longer counts."""
        self.count(sum(item.size for items in alternatives for item in items) + len(alternatives))
        self.alternatives[rule] = alternatives

    def count(self, elements: int) -> None:
        """Raises InvalidSampling when the grammar becomes too large in memory."""
        self.elements += elements
        if self.elements > MAX_ELEMENTS:
            raise InvalidSampling(f"the grammar is too large: its repetitions make more than {MAX_ELEMENTS} elements")


def read(text: str) -> Rules:
    """The rules in `text`. Raises InvalidSampling."""
    if "\0" in text:
        raise InvalidSampling("the grammar holds a NUL character")
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._rules = Rules()
        self._name = ""

    def read(self) -> Rules:
        self._space(lines=True)
        while self._at < len(self._text):
            self._rule()
        for rule, alternatives in enumerate(self._rules.alternatives):
            if alternatives is None:
                raise InvalidSampling(f"the grammar uses a rule {self._rules.names[rule]!r:.100} that it does not have")
        if "root" not in self._rules.numbers:
            raise InvalidSampling("the grammar has no rule 'root', where it would begin")
        return self._rules

    def _rule(self) -> None:
        self._name = self._take(_NAME, "the name of a rule (letters, digits and -)")
        rule = self._rules.named(self._name)
        self._space()
        self._expect("::=")
        self._space(lines=True)
        self._rules.define(rule, self._alternatives(nested=False))
        if self._at < len(self._text) and self._text[self._at] not in "\r\n":
            self._fail("the end of the line")
        self._space(lines=True)

    def _alternatives(self, *, nested: bool) -> list[Alternative]:
        found = [self._sequence(nested=nested)]
        while self._next() == "|":
            self._at += 1
            self._space(lines=True)
            found.append(self._sequence(nested=nested))
        return found

    def _sequence(self, *, nested: bool) -> Alternative:
        items: Alternative = []
        last, made = 0, 1  # where the item begins that a repetition repeats, and how many rules it is made of
        while True:
            character = self._next()
            if character in ("*", "+", "?", "{") and character:
                least, most = self._times(nested=nested)
                made = self._repeat(items, last, least=least, most=most, made=made)
            else:
                before = len(self._rules.names)
                item = self._item(character)
                if item is None:
                    return items
                last, made = len(items), max(1, len(self._rules.names) - before) if character == "(" else 1
                items += [item] if item.rule is not None or item.size else []
            self._space(lines=nested)

    def _item(self, character: str) -> Item | None:
        if character == '"':
            return Item(None, self._literal())
        if character == "[":
            return Item(None, self._class())
        if character == ".":
            self._at += 1
            return Item(None)
        if character == "(":
            return Item(self._group())
        if character and character in "<!":
            raise InvalidSampling(f"{self._where()}: <tokens> are not supported, only characters")
        if _NAME.match(character):
            return Item(self._rules.named(self._take(_NAME, "a name")))
        return None

    def _literal(self) -> int:
        self._at += 1
        size = 0
        while self._next() != '"':
            self._character()
            size += 1
        self._at += 1
        return size

    def _class(self) -> int:
        self._at += 2 if self._text.startswith("[^", self._at) else 1
        size = 0
        while self._next() != "]":
            first = self._character()
            size += 1
            if self._next() == "-" and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._character()
                size += 1
                if last < first:
                    raise InvalidSampling(f"{self._where()}: a range of characters that ends before it begins")
        if not size:
            self._fail("a character between [ and ]")
        self._at += 1
        return size

    def _group(self) -> int:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise InvalidSampling(f"{self._where()}: ( ) nested more than {MAX_NESTING} deep")
        self._at += 1
        self._space(lines=True)
        rule = self._rules.made_for(self._name)
        self._rules.define(rule, self._alternatives(nested=True))
        self._expect(")")
        self._depth -= 1
        return rule

    def _times(self, *, nested: bool) -> tuple[int, int | None]:
        character = self._text[self._at]
        self._at += 1
        if character != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        self._space(lines=nested)
        least = self._number()
        self._space(lines=nested)
        most: int | None = least
        if self._next() == ",":
            self._at += 1
            self._space(lines=nested)
            most = self._number() if _NUMBER.match(self._text, self._at) else None
            self._space(lines=nested)
        self._expect("}")
        if most is not None and most < least:
            raise InvalidSampling(f"{self._where()}: {{{least},{most}}} ends before it begins")
        return least, most

    def _repeat(self, items: Alternative, last: int, *, least: int, most: int | None, made: int) -> int:
        repeated = items[last:]
        if not repeated:
            raise InvalidSampling(f"{self._where()}: there is nothing to repeat")
        made *= most or least or 1
        if made > MAX_REPETITIONS:
            raise InvalidSampling(f"{self._where()}: nested repetitions of more than {MAX_REPETITIONS} in all")
        size = sum(item.size for item in repeated)
        self._rules.count(size * max(least - 1, 0))
        items[last:] = repeated * least
        more: int | None = None
        for _ in range(1 if most is None else most - least):
            rule = self._rules.made_for(self._name)
            following = rule if most is None else more
            tail = [] if following is None else [Item(following)]
            self._rules.define(rule, [[*repeated, *tail], []])
            more = rule
        if more is not None:
            items.append(Item(more))
        return made

    def _number(self) -> int:
        digits = self._take(_NUMBER, "a number")
        if len(digits) > 9 or int(digits) > MAX_REPETITIONS:
            raise InvalidSampling(f"{self._where()}: {digits:.20} repetitions; {MAX_REPETITIONS} are the most")
        return int(digits)

    def _character(self) -> str:
        what = "an escape that GBNF knows" if self._next() == "\\" else "another character"
        return _meant(self._take(_CHARACTER, what))

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _space(self, *, lines: bool = False) -> None:
        found = (_SPACE_OR_LINES if lines else _SPACE).match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _take(self, pattern: re.Pattern[str], what: str) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            self._fail(what)
        self._at = found.end()
        return found.group()

    def _expect(self, word: str) -> None:
        if not self._text.startswith(word, self._at):
            self._fail(word)
        self._at += len(word)

    def _fail(self, wanted: str) -> NoReturn:
        found = repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"
        raise InvalidSampling(f"{self._where()}: expected {wanted}, found {found}")

    def _where(self) -> str:
        return f"the grammar, line {self._text.count(chr(10), 0, self._at) + 1}"


def _meant(written: str) -> str:
    """The character that stands there, perhaps as an escape; beyond Unicode, the last one."""
    if not written.startswith("\\"):
        return written
    if written[1] in "xuU":
        return chr(min(int(written[2:], 16), sys.maxunicode))
    return {"t": "\t", "n": "\n", "r": "\r"}.get(written[1], written[1])
