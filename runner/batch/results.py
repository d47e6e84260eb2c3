"""Where the answers of a batch go: a file that can be taken up again, or a pipe."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ...store.closing import Closing
from ...store.disk import disk_errors, sync_folder
from ...store.errors import FileKept, StoreError
from ..errors import BatchBusy, OtherBatch
from .journal import Journal, write_all
from .reader import Line
from .records import Through
from .recovery import NOTHING, Prefix, ahead, finished_prefix, pass_over
from .window import Finished

SYNC_SECONDS = 5.0  # how much of its work a power cut may cost
LARGE_JOURNAL = 8 * 1024 * 1024  # bytes; then it is made anew from what is still needed
_RESTART = "--restart begins it anew"


class Results(Protocol):
    """Where lines go, in their order. `lines` are there from before, `failed` of them without an answer."""

    lines: int
    failed: int

    def pass_over(self, lines: Iterator[Line]) -> None:
        """Read past the lines of the input that are done. Raises OtherBatch when they are others."""

    def recall(self, line: Line) -> Finished | None:
        """What was finished for `line` ahead of its turn, before the batch was cut off."""

    def keep(self, finished: Finished) -> None:
        """Note what has finished ahead of its turn, in case the batch is cut off."""

    def write(self, ready: Sequence[Finished], waiting: Sequence[Finished]) -> None:
        """Write the lines whose turn it is; `waiting` are those kept that are not written yet."""

    def finish(self) -> None:
        """All lines are written."""


class PipeResults:
    """Lines go to a pipe, and nothing is remembered."""

    lines = failed = 0

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def pass_over(self, lines: Iterator[Line]) -> None:
        """None are done."""

    def recall(self, _: Line) -> None:
        """Nothing is remembered."""

    def keep(self, finished: Finished) -> None:
        """It waits in memory alone."""

    def write(self, ready: Sequence[Finished], _: Sequence[Finished]) -> None:
        """Write them, and let their reader have them at once."""
        for finished in ready:
            self._file.write(finished.data)
        self._file.flush()

    def finish(self) -> None:
        """There is nothing to tidy up."""


class FileResults(Closing):
    """Lines go to the end of a file, which belongs to the batch for as long as its journal lies beside it.

    Whatever ends the process, the next one goes on behind the last whole line. `restart` throws away what is there.
    Raises FileKept for a file that no batch left, OtherBatch for one of another batch, BatchBusy, DiskError, NoSpace.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, restart: bool = False) -> None:
        self._path = path
        self._settings = settings
        self._journal = Journal.beside(path)
        with disk_errors(path):
            self._fd, self._unused = _opened(path)
        try:
            _lock(self._fd, path)
            if self._unused or restart:
                self._clear()
            self._prefix, self._ahead = self._recovered()
        except BaseException:
            os.close(self._fd)
            raise
        found = self._prefix
        self.lines, self.failed = found.lines, found.failed
        self._output, self._input = found.hashed, hashlib.sha256()
        self._through = Through(found.lines, found.failed, found.size, found.hashed.hexdigest(), input="", synced=True)
        self._synced = time.monotonic()

    def pass_over(self, lines: Iterator[Line]) -> None:
        """Read past the lines that are done."""
        try:
            self._input = pass_over(lines, self._prefix)
        except OtherBatch as error:
            raise self._other(error) from error
        # Only now is it sure that the output goes on, so that what is not finished may be cut off.
        with disk_errors(self._path):
            os.ftruncate(self._fd, self._prefix.size)
            os.lseek(self._fd, 0, os.SEEK_END)
            os.fsync(self._fd)
        self._through = replace(self._through, input=self._input.hexdigest())
        self._journal.rewrite(self._settings, [self._through, *self._ahead.values()])
        self._unused = False

    def recall(self, line: Line) -> Finished | None:
        """What was finished for this very line."""
        found = self._ahead.pop(line.number, None)
        return found if found and found.of == line.digest else None

    def keep(self, finished: Finished) -> None:
        """Note it in the journal."""
        self._journal.append(finished)

    def write(self, ready: Sequence[Finished], waiting: Sequence[Finished]) -> None:
        """Append them: first the journal says what will be there, then it is."""
        data = b"".join(finished.data for finished in ready)
        after = self._after(ready, data)
        self._journal.append(after)
        with disk_errors(self._path):
            write_all(self._fd, data)
        self._through = after
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()
        if self._journal.size > LARGE_JOURNAL + 2 * sum(len(finished.data) for finished in waiting):
            self._sync()
            self._journal.rewrite(self._settings, [self._through, *self._ahead.values(), *waiting])

    def finish(self) -> None:
        """Make the output durable; its journal goes."""
        with disk_errors(self._path):
            os.fsync(self._fd)
        self._journal.remove()

    def close(self) -> None:
        """Close the file; without `finish` the batch can be taken up."""
        if self._fd >= 0:
            if self._journal.is_open:
                with suppress(StoreError):
                    self._sync()
            elif self._unused:
                # An empty file would look like a batch that is done.
                self._path.unlink(missing_ok=True)
            self._journal.close()
            os.close(self._fd)
            self._fd = -1

    def _clear(self) -> None:
        self._journal.remove()
        with disk_errors(self._path):
            os.ftruncate(self._fd, 0)
            sync_folder(self._path.parent)

    def _recovered(self) -> tuple[Prefix, dict[int, Finished]]:
        if not self._journal.exists:
            if os.fstat(self._fd).st_size:
                raise FileKept(f"{self._path} is there, of a batch that is done or of something else", hint=_RESTART)
            return Prefix(NOTHING, 0, 0, 0, (), hashlib.sha256()), {}
        try:
            settings, records = self._journal.read()
            _refuse_other(settings, self._settings)
            with os.fdopen(os.dup(self._fd), "rb") as file:
                file.seek(0)
                prefix = finished_prefix(file, records)
        except OtherBatch as error:
            raise self._other(error) from error
        return prefix, ahead(records, prefix)

    def _after(self, ready: Sequence[Finished], data: bytes) -> Through:
        self._output.update(data)
        for finished in ready:
            self._input.update(bytes.fromhex(finished.of))
        return Through(
            lines=self._through.lines + len(ready),
            failed=self._through.failed + sum(finished.failed for finished in ready),
            size=self._through.size + len(data),
            output=self._output.hexdigest(),
            input=self._input.hexdigest(),
            of=tuple(finished.of for finished in ready),
        )

    def _sync(self) -> None:
        with disk_errors(self._path):
            os.fsync(self._fd)
        self._through = replace(self._through, of=(), synced=True)
        self._journal.append(self._through)
        self._journal.sync()
        self._synced = time.monotonic()

    def _other(self, error: OtherBatch) -> OtherBatch:
        return OtherBatch(f"{self._path} is of another batch: {error}", hint=_RESTART)


def _opened(path: Path) -> tuple[int, bool]:
    """The file, made when it is not there, and whether it was made."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC), False
    except FileNotFoundError:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), True


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BatchBusy(f"{path} is being written by another llstore batch") from error
    except OSError:
        # Where locks do not work, nobody can hold one.
        return


def _refuse_other(then: dict[str, Any], now: dict[str, Any]) -> None:
    differing = [name for name in now if then.get(name) != now[name]]
    if differing or set(then) - set(now):
        said = ", ".join(f"{name} was {then.get(name)!r:.80} and is {now[name]!r:.80}" for name in differing[:3])
        raise OtherBatch(said or "it has settings that this llstore does not know")
