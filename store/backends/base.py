"""What a bucket must be able to do. Everything else in the store is built from these six verbs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stat:
    """An object: its key, its size in bytes, and when it was last written (seconds since 1970, the store's clock)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Properties:
    """What a backend is; `url` holds no secret and may be printed."""

    url: str


class Backend(Protocol):
    """A bucket. Keys are relative, with `/` between their parts; a key is never the folder of another.

    Every verb may raise BucketNotFound, Unreachable or Refused, and may be tried again after Unreachable.
    """

    properties: Properties

    def stat(self, key: str) -> Stat:
        """The object's size and age; raises KeyNotFound."""
        ...

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, `length` of them or all; raises KeyNotFound.

        May end early, and bytes are not checked: the reader counts and hashes.
        """
        ...

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """Make the object hold `chunks`, `size` bytes in all, replacing what was there.

        Atomic: the object appears when the last chunk was taken, or, when `chunks` raises, not at all.
        Raises NoSpace.
        """
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """The objects whose key starts with `prefix` and is greater than `after`, each folder ordered by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; no error when there is none."""
        ...

    def clock(self) -> float:
        """The store's time, in seconds since 1970."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
