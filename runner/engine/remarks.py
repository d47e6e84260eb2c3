"""What those who wait for an engine are told, once they have waited for a while. No clock."""

from collections.abc import Callable

from ..notes import notes
from .crash_report import CrashReport

LONG_SECONDS = 2.0  # to wait without a word

Say = Callable[[str], None]


class Remarks:
    """Says that a model is loading, or that its process died and is started again, to whoever waits for so long.

    Times are seconds of any clock. A process that dies again before a token came is no new wait.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._loading: float | None = None  # since when, until that was said
        self._crash: CrashReport | None = None  # of which nothing was said
        self._silent: float | None = None  # since when no token has come

    def loading(self, now: float) -> None:
        """The model is about to be loaded for the first time."""
        self._loading = now

    def loaded(self) -> None:
        """It is loaded."""
        self._loading = None

    def crashed(self, report: CrashReport, now: float) -> None:
        """The process died, and will be started again."""
        self._crash, self._loading = report, None
        self._silent = now if self._silent is None else self._silent

    def progress(self) -> None:
        """A token came."""
        self._crash = self._silent = None

    def look(self, now: float) -> None:
        """Somebody waits: says what was not said yet."""
        if self._loading is not None and now - self._loading >= LONG_SECONDS:
            self._say(f"loading {notes.model} …")
            self._loading = None
        if self._crash and self._silent is not None and now - self._silent >= LONG_SECONDS:
            self._say(f"the engine died ({self._crash.cause}){self._crash.occasion}, and is started again")
            self._crash = None
