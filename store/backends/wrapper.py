"""What all backends that wrap another one share."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..closing import Closing
from .base import Backend, Properties, Stat


class Wrapper(Closing):
    """Passes every verb on to another backend, whose properties are its own."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def properties(self) -> Properties:
        """See Backend. They change when the backend learns more about its server."""
        return self._backend.properties

    @properties.setter
    def properties(self, properties: Properties) -> None:
        self._backend.properties = properties

    def stat(self, key: str) -> Stat:
        """See Backend."""
        return self._backend.stat(key)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        return self._backend.read(key, start=start, length=length)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        self._backend.write(key, chunks, size=size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        return self._backend.list(prefix, after=after)

    def delete(self, key: str) -> None:
        """See Backend."""
        self._backend.delete(key)

    def clock(self) -> float:
        """See Backend."""
        return self._backend.clock()

    def close(self) -> None:
        """See Backend."""
        self._backend.close()


@contextmanager
def released(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Closes `pieces` on the way out, so that their connection is let go at once and not when Python gets to it."""
    try:
        yield pieces
    finally:
        close = getattr(pieces, "close", None)
        if close:
            close()
