"""Log records on their way to a stream that may be slow, or stuck: whoever logs does not wait for it."""

import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Full, Queue
from typing import TextIO

PATIENCE = 2.0  # seconds for what is still to be written at the end
Line = Callable[[logging.LogRecord, int], str]


class Outlet(logging.Handler):
    """Keeps up to `capacity` records for a thread that writes them, as `line` words them.

    Beyond that they are dropped, and counted: `line` is told how many before a record were. So are those that cannot be
    written.
    """

    def __init__(self, stream: TextIO, line: Line, *, capacity: int) -> None:
        super().__init__()
        self._write = _writer(stream)
        self._line = line
        self._records: Queue[tuple[logging.LogRecord, int] | None] = Queue(capacity)
        self._dropped = 0  # since the last that was held, under the handler's lock
        self._lost = 0  # since the last that was written, by the thread
        self._closed = False
        # A daemon: a reader that reads no more does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="llstore-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler, which calls it under the lock."""
        if self._closed:
            return
        try:
            self._records.put_nowait((record, self._dropped))
        except Full:
            self._dropped += 1
        else:
            self._dropped = 0

    def close(self) -> None:
        """Writes what there is, for a while at most."""
        if not self._closed:
            self._closed = True
            with suppress(Full):
                self._records.put(None, timeout=PATIENCE)
                self._thread.join(PATIENCE)
        super().close()

    def _run(self) -> None:
        while (item := self._records.get()) is not None:
            self._attempt(*item)
        if self._dropped or self._lost:
            facts = {"msg": "the last lines are missing", "levelno": logging.WARNING, "levelname": "WARNING"}
            self._attempt(logging.makeLogRecord(facts), self._dropped)

    def _attempt(self, record: logging.LogRecord, dropped: int) -> None:
        missing = self._lost + dropped
        try:
            self._write(self._line(record, missing))
        except Exception:
            # What cannot be worded or written must not end the log; the next line says that it is missing.
            self._lost = missing + 1
        else:
            self._lost = 0


def _writer(stream: TextIO) -> Callable[[str], None]:
    """Past a stream's own buffer, where it has a descriptor: a thread that is stuck in it with its lock would make
    the interpreter abort at its end."""
    try:
        fd = stream.fileno()
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return partial(_into, stream)
    return partial(_through, fd)


def _into(stream: TextIO, line: str) -> None:
    stream.write(line)
    stream.flush()


def _through(fd: int, line: str) -> None:
    rest = line.encode("ascii")
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select((), (fd,), ())
