"""Connections to HTTP servers, kept open and shared by threads. The only door to urllib3."""

import re
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError, ProtocolError, SSLError

from ..closing import Closing
from ..errors import InvalidUrl, KeyNotFound, NoSpace, Refused, StoreError, Unreachable
from .base import STALL_SECONDS

CONNECT_SECONDS = 5.0
PIECE = 256 * 1024  # small enough for malloc to reuse: fresh megabytes would cost a page fault every 4 KiB
LONGEST = 64 * 1024 * 1024  # bytes of an answer that is taken whole

_MAY_REPEAT = ("GET", "HEAD", "PUT", "DELETE")  # doing it twice is doing it once
_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
_CONTENT_RANGE = re.compile(r"bytes[ =]\s*(\d+)-(\d+)/(?:\d+|\*)", re.IGNORECASE)
_FULL = re.compile(rb"no space|no (?:more )?(?:writable|free) volume|insufficient storage", re.IGNORECASE)

_OWN_NAME = re.compile(r"^\w*(?:Connection|Pool)\([^)]*\): ")  # urllib3 begins with the object that failed


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
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.clear()

    def ask(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Answer:
        """One request and its whole answer, whatever its status; `body` is bytes or an iterable of them.

        An iterable wants a Content-Length among `headers`, and must give just as many bytes; what it raises comes out
        as it is, after the connection was cut. Raises Unreachable.
        """
        try:
            with _translated(url):
                return self._answer(method, url, headers=headers, body=body)
        except _SourceFailed as failed:
            reason = failed.reason
        raise reason

    def read(
        self,
        url: str,
        *,
        start: int = 0,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
        accepts: Callable[[Answer], bool] | None = None,
    ) -> Generator[bytes, None, None]:
        """The bytes at `url` from `start`, `length` of them or all, in pieces; raises Unreachable or Declined.

        None when the object ends before `start`. A server that sends the whole object instead of the range is read up
        to the range's end, and `ranges` is False from then on. `accepts` sees the answer's head before its bytes are
        taken, and may decline it. An answer that is shorter than its own head says is Unreachable.
        """
        if length == 0:
            return
        ranged = start > 0 or length is not None
        asked = dict(headers or {})
        if ranged:
            asked["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with _translated(url):
            answer = self._request("GET", url, headers=asked)
            try:
                if ranged and answer.status == 416:
                    return
                if answer.status not in (200, 206):
                    raise Declined(Answer(answer.status, answer.headers, answer.read(PIECE)))
                if accepts and not accepts(Answer(answer.status, answer.headers)):
                    raise Declined(Answer(answer.status, answer.headers))
                span = _span(answer, url, start=start) if ranged else None
                if ranged and not span and answer.headers.get("Content-Length") != "0":
                    self.ranges = False
                yield from _pieces(answer, url, span or range(0), start=start, length=length)
            finally:
                _let_go(answer)

    def first_byte(self, url: str) -> Answer:
        """The head of an answer that has the object's first byte, or all of it: for a server that does not tell an
        object's size when it is asked for its head alone. Raises Unreachable or Declined."""
        # An empty object has no first byte: the range is answered with 416, and the object is asked for whole.
        found = self._opened(url, length=1) or self._opened(url, length=None)
        if found is None:
            raise Unreachable(f"{shown(url)} does not tell its size", hint="check the address")
        return found

    def _opened(self, url: str, *, length: int | None) -> Answer | None:
        heads: list[Answer] = []

        def note(head: Answer) -> bool:
            heads.append(head)
            return True

        with closing(self.read(url, length=length, accepts=note)) as pieces:
            next(pieces, b"")
        return heads[0] if heads else None

    def _answer(self, method: str, url: str, *, headers: Mapping[str, str] | None, body: Any) -> Answer:
        answer = self._request(method, url, headers=headers, body=body)
        data = bytearray()
        try:
            # Read until nothing comes: only then does urllib3 compare what came with what was promised.
            while piece := answer.read(PIECE):
                data += piece
                if len(data) > LONGEST:
                    raise Unreachable(f"{shown(url)} answers with more than {LONGEST} bytes", hint="check the address")
        finally:
            _let_go(answer)
        return Answer(answer.status, answer.headers, bytes(data))

    def _request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None, body: Any = None
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._send(method, url, headers=headers, body=body)
        except (ProtocolError, SSLError) as error:
            whole = body is None or isinstance(body, bytes | bytearray | memoryview)
            if method not in _MAY_REPEAT or not whole or not any(isinstance(cause, _CLOSED) for cause in error.args):
                raise
        # The server had closed an idle connection, and may have closed them all.
        self._pool.clear()
        return self._send(method, url, headers=headers, body=body)

    def _send(self, method: str, url: str, *, headers: Mapping[str, str] | None, body: Any) -> urllib3.BaseHTTPResponse:
        sent = dict(headers or {})
        if isinstance(body, bytes | bytearray | memoryview):
            sent["Content-Length"], body = str(len(body)), (body,)
        return self._pool.request(
            method,
            url,
            headers=sent,
            body=None if body is None else _slices(body),
            preload_content=False,
            decode_content=False,
            redirect=False,
        )


def whole_size(answer: Answer) -> int | None:
    """The whole object's size, as the head of an answer tells it."""
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    text = whole or answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def failure(answer: Answer, url: str, *, key: str) -> StoreError:
    """What an answer other than yes means, about the object `key` of the store at `url`, which holds no secret."""
    status, key = answer.status, key or "/"
    if status in (404, 410):
        return KeyNotFound(f"no object {key} in {url}")
    if status == 507 or (status >= 400 and _FULL.search(answer.body)):
        return NoSpace(f"{url} has no space left (HTTP {status})")
    if status >= 500 or status in (408, 429):
        return Unreachable(f"{url} fails for {key} (HTTP {status})", hint="try again later")
    if status in (401, 403):
        return Refused(f"{url} refused {key} (HTTP {status})", hint="check who may use it")
    return Refused(f"{url} answered HTTP {status} for {key}", hint="check the store URL")


def shown(url: str) -> str:
    """A URL as it may be printed: a query can hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _SourceFailed(Exception):
    """The body's own source raised. Wrapped, lest an OSError of a file be taken for one of the network."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        # urllib3 would send under the time that connecting may take.
        self.sock.settimeout(STALL_SECONDS)


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(STALL_SECONDS)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _slices(chunks: Iterable[bytes | bytearray | memoryview]) -> Iterator[Any]:
    # A socket's time-out is for a whole send: of 8 MiB it would be a demand on the speed.
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            for at in range(0, len(view), PIECE):
                yield view[at : at + PIECE]
    except Exception as error:
        raise _SourceFailed(error) from error


def _let_go(answer: urllib3.BaseHTTPResponse) -> None:
    # An answer read to its end gave its connection back already. Any other connection still holds the rest of it.
    answer.close()
    answer.release_conn()


def _pieces(
    answer: urllib3.BaseHTTPResponse, url: str, span: range, *, start: int, length: int | None
) -> Iterator[bytes]:
    """The bytes from `start` of an answer that has those of `span`, if it says so, or else the whole object."""
    skip, due, left, done = start - span.start, max(span.stop - start, 0), length, 0
    if length is not None:
        due = min(due, length)
    while left is None or left > 0:
        piece = answer.read(PIECE)
        if not piece:
            break
        dropped = min(skip, len(piece))
        skip -= dropped
        if dropped or left is not None:
            piece = piece[dropped:] if left is None else piece[dropped : dropped + left]
        left = None if left is None else left - len(piece)
        done += len(piece)
        # While bytes are skipped, an empty piece says that they still come.
        yield piece
    if done < due:
        raise Unreachable(f"{shown(url)} ended after {done} of {due} bytes", hint="try again")


def _span(answer: urllib3.BaseHTTPResponse, url: str, *, start: int) -> range | None:
    """Which bytes an answer has, if it says so; some servers send a part with status 200."""
    said = answer.headers.get("Content-Range", "")
    if answer.status == 200 and not said:
        return None
    found = _CONTENT_RANGE.match(said)
    if not found or not int(found[1]) <= start <= int(found[2]):
        raise Unreachable(f"{shown(url)} sent another range than was asked for", hint="try again")
    return range(int(found[1]), int(found[2]) + 1)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except LocationValueError as error:
        raise InvalidUrl(f"cannot use {shown(url)}", hint="check the host and the port") from error
    except SSLError as error:
        reason = getattr(error.args[0], "verify_message", "") if error.args else ""
        if not reason:
            raise _unreachable(url, error) from error
        host = urlsplit(url).hostname
        raise Unreachable(
            f"the certificate of {host} is not trusted: {reason}", hint="check the host name, and who signed for it"
        ) from error
    except (HTTPError, OSError) as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> Unreachable:
    # urllib3 says "Connection aborted." and keeps what happened beside it.
    inner = error.args[-1] if isinstance(error, ProtocolError) and isinstance(error.args[-1], Exception) else error
    reason = _OWN_NAME.sub("", " ".join(str(inner).split())) or type(inner).__name__
    query = urlsplit(url).query
    reason = reason.replace(query, "…") if query else reason
    return Unreachable(f"cannot reach {shown(url)}: {reason[:200]}", hint="check the address and the network")
