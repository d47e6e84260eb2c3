"""Files that appear whole or not at all: write, fsync, chmod, rename, fsync the folder."""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from .errors import DiskError, FileKept, NoSpace, StoreError

READ_ONLY = 0o444
CHUNK = 1024 * 1024

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HINTS = {
    errno.EXDEV: "leave out --link: the two are on different disks",
    errno.EROFS: "set LLSTORE_HOME to a folder that can be written",
}
_FICLONE = 0x40049409  # linux/fs.h


class PartFile:
    """A file being written, under a name of its own in `folder`, invisible until `commit`.

    Leaving the context without a commit removes it. Raises NoSpace and DiskError.
    """

    def __init__(self, folder: Path, *, size: int | None = None) -> None:
        self.path = _aside(folder)
        self._size = size
        self._fd = -1
        self._written = 0

    def __enter__(self) -> "PartFile":
        with disk_errors(self.path.parent):
            make_folder(self.path.parent)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                self._reserve()
            except BaseException:
                self._discard()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def write(self, chunk: bytes) -> None:
        """Append `chunk`."""
        view = memoryview(chunk)
        with disk_errors(self.path.parent):
            while view:
                count = os.write(self._fd, view)
                self._written += count
                view = view[count:]

    def commit(self, target: Path, *, mode: int | None = None, replace: bool = True) -> None:
        """Make the file visible as `target`, durably; with `replace` off, raises FileKept when one stands there."""
        with disk_errors(target):
            # The space that was reserved may be more than was written.
            os.ftruncate(self._fd, self._written)
            os.fsync(self._fd)
            if mode is not None:
                os.fchmod(self._fd, mode)
            make_folder(target.parent)
            if replace:
                self.path.replace(target)
            else:
                _link_new(self.path, target)
            sync_folder(target.parent)

    def clone(self, source: Path) -> None:
        """Make this file's bytes those of `source`, sharing them where the file system can."""
        with disk_errors(source), source.open("rb") as file:
            try:
                fcntl.ioctl(self._fd, _FICLONE, file.fileno())
                self._written = os.fstat(self._fd).st_size
            except OSError:
                while chunk := file.read(CHUNK):
                    self.write(chunk)

    def _reserve(self) -> None:
        # A full disk shows before the first byte moves, not after the last.
        if self._size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, self._size)
            except OSError as error:
                if error.errno in _FULL:
                    raise

    def _discard(self) -> None:
        os.close(self._fd)
        self.path.unlink(missing_ok=True)


def link(source: Path, target: Path, *, replace: bool = False) -> None:
    """Give `source` a second name; unless it may be replaced, raises FileKept when `target` exists."""
    with disk_errors(target):
        if not replace:
            _link_new(source, target)
            return
        aside = _aside(target.parent)
        aside.hardlink_to(source)
        aside.replace(target)
        # Renaming one name of a file onto another name of it leaves both.
        aside.unlink(missing_ok=True)


def _link_new(source: Path, target: Path) -> None:
    # A hard link fails when the target exists, which a rename does not.
    try:
        target.hardlink_to(source)
    except FileExistsError as error:
        raise kept(target) from error


def kept(path: Path) -> FileKept:
    """The error for a file that stands where one was to be written."""
    return FileKept(f"{path} exists and was kept", hint="pass --force to replace it")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable before anything is put into it."""
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(folder))
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_chunks(path: Path, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from `start`, `length` of them or all."""
    with path.open("rb") as file:
        file.seek(start)
        left = length if length is not None else -1
        while left and (chunk := file.read(CHUNK if left < 0 else min(CHUNK, left))):
            left -= len(chunk) if left > 0 else 0
            yield chunk


def _aside(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.part"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into the store's errors, about `path`."""
    try:
        yield
    except OSError as error:
        raise _translate(error, path) from error


def _translate(error: OSError, path: Path) -> StoreError:
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return NoSpace(f"{path}: {reason}", hint="free some space, or set LLSTORE_HOME to another disk")
    return DiskError(f"{path}: {reason}", hint=_HINTS.get(error.errno or 0, ""))
