"""Waiting for a process to say something, until somebody wants to be heard instead."""

import os
import select
import threading
from contextlib import suppress

from ...store.closing import Closing
from .process import Process

READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Watching(Closing):
    """One thread waits, any other wakes it."""

    def __init__(self) -> None:
        self._waiting, self._waking = os.pipe()
        os.set_blocking(self._waiting, False)
        os.set_blocking(self._waking, False)
        self._lock = threading.Lock()
        self._open = True

    def close(self) -> None:
        """From here on, waking does nothing."""
        with self._lock:
            if self._open:
                os.close(self._waiting)
                os.close(self._waking)
            self._open = False

    def wake(self) -> None:
        """Ends the wait that is going on, or else the next one."""
        with self._lock, suppress(BlockingIOError):
            if self._open:
                os.write(self._waking, b".")

    def wait(self, process: Process | None, seconds: float, *, listen: bool = True) -> bool:
        """Waits that long at most; whether the process has sent something, if somebody is to `listen`. What it had no
        room for is sent, what it printed is kept meanwhile."""
        poll = select.poll()
        poll.register(self._waiting, select.POLLIN)
        if process:
            wanted = (select.POLLIN if listen else 0) | (select.POLLOUT if process.channel.unsent else 0)
            # Registered for nothing it would still be told of a hang-up, again and again.
            if wanted:
                poll.register(process.channel, wanted)
            if process.talks:
                poll.register(process.output, select.POLLIN)
        ready = dict(poll.poll(max(0, int(seconds * 1000))))
        if self._waiting in ready:
            with suppress(BlockingIOError):
                os.read(self._waiting, 65536)
        if process is None:
            return False
        if process.output in ready:
            process.read_output()
        sent = ready.get(process.channel.fileno(), 0)
        if sent & select.POLLOUT:
            process.channel.flush()
        return bool(listen and sent & READABLE)
