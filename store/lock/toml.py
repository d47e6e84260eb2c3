"""TOML, written: as much of it as the lockfile needs (https://toml.io/en/v1.0.0#string)."""

from collections.abc import Iterable, Mapping

Value = str | int

_SHORT = {"\\": "\\\\", '"': '\\"', "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def string(text: str) -> str:
    """A basic string. What cannot be seen is escaped, so that a diff shows all there is."""
    return '"' + "".join(_SHORT.get(letter) or _letter(letter) for letter in text) + '"'


def value(given: Value) -> str:
    """A string or a whole number."""
    return string(given) if isinstance(given, str) else str(given)


def array(values: Iterable[Value]) -> str:
    """An array on one line."""
    return f"[{', '.join(map(value, values))}]"


def inline(table: Mapping[str, Value]) -> str:
    """A table on one line; its keys are bare."""
    return f"{{ {', '.join(f'{key} = {value(given)}' for key, given in table.items())} }}"


def _letter(letter: str) -> str:
    if letter.isprintable():
        return letter
    number = ord(letter)
    if 0xD800 <= number <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"  # half a character, which TOML cannot hold
    return f"\\u{number:04X}" if number <= 0xFFFF else f"\\U{number:08X}"
