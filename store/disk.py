"""Files that appear whole or not at all: write, fsync, chmod, rename, fsync the folder."""

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, cast

from .closing import Closing
from .errors import DiskError, FileKept, NoSpace, StoreError

READ_ONLY = 0o444
SPACE_HINT = "free some space, or set LLSTORE_HOME to another disk"
CHUNK = 1024 * 1024
_HOT_CHUNK = 2 * CHUNK

# What file systems answer that have no links, modes or folders that can be made durable: exFAT, some shares.
_UNABLE = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OWN_HINT = "it must be a folder that can be written; LLSTORE_HOME says where llstore keeps its own"
_HINTS = {
    errno.EXDEV: "leave out --link: the two are on different disks",
    errno.EROFS: OWN_HINT,
}
_FICLONE = 0x40049409  # linux/fs.h
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h

Bytes = bytes | bytearray | memoryview


class PartFile(Closing):
    """A file being written, under a name of its own, invisible until `commit`.

    Closing it without a commit removes it, unless `keep` was called. With `adopt`, the file at `path` is there already,
    left by a writer that died. Raises NoSpace and DiskError.
    """

    _fd = -1

    def __init__(self, path: Path, *, size: int | None = None, adopt: bool = False) -> None:
        self.path = path
        self._end = 0
        self._lock = Lock()
        # What was there before is not ours to remove until it is ours to write.
        self._kept = adopt
        fresh = 0 if adopt else os.O_CREAT | os.O_EXCL
        try:
            with disk_errors(path.parent):
                make_folder(path.parent)
                self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | fresh, 0o666)
                # All of an adopted file may be right already, and nothing written to it before it is committed.
                self._end = os.fstat(self._fd).st_size if adopt else 0
                # What a name says of its writer may be wrong; a lock, where locks work, is not.
                with suppress(OSError):
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._reserve(size or 0)
            self._kept = False
        except BaseException as error:
            self.close()
            if fresh and isinstance(error, KeyboardInterrupt):
                # It may have come when the file was there and its descriptor nowhere yet.
                path.unlink(missing_ok=True)
            raise

    @classmethod
    def beside(cls, folder: Path, *, size: int | None = None) -> "PartFile":
        """A part file with a name nobody else has, in `folder`."""
        return cls(folder / f".{secrets.token_hex(8)}.part", size=size)

    def close(self) -> None:
        """Close the file and, unless it was committed or is to be kept, remove it."""
        if self._fd >= 0:
            if not self._kept:
                self.path.unlink(missing_ok=True)
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        # Ctrl-C may come between its making and the `with` that closes it, or while that does.
        self.close()

    def keep(self) -> None:
        """Leave the file where it is when it is closed: the next writer of the same bytes goes on from it."""
        self._kept = True

    def write(self, chunk: Bytes) -> None:
        """Append `chunk`."""
        self.write_at(self._end, chunk)

    def write_at(self, offset: int, chunk: Bytes) -> None:
        """Write `chunk` at `offset`. Threads may call it for different places at once."""
        view = memoryview(chunk)
        at = offset
        # The kernel lets one thread at a time write to a file, and the others spin until it is their turn: here they
        # sleep, and leave the processor to those who receive and hash.
        with disk_errors(self.path.parent), self._lock:
            while view:
                written = os.pwrite(self._fd, view, at)
                at += written
                view = view[written:]
            self._end = max(self._end, at)

    def read_at(self, offset: int, into: memoryview) -> int:
        """Fill `into` with the bytes at `offset`; returns how many there were."""
        done = 0
        with disk_errors(self.path):
            while done < len(into):
                got = os.preadv(self._fd, [into[done:]], offset + done)
                if not got:
                    break
                done += got
        return done

    def holds_data(self, offset: int, length: int) -> bool:
        """Whether anything was written there, as far as the file system can tell: reading a hole is not free."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA) < offset + length
        except OSError as error:
            return error.errno != errno.ENXIO

    def start_writeback(self, offset: int, length: int) -> None:
        """Let the disk begin with these bytes, so that the fsync at the end finds little left to do."""
        start_writeback(self._fd, offset, length)

    def commit(self, target: Path, *, mode: int | None = None, replace: bool = True) -> None:
        """Make the file visible as `target`, durably; with `replace` off, raises FileKept when one stands there.

        `mode` is narrowed by the umask.
        """
        with disk_errors(target):
            # The space that was reserved may be more than was written.
            os.ftruncate(self._fd, self._end)
            os.fsync(self._fd)
            if mode is not None:
                # The file was made 0666 less the umask: its mode tells the umask without changing it.
                with _if_able():
                    os.fchmod(self._fd, mode & os.fstat(self._fd).st_mode)
            make_folder(target.parent)
            if replace:
                self.path.replace(target)
            else:
                _move_new(self.path, target)
            sync_folder(target.parent)

    def clone(self, source: Path) -> None:
        """Make this file's bytes those of `source`, sharing them where the file system can."""
        with disk_errors(source), source.open("rb") as file:
            if not self.share(file):
                while chunk := file.read(CHUNK):
                    self.write(chunk)

    def share(self, file: BufferedReader) -> bool:
        """Make this file's bytes those of `file` without copying them; whether the file system can."""
        try:
            fcntl.ioctl(self._fd, _FICLONE, file.fileno())
        except OSError:
            return False
        self._end = os.fstat(self._fd).st_size
        return True

    def _reserve(self, size: int) -> None:
        # A full disk shows before the first byte moves, not after the last.
        if not hasattr(os, "posix_fallocate"):
            # As long as the blob all the same: that is how the next writer knows it.
            os.ftruncate(self._fd, max(size, self._end))
        elif size:
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                if error.errno in _FULL:
                    raise


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Start writing a range of a file to disk, without waiting; where the system has no such call, nothing."""
    call = _sync_file_range()
    if call:
        call(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Callable[..., int] | None:
    import ctypes

    found: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return cast("Callable[..., int] | None", found)


def link(source: Path, target: Path, *, replace: bool = False) -> None:
    """Give `source` a second name; unless it may be replaced, raises FileKept when `target` exists."""
    with disk_errors(target):
        aside = target.parent / f".{secrets.token_hex(8)}.link"
        try:
            if not replace:
                _link_new(source, target)
                return
            aside.hardlink_to(source)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            raise DiskError(f"{target}: its file system has no hard links", hint="leave out --link") from error
        aside.replace(target)
        # Renaming one name of a file onto another name of it leaves both.
        aside.unlink(missing_ok=True)


def _link_new(source: Path, target: Path) -> None:
    # A hard link fails when the target exists, which a rename does not.
    try:
        target.hardlink_to(source)
    except FileExistsError as error:
        raise kept(target) from error


def _move_new(source: Path, target: Path) -> None:
    try:
        _link_new(source, target)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        if not _rename_new(source, target):
            if target.exists():
                raise kept(target) from error
            source.rename(target)


def _rename_new(source: Path, target: Path) -> bool:
    """A rename that replaces nothing, by Linux's own call; False where there is none."""
    import ctypes

    call: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    reason = ctypes.get_errno()
    if reason == errno.EEXIST:
        raise kept(target)
    if reason in _UNABLE:
        return False
    raise OSError(reason, os.strerror(reason), str(target))


@contextmanager
def _if_able() -> Iterator[None]:
    """What protects only, and some file systems cannot do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNABLE:
            raise


def kept(path: Path) -> FileKept:
    """The error for a file that stands where one was to be written."""
    return FileKept(f"{path} exists and was kept", hint="pass --force to replace it")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable before anything is put into it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        # Another process may have made it since.
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(folder)) from error
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _if_able():
            os.fsync(fd)
    finally:
        os.close(fd)


def hot_chunks(file: BufferedReader) -> Iterator[memoryview]:
    """The bytes of an open file from its beginning, in two buffers used in turn.

    A chunk stays as it is until the next but one is asked for. Buffers that are used again stay in the processor's
    cache, and cost no page faults.
    """
    buffers = (bytearray(_HOT_CHUNK), bytearray(_HOT_CHUNK))
    file.seek(0)
    for turn in count():
        view = memoryview(buffers[turn % 2])
        got = file.readinto(view)
        if not got:
            return
        yield view[:got]


def read_chunks(path: Path, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from `start`, `length` of them or all."""
    with path.open("rb") as file:
        file.seek(start)
        left = length if length is not None else -1
        while left and (chunk := file.read(CHUNK if left < 0 else min(CHUNK, left))):
            left -= len(chunk) if left > 0 else 0
            yield chunk


@contextmanager
def disk_errors(path: Path, *, hint: str = "") -> Iterator[None]:
    """Turns the operating system's refusals into the store's errors, about `path`, with `hint` where none is usual."""
    try:
        yield
    except OSError as error:
        raise _translate(error, path, hint) from error


def _translate(error: OSError, path: Path, hint: str) -> StoreError:
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return NoSpace(f"{path}: {reason}", hint="free some space on its disk")
    return DiskError(f"{path}: {reason}", hint=_HINTS.get(error.errno or 0, hint))
