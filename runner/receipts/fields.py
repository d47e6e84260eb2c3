"""Plain data from outside, read strictly: every field there, of its type, and none unknown."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ...store import Digest, StoreError
from ..errors import InvalidReceipt

_Item = TypeVar("_Item")

MAX_COUNT = 2**31 - 1


class Fields:
    """The fields of one JSON object; `where` is its place in the document.

    `later` are fields that came to the format after its first writers, and what these meant. Each verb raises
    InvalidReceipt.
    """

    def __init__(self, value: object, *names: str, where: str = "", later: Mapping[str, Any] | None = None) -> None:
        self._where = where
        if not isinstance(value, dict):
            raise InvalidReceipt(f"{where or 'it'} is not an object")
        for name in names:
            if name not in value:
                raise InvalidReceipt(f"{self._path(name)} is missing")
        later = later or {}
        for name in value:
            if name not in names and name not in later:
                raise InvalidReceipt(f"{self._path(name)} is not a field of this format")
        self._values = {**later, **value}

    def any(self, name: str) -> Any:
        """Whatever is there."""
        return self._values[name]

    def text(self, name: str) -> str:
        """A string."""
        return _text(self._values[name], self._path(name))

    def whole(self, name: str, *, most: int = MAX_COUNT) -> int:
        """A number from 0."""
        return _whole(self._values[name], self._path(name), most=most)

    def digest(self, name: str) -> Digest:
        """A digest."""
        return _digest(self._values[name], self._path(name))

    def digest_or_none(self, name: str) -> Digest | None:
        """A digest, or null."""
        return None if self._values[name] is None else self.digest(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return self.items(name, _text)

    def wholes(self, name: str) -> tuple[int, ...]:
        """A list of numbers from 0."""
        return self.items(name, lambda value, path: _whole(value, path, most=MAX_COUNT))

    def items(self, name: str, read: Callable[[object, str], _Item]) -> tuple[_Item, ...]:
        """A list whose items `read` makes of a value and its place."""
        values = self._values[name]
        if not isinstance(values, list):
            raise InvalidReceipt(f"{self._path(name)} is not a list")
        return tuple(read(value, f"{self._path(name)}[{n}]") for n, value in enumerate(values))

    def text_or_none(self, name: str) -> str | None:
        """A string, or null."""
        return None if self._values[name] is None else self.text(name)

    def pairs(self, name: str) -> tuple[tuple[Any, Any], ...]:
        """A list of lists of two."""
        return self.items(name, _pair)

    def inner(self, name: str, *names: str, later: Mapping[str, Any] | None = None) -> "Fields":
        """The fields of an object."""
        return Fields(self._values[name], *names, where=self._path(name), later=later)

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else str(name)


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidReceipt(f"{path} is not a text")
    return value


def _pair(value: object, path: str) -> tuple[Any, Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidReceipt(f"{path} is not a pair")
    return value[0], value[1]


def _whole(value: object, path: str, *, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidReceipt(f"{path} is not a whole number from 0 to {most}")
    return value


def _digest(value: object, path: str) -> Digest:
    try:
        return Digest.parse(_text(value, path))
    except StoreError as error:
        raise InvalidReceipt(f"{path} is {error}") from error
