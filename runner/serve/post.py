"""From an engine's thread into the event loop: all that a step made in one wake-up, to each task what is its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Post:
    """Calls what it is given in the event loop, whose thread makes it; what comes from other threads, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._waiting: deque[tuple[Callable[[object], None], object]] = deque()
        self._called = False

    def put(self, receive: Callable[[_Item], None], item: _Item) -> None:
        """`receive(item)` is called in the loop: at once from the loop's own thread, soon from any other. Once the loop
        is closed, nothing is."""
        if threading.get_ident() == self._thread:
            receive(item)
            return
        self._waiting.append((receive, item))  # type: ignore[arg-type]
        if not self._called:
            self._called = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._waiting.clear()

    def _deliver(self) -> None:
        # First, so that what comes while this runs is not forgotten.
        self._called = False
        while self._waiting:
            receive, item = self._waiting.popleft()
            receive(item)


class Mailbox(Generic[_Item]):
    """What came for one task, which is the only one that takes."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, item: _Item) -> None:
        """One more."""
        self._items.append(item)
        self.wake()

    def close(self) -> None:
        """There will be no more."""
        self._closed = True
        self.wake()

    async def take(self) -> list[_Item]:
        """All that has come, in order; none when it was woken or closed."""
        if not self._items and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        items, self._items = self._items, []
        return items

    def wake(self) -> None:
        """Whoever waits is given what there is, be it nothing."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
