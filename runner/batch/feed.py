"""Lines that are read while answers come in: a pipe's next line may be long in coming."""

from collections.abc import Callable, Iterator
from threading import Semaphore, Thread

from ...store.closing import Closing
from .reader import Line

Deliver = Callable[[Line | BaseException | None], None]


class Feed(Closing):
    """Reads a line in a thread of its own each time one is asked for.

    `deliver` is called there with the line, with None after the last one, or with what went wrong.
    """

    def __init__(self, lines: Iterator[Line], deliver: Deliver) -> None:
        self._lines = lines
        self._deliver = deliver
        self._asked = Semaphore(0)
        self._closed = False
        # A read that never returns must not keep the process alive.
        Thread(target=self._run, name="batch input", daemon=True).start()

    def ask(self) -> None:
        """Let one more line come."""
        self._asked.release()

    def close(self) -> None:
        """Read no more."""
        self._closed = True
        self._asked.release()

    def _run(self) -> None:
        while self._asked.acquire() and not self._closed:
            try:
                line = next(self._lines, None)
            except Exception as error:
                self._deliver(error)
                return
            self._deliver(line)
            if line is None:
                return
