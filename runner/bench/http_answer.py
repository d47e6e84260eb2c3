"""An HTTP/1.1 answer, read from the bytes of its connection as they come."""

from ..errors import PeerFailed

HEAD_BYTES = 65536  # more than any server's headers


class HttpAnswer:
    """The answer to one request: `status` and `headers` (names in lower case) once it has its `head`.

    It is `whole` when its last byte was read; a body of no told length ends with the connection. Raises PeerFailed for
    what is not HTTP.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.whole = False
        self._ahead = b""
        self._left: int | None = None  # of the body, where its length is told
        self._chunks: _Chunks | None = None

    def feed(self, received: bytes) -> bytes:
        """What of the body came with these bytes."""
        if self.status:
            return self._body(received)
        self._ahead += received
        head, found, rest = self._ahead.partition(b"\r\n\r\n")
        if found:
            self._ahead = b""
            self._begin(head)
            return self._body(rest)
        if len(self._ahead) > HEAD_BYTES:
            raise PeerFailed("the answer has no end of headers")
        return b""

    def closed(self) -> None:
        """The connection ended."""
        if self.status and self._chunks is None and self._left is None:
            self.whole = True

    @property
    def reusable(self) -> bool:
        """Whether its connection takes another request."""
        told = self._chunks is not None or self._left is not None
        return self.whole and told and self.headers.get("connection", "").lower() != "close"

    @property
    def retry_after(self) -> float | None:
        """The seconds that it asks to wait, where it says a number."""
        try:
            return float(self.headers["retry-after"])
        except (KeyError, ValueError):
            return None

    def _begin(self, head: bytes) -> None:
        start, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = start.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise PeerFailed(f"the answer is not HTTP/1.1: {start[:80]!r}")
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._chunks = _Chunks()
        elif self.headers.get("content-length", "").isdigit():
            self._left = int(self.headers["content-length"])
        self.status = int(rest[:3])

    def _body(self, received: bytes) -> bytes:
        if self._chunks is not None:
            body = self._chunks.feed(received)
            self.whole = self._chunks.ended
            return body
        if self._left is not None:
            received = received[: self._left]
            self._left -= len(received)
            self.whole = not self._left
        return received


class _Chunks:
    """A body in chunks (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self.ended = False
        self._ahead = b""  # of a line that is not whole
        self._left = 0  # of the chunk that is being read
        self._trailer = False

    def feed(self, received: bytes) -> bytes:
        if not (self._ahead or self._left or self._trailer):
            # Nearly always one whole chunk comes, which costs a third of taking it apart.
            end = received.find(b"\r\n")
            if end > 0 and end + 2 + (size := _size(received[:end])) + 2 == len(received) and size:
                return received[end + 2 : -2]
        return self._pieces(received)

    def _pieces(self, received: bytes) -> bytes:
        buffer, at, pieces = self._ahead + received, 0, []
        while not self.ended:
            if self._left:
                piece = buffer[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            end = buffer.find(b"\r\n", at)
            if self._left or end < 0:
                break
            self._line(buffer[at:end])
            at = end + 2
        self._ahead = buffer[at:]
        return b"".join(pieces)

    def _line(self, line: bytes) -> None:
        if self._trailer:
            self.ended = not line
        elif line:  # an empty one ends the chunk before
            self._left = _size(line)
            self._trailer = not self._left


def _size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise PeerFailed(f"the answer's chunk has no size: {line[:80]!r}") from None
