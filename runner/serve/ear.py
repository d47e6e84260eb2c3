"""An event loop as the place where an engine is listened to: no thread has to be woken for each of its steps."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress


class LoopEar:
    """Watches descriptors in the event loop; see `engine.hearing.Ear`. It may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, fd: int, readable: Callable[[], None]) -> Callable[[], None]:
        """Calls `readable` in the loop when there is something to be read."""
        # One of its own: the other may be closed before the loop has heard that it is to watch it no more.
        own = os.dup(fd)
        self._soon(lambda: self._loop.add_reader(own, readable))
        return lambda: self._soon(lambda: self._forget(own))

    def _forget(self, own: int) -> None:
        self._loop.remove_reader(own)
        os.close(own)

    def _soon(self, act: Callable[[], None]) -> None:
        # A loop that is closed watches nothing.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)
