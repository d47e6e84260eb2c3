"""What a bucket must be able to do. Everything else in the store is built from these six verbs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

STALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Stat:
    """An object: its key, its size in bytes, and when it was last written (seconds since 1970, the store's clock)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Properties:
    """What a backend is and can do; `url` holds no secret and may be printed.

    `ranges` turns off when a server is met that answers a range with the whole object: reads stay right, but each
    costs the bytes before it, so a reader should then take an object in one stream.
    """

    url: str
    ranges: bool = True
    writable: bool = True
    listable: bool = True


class Backend(Protocol):
    """A bucket. Keys are relative, with `/` between their parts; a key is never the folder of another.

    Every verb may raise BucketNotFound, Unreachable or Refused, and may be tried again after Unreachable.
    Verbs may be called from several threads at once. A backend may also have `read_together(stats)`, which gives many
    small objects at once and None for each that has to be read by itself.
    """

    properties: Properties

    def stat(self, key: str) -> Stat:
        """The object's size and age; raises KeyNotFound."""
        ...

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The object's bytes from `start`, `length` of them or all, in pieces of any size; raises KeyNotFound.

        May end early, and bytes are not checked: the reader counts and hashes. A connection that gives no byte for
        `STALL_SECONDS` is given up as Unreachable. Closing the iterator lets go of the connection.
        """
        ...

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """Make the object hold `chunks`, `size` bytes in all, replacing what was there.

        Atomic: the object appears when the last chunk was taken, or, when `chunks` raises, not at all.
        Its size is checked afterwards. Raises NoSpace.
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
