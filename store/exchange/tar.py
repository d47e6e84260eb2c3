"""The one way in which llstore writes a tar: same members, same bytes, on every machine and with every Python.

POSIX ustar; a member of 8 GiB or more has a pax header with its size before it. All members are regular files, of
nobody, mode 0444, of the year 1970. A reader takes nothing else, so that no member can be more than bytes.
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
"""

from io import BufferedReader
from pathlib import Path

from ..disk import disk_errors
from ..errors import Damaged, Unsafe

UNIT = 512
END = bytes(2 * UNIT)
_MOST_OCTAL = 8**11  # the first size that the header's field cannot say
_SIZE = slice(124, 135)
_NAME = slice(0, 100)
_AGAIN = "export it, or copy it, again"


def header(name: str, size: int) -> bytes:
    """What stands before the bytes of a member."""
    if size < _MOST_OCTAL:
        return _block(name, size)
    record = f" size={size}\n"
    # The record's length counts its own digits.
    length = len(record) + len(str(len(record)))
    length = len(record) + len(str(length))
    data = f"{length}{record}".encode()
    return (
        _block(f"PaxHeaders/{name.rpartition('/')[2]}", len(data), kind=b"x")
        + data
        + padding(len(data))
        + _block(name, 0)
    )


def padding(size: int) -> bytes:
    """What stands after the bytes of a member."""
    return bytes(-size % UNIT)


def length(name: str, size: int) -> int:
    """How many bytes of the tar a member takes in all."""
    return len(header(name, size)) + size + len(padding(size))


def _block(name: str, size: int, *, kind: bytes = b"0") -> bytes:
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000444\0" + b"0000000\0" * 2,
        b"%011o\0" % size + b"0" * 11 + b"\0",
        b"        ",  # where the checksum goes counts as spaces
        kind + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167),
    )
    found = b"".join(fields)
    return found[:148] + b"%06o\0 " % sum(found) + found[156:]


class TarReader:
    """Walks through a tar of ours, member by member; `at` is where the next one begins.

    Raises Damaged where something else stands than was expected, and Unsafe when it is no tar of ours at all.
    """

    def __init__(self, file: BufferedReader, *, path: Path) -> None:
        self._file = file
        self._path = path
        self.at = 0
        with disk_errors(path):
            self.size = file.seek(0, 2)

    def take(self, name: str, *, most: int) -> bytes:
        """The bytes of the next member, which has that name and at most so many bytes."""
        head = self._read(self.at, UNIT)
        try:
            size = int(head[_SIZE], 8)
        except ValueError:
            size = -1
        if not 0 <= size <= most or head != header(name, size):
            raise self._not(name, head)
        return self._read(self.expect(name, size), size)

    def expect(self, name: str, size: int) -> int:
        """Where the bytes of the next member begin, which has that name and size."""
        wanted = header(name, size)
        head = self._read(self.at, len(wanted))
        if head != wanted:
            raise self._not(name, head)
        begin = self.at + len(wanted)
        self.at += length(name, size)
        if self.at > self.size:
            raise self._cut()
        if any(self._read(begin + size, -size % UNIT)):
            raise Damaged(f"{self._path} holds something after {name}", hint=_AGAIN)
        return begin

    def end(self) -> None:
        """See to it that nothing more comes."""
        rest = self._read(self.at, min(len(END) + 1, self.size - self.at))
        if len(rest) < len(END):
            raise self._cut()
        if rest != END:
            raise Damaged(f"{self._path} goes on after its last member", hint=_AGAIN)

    def _read(self, start: int, size: int) -> bytes:
        if start + size > self.size:
            raise self._cut()
        with disk_errors(self._path):
            self._file.seek(start)
            return self._file.read(size)

    def _not(self, name: str, head: bytes) -> Damaged | Unsafe:
        if self.at == 0:
            return Unsafe(f"{self._path} is not a bundle", hint="llstore export makes one; llstore put takes files")
        found = head[_NAME].rstrip(b"\0").decode("ascii", "replace")
        return Damaged(f"{self._path} is not as llstore wrote it: {found!r} stands where {name} belongs", hint=_AGAIN)

    def _cut(self) -> Damaged | Unsafe:
        if self.at == 0:
            return self._not("", b"")
        return Damaged(f"{self._path} is cut short: it has {self.size} bytes", hint=_AGAIN)
