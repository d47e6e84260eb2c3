"""A backend that counts what is asked of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal

from .base import Backend, Stat
from .wrapper import Wrapper, released

Verb = Literal["stat", "read", "write", "list", "delete", "clock"]


@dataclass(frozen=True, slots=True)
class Call:
    """One verb that was asked for. `start` and `length` (None: all) are a read's; `length` is a write's size too.

    `after` is where a list began.
    """

    verb: Verb
    key: str = ""
    start: int = 0
    length: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """How often each verb was asked for, and the bytes that came and went."""

    stat: int = 0
    read: int = 0
    write: int = 0
    list: int = 0
    delete: int = 0
    clock: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def requests(self) -> int:
        """Verbs in all."""
        return self.stat + self.read + self.write + self.list + self.delete + self.clock


class Recorded(Wrapper):
    """Keeps every call, in order, and the bytes that passed. A read counts when its first piece is asked for."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._lock = Lock()
        self._totals = Totals()
        self._calls: list[Call] = []

    @property
    def totals(self) -> Totals:
        """The counts up to now."""
        with self._lock:
            return self._totals

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls up to now, oldest first."""
        with self._lock:
            return tuple(self._calls)

    def stat(self, key: str) -> Stat:
        """See Backend."""
        self._note(Call("stat", key))
        return self._backend.stat(key)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        self._note(Call("read", key, start, length))
        with released(self._backend.read(key, start=start, length=length)) as pieces:
            for piece in pieces:
                self._add(read=len(piece))
                yield piece

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        self._note(Call("write", key, 0, size))
        self._backend.write(key, self._leaving(chunks), size=size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        self._note(Call("list", prefix, after=after))
        yield from self._backend.list(prefix, after=after)

    def delete(self, key: str) -> None:
        """See Backend."""
        self._note(Call("delete", key))
        self._backend.delete(key)

    def clock(self) -> float:
        """See Backend."""
        self._note(Call("clock"))
        return self._backend.clock()

    def _leaving(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self._add(written=len(chunk))

    def _note(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)
            self._totals = replace(self._totals, **{call.verb: getattr(self._totals, call.verb) + 1})

    def _add(self, *, read: int = 0, written: int = 0) -> None:
        with self._lock:
            known = self._totals
            self._totals = replace(
                known, bytes_read=known.bytes_read + read, bytes_written=known.bytes_written + written
            )
