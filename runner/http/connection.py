"""One client's connection, as uvicorn keeps it, within limits of size and time that uvicorn does not know."""

import asyncio
from asyncio import TimerHandle
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..serve.rules import Live
from .errors import Problem
from .journal import Journal


class Connection(HttpToolsProtocol):
    """Closes what sends a head too slowly or too large, takes nothing of what it is sent, or is one too many.

    `live` and `journal` are set on a class of the server's own: uvicorn makes the instances.
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
        super().connection_made(transport)
        self.journal.opened()
        if len(self.connections) > self.live.rules.connections:
            self._refuse(Problem(503, "too many connections", "overloaded_error", retry_after=1.0), "connections")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._cancel()
        self.journal.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.transport.is_closing():
            return
        if self._reading_head:
            self._head += len(data)
            if self._late is None:
                self._await_head()
        super().data_received(data)
        # What came in one piece may hold a body too: only what is still a head then is counted as one.
        if self._reading_head and self._head > self.live.rules.head and not self.transport.is_closing():
            self._refuse(Problem(431, f"the head has more than {self.live.rules.head} bytes"), "head too large")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._reading_head = False
        self._head = 0
        self._cancel()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.live.rules.head:
            self._refuse(Problem(431, f"the head has more than {self.live.rules.head} bytes"), "head too large")
        if not self._over:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        if not self._over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; another may follow."""
        if not self._over:
            super().on_message_complete()
        self._reading_head = True

    def pause_writing(self) -> None:
        """The client is slower than its answer."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.live.rules.stall_seconds, self._give_up)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(Problem(400, msg), "not HTTP")

    def _await_head(self) -> None:
        self._late = self.loop.call_later(self.live.rules.head_seconds, self._too_late)

    def _too_late(self) -> None:
        said = f"the head was not there within {self.live.rules.head_seconds:g} s"
        self._refuse(Problem(408, said, code="request_timeout"), "head too late")

    def _give_up(self) -> None:
        self.journal.refused("takes nothing", self._peer)
        self.transport.abort()

    def _refuse(self, problem: Problem, reason: str) -> None:
        self._cancel()
        self._over = True
        if not self.transport.is_closing():
            self.journal.refused(reason, self._peer)
            self.transport.write(problem.encode())
            self.transport.close()

    def _cancel(self) -> None:
        for timer in (self._late, self._stalled):
            if timer:
                timer.cancel()
        self._late = self._stalled = None

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""
