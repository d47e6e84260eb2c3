"""One fetch of a blob at a time, among all processes of this machine, as far as locks work. They only save work."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .digest import Digest
from .disk import make_folder
from .partial import partials

PATIENCE = 60.0  # seconds without a new byte in any part file of the blob, after which nobody is waited for
_POLL = 0.1


@contextmanager
def single_flight(folder: Path, digest: Digest, *, done: Callable[[], bool]) -> Iterator[None]:
    """Wait while another process fetches the blob, until it is `done`, gives up, or makes no headway any more."""
    path = folder / f"{digest.hex}.lock"
    fd = _open(path)
    try:
        held = fd >= 0 and _wait(fd, folder, digest, done)
        yield
    finally:
        if fd >= 0:
            if held:
                # Whoever waits on this file gets the lock on a name that is gone: at worst one fetch too many.
                with suppress(OSError):
                    path.unlink()
            os.close(fd)


def _open(path: Path) -> int:
    try:
        make_folder(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return -1


def _wait(fd: int, folder: Path, digest: Digest, done: Callable[[], bool]) -> bool:
    began = time.monotonic()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if done() or (time.monotonic() - began > PATIENCE and _idle(folder, digest) > PATIENCE):
                return False
            time.sleep(_POLL)
        except OSError:
            return False


def _idle(folder: Path, digest: Digest) -> float:
    ages = [partial.age_seconds for partial in partials(folder) if partial.digest == digest]
    return min(ages, default=PATIENCE + 1)
