"""The only door to httpx: requests go out, bytes come in, and none of its errors leaves.

Nothing is read from the environment: no proxy, no .netrc. What an answer says is not looked at here, but whether it
is an answer at all.
"""

import socket
import ssl
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from ...store.closing import Closing
from ..errors import (
    AnswerBroken,
    ExtraMissing,
    InvalidCall,
    RunnerError,
    ServerRefused,
    ServerSilent,
    ServerUnreachable,
)
from .answers import MAX_ANSWER, Head
from .asked import Call
from .options import ClientOptions
from .refusals import refused

try:
    import httpx
except ImportError as error:
    raise ExtraMissing("httpx", extra="client") from error

MAX_REFUSAL = 64 * 1024  # bytes that are read of an answer that is an error
_FAILURES = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError)
_CLOSED = "Server disconnected"  # what httpcore says of a connection that ends before an answer


class Door(Closing):
    """Connections to the server at `url`, kept open and shared by threads."""

    def __init__(self, url: str, options: ClientOptions) -> None:
        self._url, self._options = url, options
        self._client = httpx.Client(**_settings(url, options))

    def close(self) -> None:
        """Close them."""
        self._client.close()

    def open(self, call: Call) -> "Incoming":
        """The answer to a request, once its head has come: the caller closes it.

        Raises ServerUnreachable, AnswerBroken, and ServerRefused for any status but 200.
        """
        with _asking(self._url, self._options):
            request = _request(self._client, self._url, call)
            incoming = Incoming(self._client.send(request, stream=True), self._options)
        if incoming.head.status == 200:
            return incoming
        with incoming, suppress(RunnerError):
            incoming.read_some(MAX_REFUSAL)
        raise _refused(incoming, self._options)


class AsyncDoor:
    """A Door whose verbs are awaited."""

    def __init__(self, url: str, options: ClientOptions) -> None:
        self._url, self._options = url, options
        self._client = httpx.AsyncClient(**_settings(url, options))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def open(self, call: Call) -> "AsyncIncoming":
        """See Door."""
        with _asking(self._url, self._options):
            request = _request(self._client, self._url, call)
            incoming = AsyncIncoming(await self._client.send(request, stream=True), self._options)
        if incoming.head.status == 200:
            return incoming
        async with incoming:
            with suppress(RunnerError):
                await incoming.read_some(MAX_REFUSAL)
        raise _refused(incoming, self._options)


class _Arriving:
    """An answer of which the head is there; `body` is what was read of the rest."""

    def __init__(self, response: httpx.Response, options: ClientOptions) -> None:
        self.head = Head(response.status_code, dict(response.headers))
        self.body = bytearray()
        self._response, self._options = response, options

    def cut(self) -> None:
        """Ends the connection under whoever reads from it, from any thread; nothing once the answer was read."""
        if self._response.is_closed:
            return  # the connection may be another request's by now
        found = self._response.extensions["network_stream"].get_extra_info("socket")
        # It may have ended by itself. Closing it would not wake whoever waits for it.
        with suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)

    def _took(self, piece: bytes, most: int) -> bool:
        self.body += piece
        return len(self.body) <= most


class Incoming(_Arriving, Closing):
    """An answer that arrives. Closing it before its end closes the connection."""

    def close(self) -> None:
        """Let the connection go: to the next request if the answer was read to its end."""
        self._response.close()

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes. Raises ServerSilent and AnswerBroken."""
        with _receiving(self._options):
            yield from self._response.iter_raw()

    def read(self) -> bytes:
        """The body. Raises ServerSilent and AnswerBroken."""
        if not self.read_some(MAX_ANSWER):
            raise _too_long()
        return bytes(self.body)

    def read_some(self, most: int) -> bool:
        """Read the body up to a little more than `most` bytes; whether it is no longer than that."""
        return all(self._took(piece, most) for piece in self.pieces())


class AsyncIncoming(_Arriving):
    """An Incoming whose verbs are awaited."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._response.aclose()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """See Incoming."""
        with _receiving(self._options):
            async for piece in self._response.aiter_raw():
                yield piece

    async def read(self) -> bytes:
        """See Incoming."""
        if not await self.read_some(MAX_ANSWER):
            raise _too_long()
        return bytes(self.body)

    async def read_some(self, most: int) -> bool:
        """See Incoming."""
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                if not self._took(piece, most):
                    return False
        return True


def _settings(url: str, options: ClientOptions) -> dict[str, Any]:
    # Bytes are taken as they come: compressed, the pieces of a stream would wait for each other.
    headers = {"User-Agent": "llstore", "Accept-Encoding": "identity"}
    if options.key is not None:
        headers["Authorization"] = f"Bearer {options.key}"
    return {
        "headers": headers,
        "timeout": httpx.Timeout(options.timeout, connect=options.connect_timeout, pool=None),
        # A stream holds a connection for as long as somebody reads it: a limit would make the next one wait for that.
        "limits": httpx.Limits(max_connections=None),
        "trust_env": False,
        "verify": _certificates(url, options),
    }


def _certificates(url: str, options: ClientOptions) -> ssl.SSLContext | bool:
    if not url.startswith("https:"):
        return False  # nothing is encrypted; loading them takes 20 ms
    try:
        return ssl.create_default_context(cafile=options.ca)
    except OSError as error:
        raise InvalidCall(f"{options.ca}: no certificates can be read from it", hint="a file in PEM format") from error


def _request(client: httpx.Client | httpx.AsyncClient, url: str, call: Call) -> httpx.Request:
    if client.is_closed:
        raise InvalidCall("the client was closed", hint="make another one")
    headers = {"Accept": "text/event-stream" if call.stream else "application/json"}
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    return client.build_request(call.method, url + call.path, content=call.body, headers=headers)


def _refused(incoming: _Arriving, options: ClientOptions) -> ServerRefused:
    head = incoming.head
    return refused(head.status, bytes(incoming.body), headers=head.headers, key=options.key, now=time.time())


def _too_long() -> AnswerBroken:
    return AnswerBroken(f"the server answers with more than {MAX_ANSWER} bytes", hint="stream it")


@contextmanager
def _asking(url: str, options: ClientOptions) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise _unanswered(error, url, options) from error


@contextmanager
def _receiving(options: ClientOptions) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise _silent("the server", options) from error
    except _FAILURES as error:
        raise AnswerBroken("the server's answer broke off: the connection ended", hint="ask again") from error


def _unanswered(error: Exception, url: str, options: ClientOptions) -> RunnerError:
    if isinstance(error, httpx.ConnectTimeout):
        return ServerUnreachable(f"{url} takes no connection within {options.connect_timeout:g} s")
    if isinstance(error, httpx.TimeoutException):
        return _silent(url, options)
    if isinstance(error, httpx.ConnectError):
        return _unconnected(error, url)
    if isinstance(error, httpx.NetworkError) or _CLOSED in str(error):
        return ServerUnreachable(f"{url} closed the connection instead of answering", hint="is it still running?")
    if isinstance(error, httpx.RemoteProtocolError):
        return AnswerBroken(f"what answers at {url} does not speak HTTP/1.1", hint="check the address")
    return InvalidCall(f"nothing can be sent to {url}: {type(error).__name__}", hint="check the address")


def _unconnected(error: Exception, url: str) -> ServerUnreachable:
    cause: BaseException | None = error
    while cause and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause:
        why = getattr(cause, "verify_message", "") or "no encryption that both sides know"
        return ServerUnreachable(f"{url} is not trusted: {why}", hint="check the address, or give ca", repeatable=False)
    return ServerUnreachable(f"no server answers at {url}: {error}", hint="start one: llstore serve")


def _silent(who: str, options: ClientOptions) -> ServerSilent:
    hint = "a longer timeout, or stream()"
    return ServerSilent(f"{who} has sent nothing for {options.timeout:g} s", hint=hint, repeatable=False)
