"""Values of a line's JSON, read strictly: what is wrong is said in a line that names its place."""

import json
from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any, NoReturn

from ..errors import InvalidLine, InvalidSampling
from ..sampling import Sampling
from .reader import MAX_LINE, Line

SAMPLING = frozenset(field.name for field in fields(Sampling))


def document_of(line: Line) -> dict[str, Any]:
    """The JSON object on a line. Raises InvalidLine."""
    if line.data is None:
        raise InvalidLine(f"longer than {MAX_LINE // 2**20} MiB")
    try:
        found = json.loads(line.data.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise InvalidLine(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidLine(f"not JSON: {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidLine("not JSON that can be read: it has too long a number, or is nested too deep") from error
    if not isinstance(found, dict):
        raise InvalidLine("not a JSON object")
    return found


def _no_number(name: str) -> NoReturn:
    raise InvalidLine(f"not JSON: {name} is no number")


def refuse_unknown(values: Collection[str], allowed: Collection[str], *, where: str = "") -> None:
    """Raises InvalidLine that names the keys that are not allowed."""
    if unknown := [key for key in values if key not in allowed]:
        named = ", ".join(repr(key) for key in unknown[:5])
        place = f" in {where}" if where else ""
        raise InvalidLine(f"unknown {'keys' if len(unknown) > 1 else 'key'} {named}{place}")


def text_of(value: object, where: str) -> str:
    """A string that is text and not empty."""
    if not isinstance(value, str):
        raise InvalidLine(f"{where} is not a string")
    if not value:
        raise InvalidLine(f"{where} is empty")
    return unicode_of(value, where)


def unicode_of(text: str, where: str) -> str:
    """A string that is text: JSON can write half of a surrogate pair, which is none."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidLine(f"{where} holds half of a surrogate pair, which is no text")
    return text


def object_of(value: object, where: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise InvalidLine(f"{where} is not an object")
    return value


def items_of(value: object, where: str) -> list[Any]:
    """A list that is not empty."""
    if not isinstance(value, list) or not value:
        raise InvalidLine(f"{where} is not a list of at least one")
    return value


def sampling_of(values: dict[str, Any], usual: Sampling) -> Sampling:
    """`usual` with the settings that `values` name; null leaves them as they are. Raises InvalidLine."""
    given = {name: value for name, value in values.items() if name in SAMPLING and value is not None}
    if "stop" in given:
        given["stop"] = _stops(given["stop"])
    try:
        return replace(usual, **given)
    except InvalidSampling as error:
        raise InvalidLine(str(error)) from error


def _stops(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    return tuple(text_of(text, "stop") for text in found)
