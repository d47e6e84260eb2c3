"""When a process that crashed is started again, and when no more: pure counting."""

from dataclasses import dataclass
from pathlib import Path

from .process import PROGRAM


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an engine's process is kept.

    After `crashes` in a row without a token or a conviction in between it is given up. The first restart is at once,
    later ones wait `pause` seconds, twice as long each time, at most `most_pause`. A call into llama.cpp that takes
    `stuck` seconds counts as a crash. `cores` is the folder in which engines share the machine's cores (None: this one
    takes what it wants), `program` what is run.
    """

    crashes: int = 5
    pause: float = 0.1
    most_pause: float = 5.0
    stuck: float = 600.0
    cores: Path | None = None
    program: tuple[str, ...] = PROGRAM


class Restarts:
    """Counts crashes in a row."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._crashes = 0

    def progress(self) -> None:
        """A token came, or a culprit was found."""
        self._crashes = 0

    def crashed(self) -> float | None:
        """How many seconds to wait before the next start; None for there is none."""
        self._crashes += 1
        if self._crashes >= self._keeping.crashes:
            return None
        if self._crashes == 1:
            return 0.0
        return min(self._keeping.pause * 2.0 ** (self._crashes - 2), self._keeping.most_pause)
