"""The updates of one request, as an iterator that waits for them."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Self

from ...store.closing import Closing
from ..errors import RunnerError
from .request import Update


class UpdateStream(Closing, Iterator[Update]):
    """Yields updates until the one with an `end`, or raises what the request failed with. Closing it cancels it."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Update | RunnerError] = SimpleQueue()
        self._cancel: Callable[[], None] | None = None
        self._over = False

    def put(self, item: Update | RunnerError) -> None:
        """What came next, from any thread."""
        self._queue.put(item)

    def started(self, cancel: Callable[[], None]) -> Self:
        """Itself, once its request can be cancelled."""
        self._cancel = cancel
        return self

    def __next__(self) -> Update:
        if self._over:
            raise StopIteration
        item = self._queue.get()
        self._over = isinstance(item, RunnerError) or item.end is not None
        if isinstance(item, RunnerError):
            raise item
        return item

    def close(self) -> None:
        """Cancels the request, unless it has ended."""
        if not self._over and self._cancel:
            self._cancel()
        self._over = True

    def __del__(self) -> None:
        self.close()
