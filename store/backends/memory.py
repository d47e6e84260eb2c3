"""A bucket in this process's memory, for tests and trials."""

import time
from collections.abc import Iterable, Iterator

from ..closing import Closing
from ..errors import KeyNotFound
from .base import Properties, Stat


class MemoryBackend(Closing):
    """A dict with the manners of a bucket."""

    def __init__(self) -> None:
        self.properties = Properties(url="memory://")
        self._objects: dict[str, tuple[bytes, float]] = {}

    def stat(self, key: str) -> Stat:
        """See Backend."""
        data, modified = self._find(key)
        return Stat(key, len(data), modified)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        data, _ = self._find(key)
        yield data[start : None if length is None else start + length]

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        self._objects[key] = (b"".join(chunks), self.clock())

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        for key in sorted(self._objects):
            if key.startswith(prefix) and key > after:
                yield self.stat(key)

    def delete(self, key: str) -> None:
        """See Backend."""
        self._objects.pop(key, None)

    def clock(self) -> float:
        """See Backend."""
        return time.time()

    def _find(self, key: str) -> tuple[bytes, float]:
        try:
            return self._objects[key]
        except KeyError as error:
            raise KeyNotFound(f"no object {key}") from error
