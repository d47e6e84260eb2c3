"""A backend that is asked again when it does not answer."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..errors import Unreachable
from .base import Backend, Stat
from .wrapper import Wrapper, released

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
PROGRESS = 1024 * 1024  # bytes that a broken read must have brought for its attempts to be counted anew

T = TypeVar("T")


class Retrying(Wrapper):
    """Asks again after Unreachable: `attempts` times in all, within `deadline` seconds; then the last error is raised.

    A write is repeated only when `chunks` is a list or tuple, for an iterator cannot be taken twice. A read goes on
    where it broke off, by a range or, where there are none, by reading again and skipping; a list likewise. Both
    count anew once they came further, so that what is long may break more often than what is short.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        attempts: int = 8,
        deadline: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(backend)
        self._attempts = attempts
        self._deadline = deadline
        self._sleep = sleep

    def stat(self, key: str) -> Stat:
        """See Backend."""
        return self._again(lambda: self._backend.stat(key))

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Backend."""
        patience, counted, done = self._patience(), 0, 0
        while length is None or done < length or not done:
            try:
                with released(self._rest(key, start=start, length=length, done=done)) as pieces:
                    for piece in pieces:
                        done += len(piece)
                        yield piece
                return
            except Unreachable as error:
                if done - counted >= PROGRESS:
                    patience, counted = self._patience(), done
                patience.wait(error)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int) -> None:
        """See Backend."""
        if isinstance(chunks, list | tuple):
            self._again(lambda: self._backend.write(key, chunks, size=size))
        else:
            self._backend.write(key, chunks, size=size)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Stat]:
        """See Backend."""
        # A listing is ordered within a folder only, so it is taken up between two names of the prefix's own folder: the
        # last one may be a folder that is not listed to its end, and is listed again.
        folder = prefix[: prefix.rfind("/") + 1]
        patience, seen, whole, last, counted = self._patience(), set[str](), after, "", 0
        while True:
            try:
                for stat in self._backend.list(prefix, after=whole):
                    if stat.key not in seen:
                        seen.add(stat.key)
                        yield stat
                        name = folder + stat.key[len(folder) :].partition("/")[0]
                        whole = max(whole, last if name != last else "", name if name == stat.key else "")
                        last = name
                return
            except Unreachable as error:
                if len(seen) > counted:
                    patience, counted = self._patience(), len(seen)
                patience.wait(error)

    def delete(self, key: str) -> None:
        """See Backend."""
        self._again(lambda: self._backend.delete(key))

    def clock(self) -> float:
        """See Backend."""
        return self._again(self._backend.clock)

    def _again(self, ask: Callable[[], T]) -> T:
        patience = self._patience()
        while True:
            try:
                return ask()
            except Unreachable as error:
                patience.wait(error)

    def _patience(self) -> "_Patience":
        return _Patience(self._attempts, self._deadline, self._sleep)

    def _rest(self, key: str, *, start: int, length: int | None, done: int) -> Iterator[bytes]:
        if not done or self.properties.ranges:
            return self._backend.read(key, start=start + done, length=None if length is None else length - done)
        return _skipped(self._backend.read(key, start=start, length=length), done)


class _Patience:
    """The attempts of one request; pauses grow, with chance in them so that many clients do not come at once."""

    def __init__(self, attempts: int, deadline: float, sleep: Callable[[float], None]) -> None:
        self._left = attempts - 1
        self._until = time.monotonic() + deadline
        self._sleep = sleep
        self._longest = 2 * SHORTEST_PAUSE

    def wait(self, error: Unreachable) -> None:
        """Pause before another attempt, or raise `error` when there is to be none."""
        pause = random.uniform(SHORTEST_PAUSE, self._longest)
        if self._left <= 0 or time.monotonic() + pause >= self._until:
            raise error
        self._left -= 1
        self._longest = min(2 * self._longest, LONGEST_PAUSE)
        self._sleep(pause)


def _skipped(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    with released(pieces):
        for piece in pieces:
            rest = piece[count:]
            count = max(count - len(piece), 0)
            if rest:
                yield rest
