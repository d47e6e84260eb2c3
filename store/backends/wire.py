"""Connections to HTTP servers, kept open and shared by threads. The only door to urllib3."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError

from ..closing import Closing
from ..errors import InvalidUrl, Unreachable
from .base import STALL_SECONDS

CONNECT_SECONDS = 5.0
PIECE = 256 * 1024  # small enough for malloc to reuse: fresh megabytes would cost a page fault every 4 KiB


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status, its headers (names in any case) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Declined(Exception):
    """The server answered a read with something else than the bytes. Never leaves a backend."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


class Wire(Closing):
    """A pool of connections. `ca` is a file of certificates to trust instead of the system's.

    A proxy is taken from where every HTTP client takes it (`http_proxy`, `https_proxy`, `no_proxy`).
    """

    def __init__(self, url: str, *, connections: int = 16, ca: str | None = None) -> None:
        self.ranges = True
        settings: dict[str, Any] = {
            "maxsize": connections,
            "retries": False,
            "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=STALL_SECONDS),
        }
        if ca:
            settings["ca_certs"] = ca
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
        with _translated(url):
            self._pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.clear()

    def ask(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """One request and its whole answer, whatever its status; `body` is bytes or an iterable of them.

        Raises Unreachable.
        """
        with _translated(url):
            answer = self._pool.request(method, url, headers=headers, body=body, redirect=False)
            return Answer(answer.status, answer.headers, answer.data)

    def read(
        self, url: str, *, start: int = 0, length: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[bytes]:
        """The bytes at `url` from `start`, `length` of them or all, in pieces; raises Unreachable or Declined.

        A server that sends the whole object instead of the range is read up to the range's end, and `ranges` is
        False from then on.
        """
        asked = dict(headers or {})
        if start or length is not None:
            asked["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with _translated(url):
            answer = self._pool.request(
                "GET", url, headers=asked, preload_content=False, decode_content=False, redirect=False
            )
            try:
                yield from self._pieces(answer, url, start=start, length=length)
            finally:
                # What was read to its end goes back to the pool; anything else must not be used again.
                answer.close() if answer.length_remaining else answer.release_conn()

    def _pieces(self, answer: urllib3.BaseHTTPResponse, url: str, *, start: int, length: int | None) -> Iterator[bytes]:
        if answer.status not in (200, 206):
            raise Declined(Answer(answer.status, answer.headers, answer.read(1 << 20)))
        skip = 0
        if answer.status == 200 and (start or length is not None):
            self.ranges, skip = False, start
        elif answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise Unreachable(f"{_shown(url)} sent another range than was asked for", hint="try again")
        left = length
        while left is None or left > 0:
            piece = answer.read(PIECE)
            if not piece:
                return
            dropped = min(skip, len(piece))
            skip -= dropped
            piece = piece[dropped:] if left is None else piece[dropped : dropped + left]
            left = None if left is None else left - len(piece)
            if piece:
                yield piece


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except LocationValueError as error:
        raise InvalidUrl(f"cannot use {_shown(url)}: {error}") from error
    except (HTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise Unreachable(f"cannot reach {_shown(url)}: {reason}", hint="check the address and the network") from error


def _shown(url: str) -> str:
    # A query can hold a signature.
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
