"""When a process that crashed is started again, and when no more: pure counting."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .process import PROGRAM


def silent(_: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an engine's process is kept.

    It is given up after `crashes` in a row with neither a token in between nor a sole suspect, after `barren` in a
    row without a token, and once `suspects` were each alone in a call that crashed, with no answer ended in between
    (None: however many). The first restart is at once, later ones wait `pause` seconds, twice as long each time, at
    most `most_pause`. A call into llama.cpp that takes `stuck` seconds counts as a crash. `cores` is the folder in
    which engines share the machine's cores (None: this one takes what it wants), `program` what is run. `say` is told,
    in the engine's own thread, what keeps people waiting.
    """

    crashes: int = 5
    barren: int = 20
    suspects: int | None = None
    pause: float = 0.1
    most_pause: float = 5.0
    stuck: float = 600.0
    cores: Path | None = None
    program: tuple[str, ...] = PROGRAM
    say: Callable[[str], None] = silent


class Restarts:
    """Counts crashes in a row."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._crashes = self._barren = 0
        self._suspects: set[int] = set()

    @property
    def suspects(self) -> int:
        """How many were alone in a call that crashed since an answer ended."""
        return len(self._suspects)

    def progress(self) -> None:
        """A token came."""
        self._crashes = self._barren = 0

    def answered(self) -> None:
        """An answer has ended as it should."""
        self._suspects.clear()

    def crashed(self, *, suspect: int | None = None) -> float | None:
        """How many seconds to wait before the next start; None for there is none. `suspect`: whose call it was, if it
        was that of one alone."""
        self._barren += 1
        if suspect is None:
            self._crashes += 1
        else:
            self._crashes = 1
            self._suspects.add(suspect)
        if self._given_up:
            return None
        if self._crashes == 1:
            return 0.0
        return min(self._keeping.pause * 2.0 ** (self._crashes - 2), self._keeping.most_pause)

    @property
    def _given_up(self) -> bool:
        keeping = self._keeping
        many = keeping.suspects is not None and self.suspects >= keeping.suspects
        return many or self._crashes >= keeping.crashes or self._barren >= keeping.barren
