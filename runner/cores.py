"""The machine's cores, shared by all engines on it: together they run no more threads than there are cores.

llama.cpp's threads wait for each other by spinning: two engines that run two threads each on two cores do not take
twice as long but many times. So each asks before it computes, and is told how many threads it may use.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..store.closing import Closing
from .core_board import CoreBoard
from .core_shares import Claim, allowed, next_in_line
from .errors import RunnerError
from .threads import usable_cores

LOOK = 0.02  # seconds after which one who waits looks for itself, and whether those before it are alive
CHECK = 1_000_000_000  # nanoseconds after which one who does not wait looks whether the others are alive
PATIENCE = 60.0  # seconds after which one who waits goes ahead: whoever holds the cores is stopped or stuck


class Cores(Closing):
    """One engine's part of the cores. All that name the same `folder`, in whatever process, share them.

    The folder must be on this machine. With `least`, it gets no fewer threads than that, and waits longer for its turn. One thread at a time. Raises OSError for a folder that cannot be written.
    """

    def __init__(self, folder: Path, *, cores: int | None = None, least: int = 1) -> None:
        self._cores = cores or usable_cores()
        self._least = min(least, self._cores)
        self._board = CoreBoard(folder)
        self._board.need(self._least)
        self._seat = self._board.seat
        self._wants = self._holds = self._used = 0
        self._since = self._checked = time.monotonic_ns()

    def close(self) -> None:
        """Gives everything back, for good."""
        if self._wants:
            self.rest()
        self._board.close()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[int]:
        """How many threads may run inside: `wanted` at most, at least one; waits its turn if need be.

        Cores are kept from one time to the next, as long as nobody waits for them; `rest` gives them back.
        """
        threads = self._take(min(wanted, self._cores))
        try:
            yield threads
        finally:
            self._give()

    def rest(self) -> None:
        """There is nothing to compute for now."""
        if self._wants:
            self._wants = self._holds = 0
            self._board.write(0, 0, waits=False, used=self._used)
            self._ring()

    def _take(self, wanted: int) -> int:
        others = self._others()
        mine = Claim(wanted, self._holds, False, self._used, self._least)
        if self._holds and allowed({**others, self._seat: mine}, self._seat, self._cores) == self._holds:
            self._wants = wanted
        else:
            self._agree(wanted)
        self._since = time.monotonic_ns()
        if self._since - self._checked > CHECK:
            self._checked = self._since
            self._board.bury()
        return self._holds

    def _give(self) -> None:
        self._used += (time.monotonic_ns() - self._since) * self._holds
        if any(claim.waits for claim in self._others().values()):
            self._holds = 0
            self._board.write(self._wants, 0, waits=False, used=self._used)
            self._ring()
        else:
            self._board.write(self._wants, self._holds, waits=False, used=self._used)

    def _agree(self, wanted: int) -> None:
        """Takes what is allowed, as soon as that is a core at least."""
        if not self._wants:
            # Who was idle has not saved up turns.
            self._used = max(self._used, min((claim.used for claim in self._others().values()), default=0))
        self._wants = wanted
        until = time.monotonic() + PATIENCE
        while not self._claimed():
            if time.monotonic() > until:
                self._holds = self._least
                self._board.write(wanted, self._least, waits=False)
                return
            self._board.listen(LOOK)
            self._board.bury()

    def _claimed(self) -> bool:
        with self._board.door():
            mine = Claim(self._wants, 0, False, self._used, self._least)
            self._holds = allowed({**self._others(), self._seat: mine}, self._seat, self._cores)
            self._board.write(self._wants, self._holds, waits=not self._holds, used=self._used)
        # What was given up, or is waited for, may be somebody's turn.
        self._ring()
        return self._holds > 0

    def _others(self) -> dict[int, Claim]:
        claims = self._board.busy()
        claims.pop(self._seat, None)
        return claims

    def _ring(self) -> None:
        claims = self._board.busy()
        if len(claims) > 1 or not self._wants:
            for seat in next_in_line(claims, self._cores):
                if seat != self._seat:
                    self._board.ring(seat)


class AllCores(Closing):
    """For an engine that shares cores with nobody: it may use as many threads as it wants."""

    @contextmanager
    def taken(self, wanted: int) -> Iterator[int]:
        """All that are wanted."""
        yield wanted

    def rest(self) -> None:
        """Nobody waits."""


def shared_cores(folder: Path | None, *, least: int = 1) -> Cores | AllCores:
    """A part of the cores, of all those that name `folder`; all of them where that cannot be had."""
    if folder is None:
        return AllCores()
    try:
        return Cores(folder, least=least)
    except (OSError, RunnerError):
        # To share is to be polite; who cannot, computes all the same.
        return AllCores()
