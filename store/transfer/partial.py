"""Part files of blobs: who writes one, whether that process lives, and what a dead one left behind.

A part file is named `<hex>.<owner>.<random>.part`, without the hex when it is of no known blob; its owner is
`<host>-<pid>-<start>`. It is as long as the blob from the beginning, so it is its own reservation. Which of its blocks
are right is not written down: their hashes say it.
"""

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..digest import Digest
from ..disk import PartFile, disk_errors
from ..errors import DiskError

FOREIGN_SECONDS = 60 * 60  # a writer on another host that wrote nothing for so long is dead
_NAME = re.compile(r"([0-9a-f]{64})?\.([0-9a-f]{8}-\d+-\d+)\.[0-9a-f]+\.part")
_OWNER = re.compile(r"([0-9a-f]{8})-(\d+)-(\d+)")
_LINUX_HOST_FACTS = (Path("/etc/machine-id"), Path("/proc/sys/kernel/hostname"))


@dataclass(frozen=True, slots=True)
class Partial:
    """A part file: of which blob (None when its name does not tell), its bytes, its age, whether it has a writer."""

    path: Path
    digest: Digest | None
    size: int
    age_seconds: float
    alive: bool


def create(folder: Path, digest: Digest, *, size: int) -> PartFile:
    """A new part file of this process for a blob of `size` bytes."""
    return PartFile(folder / _name(digest), size=size)


def beside(folder: Path, *, size: int) -> PartFile:
    """A new part file of this process for `size` bytes that are no blob, or not yet known as one."""
    return PartFile(folder / f".{owner()}.{secrets.token_hex(8)}.part", size=size)


def leave(part: PartFile, digest: Digest) -> None:
    """Let a part file stay, for whoever asks for the blob next, this process included."""
    part.path = leave_file(part.path, part.path.parent, digest)
    part.keep()


def leave_file(path: Path, folder: Path, digest: Digest) -> Path:
    """Leave a file in `folder` as a part file of that blob; returns where it is now."""
    with disk_errors(path):
        return path.rename(folder / f"{digest.hex}.{_host()}-0-0.{secrets.token_hex(4)}.part")


def adopt(folder: Path, digest: Digest, *, size: int) -> PartFile | None:
    """The part file that a dead writer left of this blob, now ours; None when there is none.

    Its bytes must be checked before they are used.
    """
    for partial in partials(folder):
        if partial.digest == digest and partial.size == size and not partial.alive:
            part = _take_over(partial.path, folder / _name(digest), size=size)
            if part:
                return part
    return None


def partials(folder: Path) -> list[Partial]:
    """What is being written in `folder`, or was left there, oldest first."""
    found = []
    for path in folder.glob("*.part"):
        with suppress(FileNotFoundError):
            status = path.stat()
            match = _NAME.fullmatch(path.name)
            age = time.time() - status.st_mtime
            alive = _locked(path) or (_alive(match[2], age) if match else age < FOREIGN_SECONDS)
            found.append(Partial(path, Digest(match[1]) if match and match[1] else None, status.st_size, age, alive))
    return sorted(found, key=lambda partial: -partial.age_seconds)


def remove(partial: Partial) -> None:
    """Remove a part file; no error when it is gone."""
    with disk_errors(partial.path):
        partial.path.unlink(missing_ok=True)


def owner() -> str:
    """This process, as part files and leases name it."""
    return f"{_host()}-{os.getpid()}-{_started(os.getpid())}"


def owner_lives(name: str) -> bool | None:
    """Whether the process of that name runs; None when it cannot be asked: another host's, or no such name."""
    match = _OWNER.fullmatch(name)
    if not match or match[1] != _host():
        return None
    _, pid, start = match.groups()
    if pid == "0":
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError):
        return False
    return int(start) == _started(int(pid))


def _take_over(left: Path, ours: Path, *, size: int) -> PartFile | None:
    # Of several that try, the rename succeeds for one; what may not be renamed or written is left to others.
    try:
        left.rename(ours)
    except OSError:
        return None
    try:
        return PartFile(ours, size=size, adopt=True)
    except DiskError:
        with suppress(OSError):
            ours.rename(left)
        return None


def _alive(name: str, age: float) -> bool:
    lives = owner_lives(name)
    return age < FOREIGN_SECONDS if lives is None else lives


def _name(digest: Digest) -> str:
    return f"{digest.hex}.{owner()}.{secrets.token_hex(4)}.part"


def _locked(path: Path) -> bool:
    # Only a lock that is held says something: where locks fail, the name decides.
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@cache
def _host() -> str:
    return hashlib.sha256("\n".join(_host_facts()).encode()).hexdigest()[:8]


def _host_facts() -> Iterator[str]:
    yield os.uname().nodename
    for path in _LINUX_HOST_FACTS:
        with suppress(OSError):
            yield path.read_text()
    # Containers may share the rest, but not their processes' numbers.
    with suppress(OSError):
        yield str(Path("/proc/self/ns/pid").readlink())


def _started(pid: int) -> int:
    # Field 22 of /proc/pid/stat (proc(5)): a number used again is another process. Elsewhere 0 for all.
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if state == "Z" else int(fields[18])
    except (OSError, IndexError, ValueError):
        return 0
