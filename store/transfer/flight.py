"""One fetch of a blob at a time, among all processes of this machine, as far as locks work. They only save work."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..digest import Digest
from ..disk import make_folder
from .partial import partials

PATIENCE = 60.0  # seconds without a new byte in any part file of the blob, after which nobody is waited for
_POLL = 0.1


@contextmanager
def single_flight(folder: Path, digest: Digest, *, done: Callable[[], bool]) -> Iterator[None]:
    """Wait while another process fetches the blob, until it is `done`, gives up, or makes no headway any more."""
    path = folder / f"{digest.hex}.lock"
    fd = _wait(path, digest, done)
    try:
        yield
    finally:
        if fd is not None:
            with suppress(OSError):
                path.unlink()
            os.close(fd)


def sweep(folder: Path) -> None:
    """Remove the lock files that nobody holds: killed processes leave them."""
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            fd = _lock(path)
            path.unlink(missing_ok=True)
            os.close(fd)


def _wait(path: Path, digest: Digest, done: Callable[[], bool]) -> int | None:
    began = time.monotonic()
    while True:
        try:
            return _lock(path)
        except BlockingIOError:
            if done() or (time.monotonic() - began > PATIENCE and _idle(path.parent, digest) > PATIENCE):
                return None
            time.sleep(_POLL)
        except OSError:
            return None


def _lock(path: Path) -> int:
    make_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The lock of one who has ended is on a file that nobody finds any more.
        if not _is_at(path, fd):
            raise BlockingIOError
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _idle(folder: Path, digest: Digest) -> float:
    ages = [partial.age_seconds for partial in partials(folder) if partial.digest == digest]
    return min(ages, default=PATIENCE + 1)
