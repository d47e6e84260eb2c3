"""One client's connection, as uvicorn keeps it, within limits of size and time that uvicorn does not know."""

import asyncio
import re
from asyncio import TimerHandle
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..serve.rules import Live
from .errors import Problem
from .journal import Journal
from .parting import Parting

# httptools takes no body from a request that offers an upgrade, though a server may pass that over: RFC 9110, 7.8.
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_PASSED_OVER = b"\r\noffered:"


class Connection(HttpToolsProtocol):
    """Closes what sends a head too slowly or too large, takes nothing of what it is sent, or is one too many.

    One request is answered after the other: one that comes before the last was answered is not looked at, and the
    connection is closed after that answer, as HTTP allows. `live` and `journal` are set on a class of the server's own:
    uvicorn makes the instances.
    """

    live: ClassVar[Live]
    journal: ClassVar[Journal]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0
        self._reading_head = True
        self._over = False  # it was refused: nothing more of it is looked at
        self._late: TimerHandle | None = None
        self._stalled: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        self._parting = Parting(transport, self.loop, self.live, lambda: self._over or not self._reading_head)
        super().connection_made(self._parting)  # type: ignore[arg-type]
        rules = self.live.rules
        self.timeout_keep_alive = rules.idle_seconds  # type: ignore[assignment]
        self.journal.opened()
        if len(self.connections) > rules.connections:
            self._refuse(Problem(503, "too many connections", "overloaded_error", retry_after=1.0), "connections")
            if len(self.connections) > 2 * rules.connections:
                self._parting.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_late()
        self._stop_stalled()
        self._parting.lost()
        self.journal.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._over or self.transport.is_closing():
            return
        if self._reading_head:
            self._head += len(data)
            if self._late is None:
                self._await_head()
            data = _without_upgrade(data)
        super().data_received(data)
        # What came in one piece may hold a body too: only what is still a head then is counted as one.
        if self._reading_head and self._head > self.live.rules.head and not self._over:
            self._refuse_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came; those behind a body are of no use."""
        if self._reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_late()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.live.rules.head:
            self._refuse_head()
        elif self._busy:
            self._refuse(Problem(400, "the last request was not answered yet"), "pipelined")
        if not self._over:
            super().on_headers_complete()
        self._reading_head = False
        self._head = 0

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["wire"] = self

    @property
    def writable(self) -> bool:
        """Whether parts of the body that is being sent can be written at once."""
        cycle = self.cycle
        return bool(cycle.chunked_encoding) and not (self.flow.write_paused or self.transport.is_closing())

    def write_part(self, data: bytes) -> None:
        """Writes a part of a chunked body: what uvicorn does for an ASGI message, at a fifth of its cost."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        if not self._over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; another may follow."""
        if not self._over:
            super().on_message_complete()
        self._reading_head = True

    def on_response_complete(self) -> None:
        """It is answered. The rest of a body that nobody wants is not waited for."""
        super().on_response_complete()
        if not self._reading_head:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client is slower than its answer."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.live.rules.stall_seconds, self._give_up)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._stop_stalled()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(Problem(400, msg), "not HTTP")

    def _await_head(self) -> None:
        self._late = self.loop.call_later(self.live.rules.head_seconds, self._too_late)

    def _too_late(self) -> None:
        said = f"the head was not there within {self.live.rules.head_seconds:g} s"
        self._refuse(Problem(408, said, code="request_timeout"), "head too late")

    def _give_up(self) -> None:
        self.journal.refused("takes nothing", 0, self._peer)
        self._parting.abort()

    def _refuse_head(self) -> None:
        self._refuse(Problem(431, f"the head has more than {self.live.rules.head} bytes"), "head too large")

    def _refuse(self, problem: Problem, reason: str) -> None:
        self._stop_late()
        if self._over or self.transport.is_closing():
            return
        self._over = True
        if self._busy and self._reading_head:
            self.journal.refused(reason, 0, self._peer)
            self.cycle.keep_alive = False  # what was asked before is answered
            return
        self.journal.refused(reason, problem.status, self._peer)
        if not self._busy or not self.cycle.response_started:
            self.transport.write(problem.encode())
        if self._busy:
            # It is about the body of what is being answered: whoever reads that body is told that there is no more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _stop_late(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    def _stop_stalled(self) -> None:
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""


def _without_upgrade(data: bytes) -> bytes:
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(_PASSED_OVER, head) + end + rest
