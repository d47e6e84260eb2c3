"""A server of `POST /v1/completions` as a target: one thread asks and reads for all, a few microseconds a token."""

import json
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...store.closing import Closing
from ..errors import PeerFailed
from .completion_events import CompletionEvents, error_message
from .http_answer import HttpAnswer
from .target import Arrival, Arrived, Cancel
from .workload import Asked

HOST = "127.0.0.1"
OK = 200
SILENCE_SECONDS = 600.0
PATROL_SECONDS = 5.0  # between two looks for silence
RECEIVE = 16384
REFUSAL = 4096  # bytes of a refusal that are kept, more than a sentence
ONE = Arrival(1)

Body = Callable[[Asked], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answered(Arrival):
    """The last arrival of a request: what HTTP and the last event said.

    `status` is 0 where there was no answer, `retry_after` the seconds to wait that came with a refusal, `prompt_tokens`
    0 where the server does not tell them.
    """

    status: int = 0
    retry_after: float | None = None
    finish_reason: str = ""
    prompt_tokens: int = 0


class HttpTarget(Closing):
    """A server that listens on this machine; `body` says what it is sent for a request, besides `stream`.

    With `keep` connections are used again, where the server does so too. A status other than 200, a connection that is
    cut, an answer without an end and `silence` seconds without a byte are errors of the request; its last arrival is an
    Answered. `keys` are those of owners, by whose names they ask.
    """

    def __init__(
        self, port: int, body: Body, *, name: str, keep: bool = True, silence: float = SILENCE_SECONDS
    ) -> None:
        self.name = name
        self.keys: dict[str, str] = {}
        self._port, self._body, self._keep, self._silence = port, body, keep, silence
        self._patrol = min(PATROL_SECONDS, silence / 2)
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, partial(self._woken.recv, RECEIVE))
        self._todo: deque[Callable[[], None]] = deque()
        self._calls: set[_Call] = set()
        self._idle: list[socket.socket] = []
        self._now = time.monotonic()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"asks {name}", daemon=True)
        self._thread.start()

    def start(self, asked: Asked, arrived: Arrived) -> Cancel:
        """Begin a request, see Target."""
        body = {**self._body(asked), "stream": True}
        request = _request(self._port, body, keep=self._keep, key=self.keys.get(asked.owner))
        call = _Call(request, asked.max_tokens, arrived)
        self._do(partial(self._begin, call))
        return lambda: self._do(partial(self._end, call, "cancelled"))

    def close(self) -> None:
        """Takes back what is under way, and closes every connection."""
        if not self._closed:
            self._closed = True
            self._do(lambda: None)
            self._thread.join()

    def _do(self, act: Callable[[], None]) -> None:
        self._todo.append(act)
        # Where its buffer is full, it wakes anyway.
        with suppress(BlockingIOError):
            self._wake.send(b"\0")

    def _run(self) -> None:
        patrol = self._now + self._patrol
        while not self._closed:
            ready = self._selector.select(self._patrol)
            self._now = time.monotonic()
            for key, _ in ready:
                key.data()
            while self._todo:
                self._todo.popleft()()
            if self._now > patrol:
                patrol = self._now + self._patrol
                self._end_silent()
        self._let_go()

    def _end_silent(self) -> None:
        for call in tuple(self._calls):
            if self._now - call.heard > self._silence:
                self._end(call, f"nothing came for {self._silence:g} s")

    def _let_go(self) -> None:
        for call in tuple(self._calls):
            self._end(call, "cancelled")
        for one in (*self._idle, self._wake, self._woken):
            one.close()
        self._selector.close()

    def _begin(self, call: "_Call") -> None:
        self._calls.add(call)
        call.heard = self._now
        if self._idle:
            call.again = True
            self._use(self._idle.pop(), call)
        else:
            self._connect(call)

    def _connect(self, call: "_Call") -> None:
        try:
            connection = socket.socket()
        except OSError as error:
            self._end(call, _named(error))
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What comes of it is seen when it can be written to.
        connection.connect_ex((HOST, self._port))
        self._use(connection, call)

    def _use(self, connection: socket.socket, call: "_Call") -> None:
        call.connection = connection
        self._selector.register(connection, selectors.EVENT_WRITE, partial(self._send, call, connection))

    def _send(self, call: "_Call", connection: socket.socket) -> None:
        try:
            if number := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number))
            call.unsent = call.unsent[connection.send(call.unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(call, _named(error))
            return
        if not call.unsent:
            self._selector.modify(connection, selectors.EVENT_READ, partial(self._read, call, connection))

    def _read(self, call: "_Call", connection: socket.socket) -> None:
        try:
            received = connection.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(call, _named(error))
            return
        call.heard = self._now
        try:
            over = call.take(received)
        except PeerFailed as error:
            self._end(call, str(error))
            return
        if not received and not call.answer.status:
            self._lost(call, "the connection was cut before an answer")
        elif over:
            self._end(call, call.error)

    def _lost(self, call: "_Call", error: str) -> None:
        if not call.again or call.answer.status:
            self._end(call, error)
            return
        # The server had closed a connection that it kept, before it saw this request.
        call.again, call.unsent = False, call.request
        if call.connection:
            self._selector.unregister(call.connection)
            call.connection.close()
            call.connection = None
        self._connect(call)

    def _end(self, call: "_Call", error: str) -> None:
        if call not in self._calls:
            return
        self._calls.discard(call)
        if call.connection:
            self._selector.unregister(call.connection)
            if self._keep and call.answer.reusable and not call.unsent:
                self._idle.append(call.connection)
            else:
                call.connection.close()
        call.arrived(call.answered(error))


class _Call:
    """One request on its way."""

    def __init__(self, request: bytes, max_tokens: int, arrived: Arrived) -> None:
        self.request = self.unsent = request
        self.arrived = arrived
        self.answer = HttpAnswer()
        self.heard = 0.0
        self.again = False  # on a connection that was used before
        self.connection: socket.socket | None = None
        self._events = CompletionEvents(max_tokens)
        self._refusal = b""

    def take(self, received: bytes) -> bool:
        """Whether it is over with these bytes, of which there are none where the connection ended."""
        if not received:
            self.answer.closed()
            return True
        body = self.answer.feed(received)
        if self.answer.status != OK:
            self._refusal = (self._refusal + body)[:REFUSAL]
        elif tokens := self._events.feed(body):
            self.arrived(ONE if tokens == 1 else Arrival(tokens))
        return self.answer.whole or bool(self._events.error)

    @property
    def error(self) -> str:
        """Why it was not answered, if it was not."""
        if self.answer.status != OK:
            return f"HTTP {self.answer.status}: {_said(self._refusal)}"
        broke_off = "" if self.answer.whole and self._events.finish_reason else "the answer broke off"
        return self._events.error or broke_off

    def answered(self, error: str) -> Answered:
        """Its last arrival."""
        return Answered(
            tokens=0 if error else self._events.unseen,
            ended=True,
            error=error,
            status=self.answer.status,
            retry_after=self.answer.retry_after,
            finish_reason=self._events.finish_reason,
            prompt_tokens=self._events.prompt_tokens,
        )


def _request(port: int, body: Mapping[str, Any], *, keep: bool, key: str | None) -> bytes:
    content = json.dumps(body).encode()
    lines = (
        "POST /v1/completions HTTP/1.1",
        f"Host: {HOST}:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        f"Connection: {'keep-alive' if keep else 'close'}",
        *([f"Authorization: Bearer {key}"] if key else []),
    )
    return "\r\n".join((*lines, "", "")).encode() + content


def _said(refusal: bytes) -> str:
    try:
        return error_message(json.loads(refusal))
    except ValueError:
        return refusal.decode(errors="replace").strip()


def _named(error: OSError) -> str:
    return f"{type(error).__name__}: {error}"
