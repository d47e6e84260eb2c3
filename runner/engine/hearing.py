"""A process's messages, taken in by another thread than the one that keeps it: by that of an event loop, say."""

import threading
from collections.abc import Callable
from typing import Protocol, cast

from ...store.closing import Closing
from ..errors import RunnerError
from .channel import Channel
from .process import Process
from .protocol import FromEngine

# Begins to watch a descriptor: what it is given is called whenever that can be read, until what it returned is called.
Ear = Callable[[int, Callable[[], None]], Callable[[], None]]


class Receives(Protocol):
    """Who is told of messages."""

    def received(self, message: FromEngine, channel: Channel) -> None:
        """The process at the other end of `channel` says something."""


class Hearing(Closing):
    """Takes in what a process says wherever `ear` watches, until it is closed. From then on nothing is received.

    `over` is called once there will be no more; then `ended`, or `error` for what was no message.
    """

    def __init__(self, process: Process, owner: Receives, ear: Ear, over: Callable[[], None]) -> None:
        self._channel = process.channel
        self._owner = owner
        self._over = over
        # Whoever closes it waits for a message that is being taken in, but for one that closes it itself.
        self._lock = threading.RLock()
        self._open = True
        self.ended = False
        self.error: RunnerError | None = None
        self._stop = ear(self._channel.fileno(), self._readable)

    def close(self) -> None:
        """No more is taken in."""
        with self._lock:
            if self._open:
                self._open = False
                self._stop()

    def _readable(self) -> None:
        with self._lock:
            if not self._open:
                return
            try:
                messages = self._channel.receive()
                for message in messages or ():
                    self._owner.received(cast(FromEngine, message), self._channel)
                self.ended = messages is None
            except RunnerError as error:
                self.error = error
            if self.ended or self.error:
                self.close()
                self._over()
