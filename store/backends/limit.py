"""A backend that is used with moderation: so many transfers at once, so many bytes a second."""

import time
from collections.abc import Callable, Iterable, Iterator
from threading import BoundedSemaphore, Lock

from .base import Backend
from .wrapper import Wrapper, released


class Allowance:
    """Bytes that may pass in a second, shared by threads; a second's worth may pass at once.

    Whoever takes more than there is waits until the debt is paid, so pieces of any size come through.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._left = rate
        self._seen = clock()

    def take(self, count: int) -> None:
        """Wait until `count` bytes may have passed."""
        with self._lock:
            now = self._clock()
            self._left = min(self._rate, self._left + (now - self._seen) * self._rate) - count
            self._seen = now
            pause = -self._left / self._rate
        if pause > 0:
            self._sleep(pause)


class Limited(Wrapper):
    """At most `connections` reads and writes at once, and `rate` bytes a second of both together (None: no limit).

    A read holds its place until it is read to the end or closed: a thread that writes what it is reading needs two.
    Wrap it in Retrying rather than the other way, so that a pause between attempts holds no place.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        connections: int,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(backend)
        self._places = BoundedSemaphore(connections)
        self._allowance = Allowance(rate, clock=clock, sleep=sleep) if rate else None

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        with self._places, released(self._backend.read(key, start=start, length=length)) as pieces:
            yield from self._slowed(pieces)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        with self._places:
            self._backend.write(key, self._slowed(chunks), size=size)

    def _slowed(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._allowance:
                self._allowance.take(len(piece))
            yield piece
