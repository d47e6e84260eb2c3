"""A board that engines share, of one process or of many: each has a seat and writes there what it wants and holds."""

import fcntl
import mmap
import os
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..store.closing import Closing
from .core_shares import Claim
from .errors import RunnerError

SEATS = 256
PATIENCE = 1.0  # seconds for somebody to close the door behind them; a stopped process never does
_FIELDS = 5  # of a seat, eight bytes each: wants, holds, waits, used, least
_SIZE = (SEATS + 1) * _FIELDS * 8  # the first row has one number: how many seats were ever taken


class CoreBoard(Closing):
    """A seat at the board in `folder`, which is made if need be.

    A seat is held by a lock on its file, so that the kernel gives it back when its holder dies; its bell is a named
    pipe. Raises OSError for a folder that cannot be written, RunnerError when all seats are taken.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._bells: dict[int, int] = {}
        with ExitStack() as held:
            held.callback(self._hang_up)
            self._door = _opened(folder / "door", held)
            board = _opened(folder / "board-1", held)
            with self.door():
                if os.fstat(board).st_size < _SIZE:
                    os.ftruncate(board, _SIZE)
            memory = held.enter_context(mmap.mmap(board, _SIZE))
            self._rows = held.enter_context(held.enter_context(memoryview(memory)).cast("Q"))
            self.seat = self._sit_down(held)
            self._bell = self._bell_of(self.seat)
            self.write(0, 0, waits=False, used=0)
            held.callback(self.write, 0, 0, waits=False)
            self._held = held.pop_all()

    def close(self) -> None:
        """Gives the seat back."""
        self._held.close()

    @contextmanager
    def door(self) -> Iterator[None]:
        """Nobody else decides at the same time; unless somebody has stopped in the door."""
        until = time.monotonic() + PATIENCE
        while not _locked(self._door) and time.monotonic() < until:
            time.sleep(50e-6)
        try:
            yield
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def busy(self) -> dict[int, Claim]:
        """What those claim that want cores, by seat."""
        rows = self._rows[_FIELDS : (self._rows[0] + 1) * _FIELDS].tolist()
        return {
            at // _FIELDS: Claim(rows[at], rows[at + 1], bool(rows[at + 2]), rows[at + 3], rows[at + 4])
            for at in range(0, len(rows), _FIELDS)
            if rows[at]
        }

    def need(self, least: int) -> None:
        """Writes with how few cores this seat can do."""
        self._rows[(self.seat + 1) * _FIELDS + 4] = least

    def write(self, wants: int, holds: int, *, waits: bool, used: int | None = None) -> None:
        """Writes what this seat claims."""
        at = (self.seat + 1) * _FIELDS
        if used is not None:
            self._rows[at + 3] = used
        self._rows[at + 1] = holds
        self._rows[at + 2] = waits
        self._rows[at] = wants

    def bury(self) -> None:
        """Clears the seats of the dead."""
        for seat in self.busy():
            with ExitStack() as held:
                if seat != self.seat and _locked(_opened(self._folder / f"seat-{seat}", held)):
                    self._rows[(seat + 1) * _FIELDS] = 0

    def ring(self, seat: int) -> None:
        """Wakes who waits at that seat."""
        with suppress(OSError):
            os.write(self._bell_of(seat), b".")

    def listen(self, seconds: float) -> None:
        """Waits for the bell, that long at most."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if poll.poll(seconds * 1000):
            with suppress(BlockingIOError):
                os.read(self._bell, 4096)

    def _sit_down(self, held: ExitStack) -> int:
        for seat in range(SEATS):
            with ExitStack() as tried:
                if _locked(_opened(self._folder / f"seat-{seat}", tried)):
                    held.push(tried.pop_all())
                    with self.door():
                        self._rows[0] = max(self._rows[0], seat + 1)
                    return seat
        raise RunnerError(f"{SEATS} engines share this machine's cores already")

    def _bell_of(self, seat: int) -> int:
        if seat not in self._bells:
            path = self._folder / f"bell-{seat}"
            with suppress(FileExistsError):
                os.mkfifo(path)
            # For reading too: so it can be opened, and written to, while nobody listens.
            self._bells[seat] = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        return self._bells[seat]

    def _hang_up(self) -> None:
        while self._bells:
            os.close(self._bells.popitem()[1])


def _opened(path: Path, held: ExitStack) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    held.callback(os.close, fd)
    return fd


def _locked(fd: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
