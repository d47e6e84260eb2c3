"""One at a time makes room in the cache, where locks work; where they do not, the budget may be passed for a while."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".room.lock"
PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.01


@contextmanager
def room(path: Path, *, patience: float = PATIENCE_SECONDS) -> Iterator[bool]:
    """Hold the lock on the file at `path`; gives whether it is held. It goes on without a lock it cannot have."""
    fd = _lock(path, patience)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _lock(path: Path, patience: float) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    try:
        if _locked(fd, patience):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _locked(fd: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            # A process that was stopped while it held the lock must not stop the others.
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        except OSError:
            return False
