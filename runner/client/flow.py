"""One stream's state, shared by who reads it and who closes it."""

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
        self._growing, self._cut = growing, cut
        # Whoever comes second, this or stop, sees what the other has set.
        if self.stopped:
            cut()
        return growing

    def stop(self) -> None:
        """Nothing more is wanted: whoever waits for a piece is woken."""
        self.stopped = True
        if self._cut:
            self._cut()

    def finish(self) -> None:
        """The answer has ended; raises AnswerBroken where it has not come to its end."""
        if self._growing and not self.stopped:
            self._growing.ended()
