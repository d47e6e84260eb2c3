"""A backend that counts what is asked of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from threading import Lock

from .base import Backend, Stat
from .wrapper import Wrapper, released


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

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Totals)))

    @property
    def requests(self) -> int:
        """Verbs in all."""
        return self.stat + self.read + self.write + self.list + self.delete + self.clock


Together = Callable[[Sequence[Stat]], Sequence[bytes | None]]


class Counted(Wrapper):
    """Counts verbs when they are asked for, a read or list with its first piece; bytes when it has ended."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._lock = Lock()
        self._totals = Totals()

    @property
    def totals(self) -> Totals:
        """The counts up to now."""
        return self._totals

    def stat(self, key: str) -> Stat:
        """See Backend."""
        self._add(Totals(stat=1))
        return self._backend.stat(key)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        self._add(Totals(read=1))
        size = 0
        try:
            with released(self._backend.read(key, start=start, length=length)) as pieces:
                for piece in pieces:
                    size += len(piece)
                    yield piece
        finally:
            self._add(Totals(bytes_read=size))

    @property
    def read_together(self) -> Together | None:
        """See Backend; None where the backend has no such verb."""
        read: Together | None = getattr(self._backend, "read_together", None)
        return partial(self._together, read) if read else None

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        self._add(Totals(write=1))
        sent = _Tally()
        try:
            self._backend.write(key, sent.of(chunks), size=size)
        finally:
            self._add(Totals(bytes_written=sent.size))

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        self._add(Totals(list=1))
        yield from self._backend.list(prefix, after=after)

    def delete(self, key: str) -> None:
        """See Backend."""
        self._add(Totals(delete=1))
        self._backend.delete(key)

    def clock(self) -> float:
        """See Backend."""
        self._add(Totals(clock=1))
        return self._backend.clock()

    def _together(self, read: Together, stats: Sequence[Stat]) -> Sequence[bytes | None]:
        found = read(stats)
        came = [len(data) for data in found if data is not None]
        self._add(Totals(read=len(came), bytes_read=sum(came)))
        return found

    def _add(self, more: Totals) -> None:
        with self._lock:
            self._totals += more


@dataclass(slots=True)
class _Tally:
    """How many bytes of a write were taken."""

    size: int = 0

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self.size += len(chunk)
