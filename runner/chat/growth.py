"""How large a template's values may become, judged before they are made. Pure: it knows nothing of Jinja."""

import re
from collections.abc import Sequence
from typing import Any

from ..errors import TemplateFailed

MAX_VALUE = 4 << 20  # characters in one text, or about as many bytes in a structure
MAX_TOTAL = 512 << 20  # of all values that one rendering makes
MAX_BITS = 1 << 16  # in one whole number
MAX_DIGITS = 300  # in round()

# A width that a format string takes from its arguments, or one of five digits.
UNBOUNDED_FORMAT = re.compile(r"%[^a-zA-Z%]*(\*|\d{5})|:[^{}]*(\{|\d{5})")

Arguments = Sequence[Any]


class Budget:
    """What one rendering may still make."""

    def __init__(self) -> None:
        self._left = MAX_TOTAL

    def keep(self, value: Any) -> Any:
        """`value` itself, once it is counted. Raises TemplateFailed."""
        size = weight(value)
        _within(size, MAX_VALUE)
        self._left -= size
        _within(-self._left, 0)
        return value


def weight(value: Any) -> int:
    """About the bytes of `value` with all it holds, as often as it holds it; counting ends above MAX_VALUE."""
    total, waiting = 0, [value]
    while waiting and total <= MAX_VALUE:
        item = waiting.pop()
        if isinstance(item, (str, bytes)):
            total += len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 8
        elif isinstance(item, (list, tuple, set, frozenset, dict)):
            total += 8 * len(item)
            waiting.extend(item)
            waiting.extend(item.values() if isinstance(item, dict) else ())
    return total


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Refuses `left operator right` when it would be too large."""
    if operator == "*" and isinstance(left, int) and isinstance(right, int):
        _within(left.bit_length() + right.bit_length(), MAX_BITS)
    elif operator == "*":
        _within(_times(left, right), MAX_VALUE)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _within(left.bit_length() * right, MAX_BITS)
    elif operator == "%" and isinstance(left, str):
        check_format(left, [right])


def check_format(text: str, arguments: Arguments) -> None:
    """Refuses to fill `text`, of either kind of format string, when the outcome has no bound."""
    if UNBOUNDED_FORMAT.search(text):
        raise TemplateFailed("the chat template formats text to a width without bound")
    _within(weight(list(arguments)) * (text.count("%") + text.count("{")), MAX_VALUE)


def check_call(name: str, subject: Any, arguments: Arguments) -> None:
    """Refuses a filter or method `name` of `subject` that would make far more than it is given."""
    check = _CHECKS.get(name)
    if check:
        check(subject, arguments)


def _times(left: Any, right: Any) -> int:
    sequence, count = (right, left) if isinstance(left, int) else (left, right)
    return weight(sequence) * count if isinstance(count, int) else 0


def _within(size: int, most: int) -> None:
    if size > most:
        raise TemplateFailed("the chat template builds values that are too large")


def _numbers(arguments: Arguments) -> list[int]:
    return [abs(n) for n in arguments if isinstance(n, int)]


def _texts(arguments: Arguments) -> list[int]:
    return [len(s) for s in arguments if isinstance(s, str)]


def _width(subject: Any, arguments: Arguments) -> None:
    _within(max(_numbers(arguments), default=0), MAX_VALUE)


def _digits(subject: Any, arguments: Arguments) -> None:
    _within(max(_numbers(arguments), default=0), MAX_DIGITS)


def _replace(subject: Any, arguments: Arguments) -> None:
    text, old = str(subject), str(arguments[0]) if arguments else ""
    _within(text.count(old) * max(_texts(arguments), default=0), MAX_VALUE)


def _tabs(subject: Any, arguments: Arguments) -> None:
    tabs = subject.count("\t") if isinstance(subject, str) else 0
    _within(tabs * max(_numbers(arguments), default=0), MAX_VALUE)


def _indent(subject: Any, arguments: Arguments) -> None:
    lines = len(str(subject).splitlines()) + 1
    _within(lines * max(_numbers(arguments) + _texts(arguments), default=0), MAX_VALUE)


def _join(subject: Any, arguments: Arguments) -> None:
    between = len(subject) if isinstance(subject, str) else 0
    for items in arguments:
        if not isinstance(items, (str, list, tuple, dict)):
            raise TemplateFailed("the chat template joins what has no length")
        _within(between * len(items), MAX_VALUE)


_CHECKS = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "batch", "slice"), _width),
    "round": _digits,
    "replace": _replace,
    "expandtabs": _tabs,
    "indent": _indent,
    "join": _join,
}
