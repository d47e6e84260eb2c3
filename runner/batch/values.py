"""Values of a line's JSON, read strictly: what is wrong is said in a line that names its place."""

import json
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from typing import Any, NoReturn

from ..errors import InvalidLine, InvalidSampling
from ..grammar import json_schema_to_gbnf
from ..sampling import Sampling
from .reader import MAX_LINE, Line

# What a line may set; how likely tokens were has no place in an answer, and what a special token is called neither.
SAMPLING = frozenset({field.name for field in fields(Sampling)} - {"logprobs", "shown_tokens"} | {"json_schema"})


def document_of(line: Line) -> dict[str, Any]:
    """The JSON object on a line. Raises InvalidLine."""
    if line.data is None:
        raise InvalidLine(f"longer than {MAX_LINE // 2**20} MiB")
    try:
        found = json.loads(line.data.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise InvalidLine(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidLine(f"not JSON: {error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidLine("not JSON that can be read: it has too long a number, or is nested too deep") from error
    if not isinstance(found, dict):
        raise InvalidLine("not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidLine(f"{twice!r:.100} is there twice")
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
    read: dict[str, Any] = {name: _READ[name](value) if name in _READ else value for name, value in given.items()}
    if "json_schema" in read and "grammar" in read:
        raise InvalidLine("grammar and json_schema exclude each other")
    try:
        if "json_schema" in read:
            read["grammar"] = json_schema_to_gbnf(read.pop("json_schema"))
        return replace(usual, **read)
    except InvalidSampling as error:
        raise InvalidLine(str(error)) from error


def _stops(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    return tuple(text_of(text, "stop") for text in found)


def _tokens(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _biases(value: object) -> object:
    """Pairs, from OpenAI's object or llama.cpp's list of pairs."""
    if isinstance(value, list):
        return tuple(map(_tokens, value))
    found = object_of(value, "logit_bias")
    if not all(token.isdecimal() and token.isascii() and len(token) < 12 for token in found):
        raise InvalidLine("logit_bias is not of token ids")
    return tuple((int(token), bias) for token, bias in found.items())


def _schema(value: object) -> dict[str, Any] | bool:
    return value if isinstance(value, bool) else object_of(value, "json_schema")


_READ: dict[str, Callable[[object], object]] = {
    "stop": _stops,
    "stop_tokens": _tokens,
    "logit_bias": _biases,
    "json_schema": _schema,
    "grammar": lambda value: text_of(value, "grammar"),
}
