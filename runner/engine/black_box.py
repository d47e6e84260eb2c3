"""What an engine was at when its process died: a page of memory that outlives it."""

import mmap
import os
import struct
import time
from collections.abc import Sequence
from functools import cache

from ...store.closing import Closing

MOST = 256  # ids: LLAMA_MAX_SEQ sequences can share a batch
_HEAD = struct.Struct("=QI")  # when, in nanoseconds of the system's monotonic clock, and how many ids follow
_CLEAR = _HEAD.pack(0, 0)
# Texts are cut where they end: since when, in nanoseconds, and what is done; the last message.
_DOING = struct.Struct("=Q200p")
_MESSAGE = struct.Struct("=255p")
_DOING_AT = _HEAD.size + 8 * MOST
_MESSAGE_AT = _DOING_AT + _DOING.size
_SIZE = _MESSAGE_AT + _MESSAGE.size


@cache
def _ids(count: int) -> struct.Struct:
    return struct.Struct(f"={count}Q")


class BlackBox(Closing):
    """A page that two processes share. The engine notes who takes part in a dangerous call, and when the call began;
    its parent reads the note when the engine hangs or is dead. What llama.cpp is at, and what ggml says before it ends
    the process, stand there too, for people.

    `fd` is of a file without a name. A process that gets it as inherited descriptor opens the same page.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = nameless_file(_SIZE) if fd is None else fd
        self._page = mmap.mmap(self.fd, _SIZE)

    def close(self) -> None:
        """Lets go of the page."""
        self._page.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def note(self, ids: Sequence[int]) -> None:
        """A call on behalf of these requests begins; it ends with the next note, or with `clear`."""
        # Whoever dies between the two lines accuses nobody.
        self._page[: _HEAD.size] = _CLEAR
        count = min(len(ids), MOST)
        _ids(count).pack_into(self._page, _HEAD.size, *ids[:MOST])
        _HEAD.pack_into(self._page, 0, time.monotonic_ns(), count)

    def clear(self) -> None:
        """No dangerous call is going on."""
        self._page[: _HEAD.size] = _CLEAR

    @property
    def suspects(self) -> tuple[int, ...]:
        """The requests of the call that is going on."""
        _, count = _HEAD.unpack_from(self._page, 0)
        ids: tuple[int, ...] = _ids(min(count, MOST)).unpack_from(self._page, _HEAD.size)
        return ids

    @property
    def seconds(self) -> float:
        """How long the call has been going on; 0 when there is none."""
        since, _ = _HEAD.unpack_from(self._page, 0)
        return (time.monotonic_ns() - since) / 1e9 if since else 0.0

    def begin(self, what: str) -> None:
        """llama.cpp begins with `what`, in words; "" when it has done it."""
        _DOING.pack_into(self._page, _DOING_AT, time.monotonic_ns(), what.encode())

    def leave(self, message: str) -> None:
        """The last message of a process that is about to end."""
        _MESSAGE.pack_into(self._page, _MESSAGE_AT, message.encode())

    @property
    def doing(self) -> str:
        """What llama.cpp began last."""
        text: bytes = _DOING.unpack_from(self._page, _DOING_AT)[1]
        return text.decode("utf-8", errors="ignore")

    @property
    def doing_seconds(self) -> float:
        """How long ago it began."""
        since: int = _DOING.unpack_from(self._page, _DOING_AT)[0]
        return (time.monotonic_ns() - since) / 1e9

    @property
    def message(self) -> str:
        """What ggml said last; "" when it did not end the process."""
        (text,) = _MESSAGE.unpack_from(self._page, _MESSAGE_AT)
        return str(text, "utf-8", errors="ignore")


def nameless_file(size: int = 0) -> int:
    """A file that nobody else can open, gone with its last descriptor, which this returns one of."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("llstore-engine")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
