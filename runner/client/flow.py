"""One stream's state, shared by who reads it and who closes it."""

import threading
from collections.abc import Callable

from ..errors import InvalidCall
from .completion import Completion
from .growing import Growing


class Flow:
    """From the head of an answer to its end, or until it is stopped; any thread may stop it."""

    def __init__(self) -> None:
        self.stopped = False
        self._growing: Growing | None = None
        self._cut: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether nothing more is wanted of the answer."""
        return self.stopped or bool(self._growing and self._growing.whole)

    @property
    def text(self) -> str:
        """What has come so far."""
        return self._growing.text if self._growing else ""

    @property
    def result(self) -> Completion:
        """The whole answer; raises InvalidCall where it has not come."""
        if not self._growing or not self._growing.whole:
            raise InvalidCall("the stream has not come to its end: there is no whole answer", hint="text has its part")
        return self._growing.whole

    def begin(self, growing: Growing, cut: Callable[[], None]) -> Growing:
        """The answer has begun to arrive over a connection that `cut` ends."""
        self._growing = growing
        with self._lock:
            self._cut = cut
        if self.stopped:
            cut()
        return growing

    def release(self) -> None:
        """The connection is no longer this stream's: the next request may have it."""
        with self._lock:
            self._cut = None

    def stop(self) -> None:
        """Nothing more is wanted: whoever waits for a piece is woken."""
        with self._lock:
            self.stopped = True
            if self._cut:
                self._cut()
            self._cut = None

    def finish(self) -> None:
        """The answer has ended; raises AnswerBroken where it has not come to its end."""
        if self._growing and not self.stopped:
            self._growing.ended()
