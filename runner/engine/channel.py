"""One end of the socket between an engine and its process: whole messages, and sending never waits for the reader."""

import select
import socket
import threading
from collections.abc import Iterator

from ...store.closing import Closing
from .protocol import Frames, Message, decode, encode

CHUNK = 256 * 1024  # bytes read at once
MAX_UNSENT = 16 * 1024 * 1024  # bytes kept for a reader that does not read


class Channel(Closing):
    """Sends and receives messages over a connected socket, which it then owns.

    Any thread may send: the order is that of the calls. One thread receives.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, CHUNK)
        self._socket = connection
        self._frames = Frames()
        # Always the same memory: to be given so much anew for each message takes longer than all the rest.
        self._received = memoryview(bytearray(CHUNK))
        self._unsent = bytearray()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the socket; what was not sent is lost."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, to wait for."""
        return self._socket.fileno()

    @property
    def unsent(self) -> int:
        """How many bytes wait for the reader."""
        return len(self._unsent)

    def send(self, message: Message) -> None:
        """Sends a message, or keeps for `flush` what the socket has no room for. A peer that is gone gets nothing."""
        frame = encode(message)
        with self._lock:
            if self._unsent:
                self._unsent += frame
                return
            self._unsent += memoryview(frame)[self._write(frame) :]

    def flush(self) -> None:
        """Sends what is kept, as far as there is room."""
        with self._lock:
            if self._unsent:
                del self._unsent[: self._write(self._unsent)]

    def receive(self) -> Iterator[Message] | None:
        """The messages that have come; None when there will be no more. Raises InvalidMessage."""
        try:
            count = self._socket.recv_into(self._received)
        except (BlockingIOError, InterruptedError):
            return iter(())
        except OSError:  # reset by a peer that died with messages unread
            return None
        return map(decode, self._frames.feed(self._received[:count])) if count else None

    def wait(self, seconds: float | None = None) -> None:
        """Waits until there is something to receive, sending what is kept in the meantime."""
        while True:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            events = poll.poll(None if seconds is None else int(seconds * 1000))
            if not events or events[0][1] & ~select.POLLOUT:
                return
            self.flush()

    def drain(self, *, to: int = 0) -> None:
        """Waits until no more than `to` bytes are kept."""
        while len(self._unsent) > to:
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            poll.poll()
            self.flush()

    def _write(self, data: bytes | bytearray) -> int:
        """How many bytes were sent; all of them count as sent once nobody will read them."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return len(data)
