"""Dataclasses as plain JSON values and back, led by their types: nothing but the types asked for can come out."""

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import InvalidMessage, RunnerError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
_Reader = Callable[[Any], Any]


def plain(value: Any) -> Json:
    """`value` as what JSON knows: fields by name, tuples as lists, mappings as lists of pairs."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return [[plain(key), plain(item)] for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        if set(map(type, value)) == {int}:  # token ids: many
            return list(value)
        return [plain(item) for item in value]
    raise InvalidMessage(f"a {type(value).__name__} cannot be sent to an engine")


def restored(kind: Any, data: Json) -> Any:
    """The value of type `kind` that `plain` made `data` of. Raises InvalidMessage, or what the type itself raises."""
    try:
        return _reader(kind)(data)
    except RunnerError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidMessage(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


@cache
def _reader(kind: Any) -> _Reader:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of([_reader(option) for option in get_args(kind)])
    if origin is Literal:
        return _among(get_args(kind))
    if origin is tuple:
        return _many(tuple, get_args(kind)[0]) if get_args(kind)[1:] == (...,) else _row(get_args(kind))
    if origin in (list, frozenset):
        return _many(origin, get_args(kind)[0])
    if origin is not None and issubclass(origin, Mapping):
        return _pairs(*map(_reader, get_args(kind)))
    return _record(kind) if is_dataclass(kind) else _scalar(kind)


def _scalar(kind: Any) -> _Reader:
    if kind not in (bool, int, float, str, type(None)):
        raise InvalidMessage(f"a {kind} cannot be received")
    # JSON has one kind of number.
    accepted = (int, float) if kind is float else (kind,)

    def read(data: Any) -> Any:
        if type(data) not in accepted:
            raise TypeError(f"{data!r} is not {kind.__name__}")
        return data

    return read


def _among(words: tuple[Any, ...]) -> _Reader:
    def read(data: Any) -> Any:
        if data not in words:
            raise TypeError(f"{data!r} is not one of {words}")
        return data

    return read


def _one_of(options: list[_Reader]) -> _Reader:
    def read(data: Any) -> Any:
        for option in options:
            try:
                return option(data)
            except (TypeError, ValueError, KeyError):
                continue
        raise TypeError(f"{data!r} fits none of its types")

    return read


def _many(container: Any, item: Any) -> _Reader:
    if item is int:  # token ids: many
        return lambda data: container(_ints(data))
    reader = _reader(item)
    return lambda data: container(map(reader, _list(data)))


def _row(items: tuple[Any, ...]) -> _Reader:
    readers = [_reader(item) for item in items]
    return lambda data: tuple(reader(item) for reader, item in zip(readers, _list(data), strict=True))


def _pairs(key: _Reader, value: _Reader) -> _Reader:
    return lambda data: {key(k): value(v) for k, v in _list(data)}


def _record(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind) if field.init}

    def read(data: Any) -> Any:
        if type(data) is not dict:
            raise TypeError(f"{data!r} is not a record")
        return kind(**{name: readers[name](value) for name, value in data.items()})

    return read


def _list(data: Any) -> list[Any]:
    if type(data) is not list:
        raise TypeError(f"{data!r} is not a list")
    return data


def _ints(data: Any) -> list[int]:
    if set(map(type, _list(data))) - {int}:
        raise TypeError("an item is not a whole number")
    return list(data)
