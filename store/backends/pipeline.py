"""Many small objects over one connection, asked for together: a first sync may read a hundred thousand of them.

HTTP/1.1 pipelining (RFC 9112, section 9.3.2), over plain HTTP and without a proxy. What does not come just as it should
is left out, and whoever asked reads it by itself: nothing here is tried again, and nothing fails.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .base import STALL_SECONDS

TOGETHER = 32  # requests on their way at once: their answers must fit into what the systems hold for a connection
LARGEST = 32 * 1024  # bytes of an object that is asked for so
_CONNECT_SECONDS = 5.0
_LONGEST_LINE, _MOST_LINES = 8192, 100  # of an answer's head


@dataclass(frozen=True, slots=True)
class Asked:
    """An object: the address that gives it, and its size in bytes as it was listed."""

    url: str
    size: int


def usable(url: str) -> bool:
    """Whether a server at that address can be asked so."""
    parts = urlsplit(url)
    return parts.scheme == "http" and (proxy_bypass(parts.netloc) or "http" not in getproxies())


def fetch(asked: Sequence[Asked]) -> list[bytes | None]:
    """The objects, in order, all of one server; None for each that has to be asked for by itself."""
    found: list[bytes | None] = [None] * len(asked)
    small = [index for index, one in enumerate(asked) if 0 < one.size <= LARGEST]
    if not small or not usable(asked[0].url):
        return found
    with suppress(OSError, ValueError), _connected(asked[0].url) as (connection, answers):
        for start in range(0, len(small), TOGETHER):
            some = small[start : start + TOGETHER]
            connection.sendall(b"".join(_request(asked[index].url) for index in some))
            for index in some:
                body = _body(answers)
                found[index] = body if len(body) == asked[index].size else None
    return found


@contextmanager
def _connected(url: str) -> Iterator[tuple[socket.socket, BufferedReader]]:
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
        connection.settimeout(STALL_SECONDS)
        with closing(connection.makefile("rb")) as answers:
            yield connection, answers


def _request(url: str) -> bytes:
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept-Encoding: identity\r\n\r\n".encode("ascii")


def _body(answers: BufferedReader) -> bytes:
    """The body of the next answer, b"" for one that is not the object; raises ValueError when no more can be read."""
    version, status, *_ = answers.readline(_LONGEST_LINE).split(None, 2)
    length = _length(answers)
    if version != b"HTTP/1.1" or not 0 <= length <= LARGEST:
        raise ValueError("an answer that others cannot follow")
    body = answers.read(length)
    if len(body) < length:
        raise ValueError("an answer that was cut off")
    return body if status == b"200" else b""


def _length(answers: BufferedReader) -> int:
    length = -1
    for _ in range(_MOST_LINES):
        name, _, value = answers.readline(_LONGEST_LINE).partition(b":")
        if name == b"\r\n":
            return length
        if name.lower() == b"transfer-encoding":
            raise ValueError("a body of unknown length")
        if name.lower() == b"content-length":
            length = int(value)
    raise ValueError("a head without an end")
