"""When a process that crashed is started again, and when no more: pure counting."""

from dataclasses import dataclass
from pathlib import Path

from .process import PROGRAM


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an engine's process is kept.

    It is given up after `crashes` in a row with neither a token in between nor a sole suspect, and after `barren` in a
    row without a token. The first restart is at once, later ones wait `pause` seconds, twice as long each time, at most
    `most_pause`. A call into llama.cpp that takes `stuck` seconds counts as a crash. `cores` is the folder in which
    engines share the machine's cores (None: this one takes what it wants), `program` what is run.
    """

    crashes: int = 5
    barren: int = 20
    pause: float = 0.1
    most_pause: float = 5.0
    stuck: float = 600.0
    cores: Path | None = None
    program: tuple[str, ...] = PROGRAM


class Restarts:
    """Counts crashes in a row."""

    def __init__(self, keeping: Keeping) -> None:
        self._keeping = keeping
        self._crashes = self._barren = 0

    def progress(self) -> None:
        """A token came."""
        self._crashes = self._barren = 0

    def crashed(self, *, suspect: bool = False) -> float | None:
        """How many seconds to wait before the next start; None for there is none. `suspect`: it is known who did it."""
        self._barren += 1
        self._crashes = 1 if suspect else self._crashes + 1
        if self._crashes >= self._keeping.crashes or self._barren >= self._keeping.barren:
            return None
        if self._crashes == 1:
            return 0.0
        return min(self._keeping.pause * 2.0 ** (self._crashes - 2), self._keeping.most_pause)
