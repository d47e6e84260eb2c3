"""GBNF of JSON's strings: any, of a length, of a format, or as a regular expression says."""

import re
import re._constants as sre  # type: ignore[import-not-found]  # re's own reader, which typeshed leaves out
import re._parser as sre_parser  # type: ignore[import-not-found]
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import InvalidSampling

# Half of a surrogate pair is no character; and what a control character is, only its escape may say.
CHARACTER = (
    r"""[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))"""
)

_DAY = {
    "28": '("0" [1-9] | "1" [0-9] | "2" [0-8])',
    "30": '("0" [1-9] | [12] [0-9] | "30")',
    "31": '("0" [1-9] | [12] [0-9] | "3" [01])',
}
_DATE = (
    f'[0-9]{{4}} "-" (("0" [13578] | "1" [02]) "-" {_DAY["31"]} '
    f'| ("0" [469] | "11") "-" {_DAY["30"]} | "02-" {_DAY["28"]})'
)
_HOUR = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME = f'{_HOUR} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [+-] {_HOUR})'
_UUID = ' "-" '.join(f"[0-9a-f]{{{n}}}" for n in (8, 4, 4, 4, 12))
FORMATS = {"date": _DATE, "time": _TIME, "date-time": f'{_DATE} "T" {_TIME}', "uuid": _UUID}

_LAST = 0x10FFFF
_CLASSES = {
    sre.CATEGORY_DIGIT: [(48, 57)],
    sre.CATEGORY_WORD: [(48, 57), (65, 90), (95, 95), (97, 122)],
    sre.CATEGORY_SPACE: [(9, 13), (32, 32)],
}
_NEGATED = {
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
}
_ESCAPED = {34: r'"\\\""', 92: r'"\\\\"', 8: r'"\\b"', 9: r'"\\t"', 10: r'"\\n"', 12: r'"\\f"', 13: r'"\\r"'}
_BARRED = {*range(32), 34, 92, 127}

Ranges = list[tuple[int, int]]
Parts = list[tuple[Any, Any]]


def literal(text: str) -> str:
    """A text as GBNF writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


def pattern(regex: str, any_character: str) -> str:
    """What a JSON string may hold that `regex` is found in. Raises InvalidSampling for what GBNF cannot say."""
    try:
        parsed = list(sre_parser.parse(regex))
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidSampling(f"the JSON Schema's pattern {regex!r:.100} is no regular expression: {error}") from error
    found = (_anchored(parts, regex, f"{any_character}*") for parts in _branches(parsed))
    return "(" + " | ".join(found) + ")"


def _branches(parts: Parts) -> Iterator[Parts]:
    """The alternatives that a pattern ends with, each with what it begins with: anchors may stand in one alone."""
    if parts and parts[-1][0] is sre.BRANCH:
        for one in parts[-1][1][1]:
            yield from _branches([*parts[:-1], *one])
    else:
        yield parts


def _anchored(parts: Parts, regex: str, anything: str) -> str:
    # What is not anchored is looked for anywhere.
    first = bool(parts) and parts[0] == (sre.AT, sre.AT_BEGINNING)
    last = len(parts) > first and parts[-1] == (sre.AT, sre.AT_END)
    body = _sequence(parts[first : len(parts) - last], regex)
    found = ["" if first else anything, f"({body})" if body else "", "" if last else anything]
    return " ".join(part for part in found if part) or '""'


def _sequence(parts: Iterable[tuple[Any, Any]], regex: str) -> str:
    return " ".join(_part(kind, value, regex) for kind, value in parts)


def _part(kind: Any, value: Any, regex: str) -> str:
    if kind is sre.LITERAL:
        return _characters([(value, value)])
    if kind is sre.NOT_LITERAL:
        return _characters(_others([(value, value)]))
    if kind is sre.ANY:
        return _characters(_others([(10, 10), (13, 13)]))
    if kind is sre.IN:
        return _characters(_set(value))
    if kind is sre.BRANCH:
        return "(" + " | ".join(_sequence(one, regex) or '""' for one in value[1]) + ")"
    if kind is sre.SUBPATTERN:
        return f"({_sequence(value[3], regex) or chr(34) * 2})"
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        least, most, inner = value
        times = f"{{{least},{'' if most is sre.MAXREPEAT else int(most)}}}"
        return f"({_sequence(inner, regex)}){times}"
    raise InvalidSampling(
        f"the JSON Schema's pattern {regex!r:.100} uses what no grammar can say: {kind!s:.40}".lower()
    )


def _set(parts: list[tuple[Any, Any]]) -> Ranges:
    found: Ranges = []
    for kind, value in parts:
        if kind is sre.LITERAL:
            found.append((value, value))
        elif kind is sre.RANGE:
            found.append(value)
        elif kind is sre.CATEGORY:
            found += _CLASSES[value] if value in _CLASSES else _others(_CLASSES[_NEGATED[value]])
    return _others(found) if parts[0][0] is sre.NEGATE else found


def _others(ranges: Ranges) -> Ranges:
    """All characters but these."""
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, _LAST)] if start <= _LAST else found


def _characters(ranges: Ranges) -> str:
    """One of these characters as a JSON string writes it."""
    plain = []
    for low, high in ranges:
        for a, b in _others([(0, low - 1)] * (low > 0) + [(one, one) for one in _BARRED] + [(high + 1, _LAST)]):
            plain.append(f"{_in_class(a)}-{_in_class(b)}" if a < b else _in_class(a))
    found = [f"[{''.join(plain)}]"] if plain else []
    found += [text for code, text in _ESCAPED.items() if any(low <= code <= high for low, high in ranges)]
    if not found:
        raise InvalidSampling("the JSON Schema's pattern wants a character that no JSON string holds")
    return found[0] if len(found) == 1 else f"({' | '.join(found)})"


def _in_class(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\U{code:08X}"
