"""Bytes from the start of a file, taken in order and never past what it holds."""

from struct import Struct
from typing import Any, BinaryIO, Protocol

from ..errors import Unsafe

CHUNK = 1 << 20  # bytes read at a time
MOST = 1 << 26  # bytes of a header; gemma 4's takes 16 MiB
_LENGTH = Struct("<Q")
_CUT_SHORT = "is cut short inside its GGUF header"


class Hash(Protocol):
    """What is fed with bytes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take some bytes in."""


class Window:
    """The head of `file`, which holds `size` bytes. Raises Unsafe for what is not there, before it is read for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._buffer = b""
        self._at = 0
        self._read = 0

    @property
    def position(self) -> int:
        """How many bytes were taken."""
        return self._read - len(self._buffer) + self._at

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return self._size - self.position

    def unpack(self, form: Struct) -> tuple[Any, ...]:
        """The next numbers, as `form` says."""
        if len(self._buffer) - self._at < form.size:
            self._fill(form.size)
        found = form.unpack_from(self._buffer, self._at)
        self._at += form.size
        return found

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if len(self._buffer) - self._at < count:
            self._fill(count)
        found = self._buffer[self._at : self._at + count]
        self._at += count
        return found

    def feed(self, count: int, into: Hash) -> None:
        """Put the next bytes into a hash."""
        self._claim(count)
        while count:
            if self._at == len(self._buffer):
                self._fill(1)
            part = memoryview(self._buffer)[self._at : self._at + count]
            into.update(part)
            self._at += len(part)
            count -= len(part)

    def feed_strings(self, count: int, into: Hash) -> None:
        """Put the next strings into a hash, lengths and all."""
        while count:
            count -= self._feed_whole_strings(count, into)
            if count:
                # The next one lies across the end of the buffer.
                length: int = self.unpack(_LENGTH)[0]
                into.update(_LENGTH.pack(length))
                self.feed(length, into)
                count -= 1

    def _feed_whole_strings(self, count: int, into: Hash) -> int:
        buffer, first, end, length_at = self._buffer, self._at, len(self._buffer) - 8, _LENGTH.unpack_from
        at, left = first, count
        while left and at <= end:
            after = at + 8 + length_at(buffer, at)[0]
            if after > end + 8:
                break
            at = after
            left -= 1
        into.update(memoryview(buffer)[first:at])
        self._at = at
        return count - left

    def _claim(self, count: int) -> None:
        if count > self.left:
            raise Unsafe(_CUT_SHORT)
        if self.position + count > MOST:
            raise Unsafe(f"has a GGUF header of more than {MOST >> 20} MiB")

    def _fill(self, count: int) -> None:
        """See to it that the buffer holds `count` more bytes."""
        self._claim(count)
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        while have < count:
            part = self._file.read(min(max(CHUNK, count - have), self._size - self._read))
            if not part:
                raise Unsafe(_CUT_SHORT)
            parts.append(part)
            have += len(part)
            self._read += len(part)
        self._buffer, self._at = b"".join(parts), 0
