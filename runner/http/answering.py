"""Sends what an engine answers: whole, or as server-sent events while it is made."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from starlette.responses import Response

from ..engine.request import End, TokenLogprobs, Update
from ..errors import RunnerError
from ..serve.flow import Flow, Item
from .asgi import Receive, Scope, Send
from .errors import OURS, ApiError, Problem, problem_of

MODEL = "llstore-model"  # the header that has the model's digest
HEAD_SECONDS = 5.0  # so long a stream's status waits for the first token, which may show that there is none
SETTLE_SECONDS = 1.0  # for what was cancelled to have ended
REMARK_SECONDS = 15.0  # between two signs of life where no token comes
_REMARK = b": still here\n\n"


@dataclass(slots=True)
class Collected:
    """One answer so far."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    end: End | None = None

    def add(self, update: Update) -> None:
        """What came next."""
        self.texts.append(update.text)
        self.tokens += update.tokens
        self.logprobs += update.logprobs
        self.end = update.end or self.end

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)


class Teller(Protocol):
    """Puts answers into the words of one route. An event is bytes that are ready to be sent."""

    def whole(self, answers: Sequence[Collected]) -> dict[str, Any]:
        """The document of answers that are complete."""

    def opening(self) -> bytes:
        """The events before the first token."""

    def told(self, number: int, update: Update) -> bytes:
        """The events of one update."""

    def closing(self, answers: Sequence[Collected]) -> bytes:
        """The events after the last."""

    def failed(self, problem: Problem) -> bytes:
        """The event that ends a stream which cannot be completed."""


class Wire(Protocol):
    """A connection that a part of a body can be written to at once."""

    @property
    def writable(self) -> bool:
        """Whether it can be written to: a client that does not keep up is waited for."""

    def write_part(self, data: bytes) -> None:
        """Writes a part of a body."""


class Answering(Response, ABC):
    """The answer to a call. The call is cancelled when the client leaves before its end."""

    def __init__(self, flow: Flow, teller: Teller) -> None:
        self.flow = flow
        self.teller = teller
        self.answers = [Collected() for _ in flow.call.prompts]
        self.wire: Wire | None = None
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        scope["state"]["account"] = self.flow.account
        self.wire = scope["state"].get("wire")
        watch = asyncio.create_task(self._watch(receive))
        try:
            await self.send_answer(send)
        finally:
            watch.cancel()
            self.flow.close()
            # The log is to say how it ended.
            await self.flow.settle(SETTLE_SECONDS)

    @abstractmethod
    async def send_answer(self, send: Send) -> None:
        """Sends status, headers and body."""

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.flow.close()

    def headers_of(self, content_type: str, more: Iterable[tuple[str, str]] = ()) -> list[tuple[bytes, bytes]]:
        """The headers of an answer."""
        pairs = [("content-type", content_type), (MODEL, str(self.flow.call.model.digest)), *more]
        return [(name.encode(), value.encode()) for name, value in pairs]

    def take_in(self, items: Iterable[Item]) -> list[tuple[int, Update]]:
        """Adds to the answers what has come. Raises ApiError for one that failed."""
        updates = []
        for number, item in items:
            if isinstance(item, RunnerError):
                raise ApiError(problem_of(item))
            self.answers[number].add(item)
            updates.append((number, item))
            if item.end and item.end.reason in ("error", "cancelled", "timeout"):
                raise ApiError(_ended(item.end))
        return updates

    @property
    def complete(self) -> bool:
        """Whether all answers have ended."""
        return all(answer.end for answer in self.answers)


class Whole(Answering):
    """One JSON document, once everything is there."""

    async def send_answer(self, send: Send) -> None:
        """Waits for the end first."""
        while not self.complete:
            items = await self.flow.take()
            if self.flow.closed:
                return
            self.take_in(items)
        body = json.dumps(self.teller.whole(self.answers)).encode()
        headers = self.headers_of("application/json", [("content-length", str(len(body)))])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Stream(Answering):
    """Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

    _waits = False  # for what comes next, with all else sent

    async def send_answer(self, send: Send) -> None:
        """What fails before the first token is an error with a status of its own; later it is an event."""
        clock = _Clock(self.flow, HEAD_SECONDS)
        try:
            await self._send_events(send, clock)
        finally:
            clock.stop()

    async def _send_events(self, send: Send, clock: "_Clock") -> None:
        items = await self.flow.take()
        if self.flow.closed:
            return
        updates = self.take_in(items)
        headers = self.headers_of("text/event-stream", [("cache-control", "no-store"), ("x-accel-buffering", "no")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        data = self.teller.opening() + self._events(updates)
        clock.seconds = REMARK_SECONDS
        if self.wire:
            self.flow.direct = partial(self._write, self.wire, clock)
        while not self.complete:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            self._waits = True
            items = await self.flow.take()
            self._waits = False
            clock.busy = True
            if self.flow.closed:
                return
            try:
                data = self._events(self.take_in(items)) if items else _REMARK
            except ApiError as error:
                await send({"type": "http.response.body", "body": self.teller.failed(error.problem)})
                return
        await send({"type": "http.response.body", "body": data + self.teller.closing(self.answers)})

    def _write(self, wire: Wire, clock: "_Clock", number: int, update: Update) -> bool:
        """Writes what has come, if all before it is written."""
        if not self._waits or not wire.writable:
            return False
        clock.busy = True
        self.answers[number].add(update)
        data = self.teller.told(number, update)
        if data:
            wire.write_part(data)
        return True

    def _events(self, updates: Iterable[tuple[int, Update]]) -> bytes:
        return b"".join(self.teller.told(number, update) for number, update in updates)


class _Clock:
    """Wakes who waits for a flow once nothing came for `seconds`. A timer for every wait would cost more than a token.

    `busy` says that something has come since it looked last.
    """

    def __init__(self, flow: Flow, seconds: float) -> None:
        self.seconds = seconds
        self.busy = False
        self._flow = flow
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._look)

    def stop(self) -> None:
        """It wakes nobody any more."""
        self._timer.cancel()

    def _look(self) -> None:
        if not self.busy:
            self._flow.wake()
        self.busy = False
        self._timer = self._loop.call_later(self.seconds, self._look)


def event(document: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _ended(end: End) -> Problem:
    if end.reason == "error":
        return Problem(500, end.error, OURS, code="engine_failed")
    if end.reason == "timeout":
        return Problem(504, "the answer took longer than it may", OURS, code="timeout")
    return Problem(503, "the server stops before the answer is complete", OURS, code="draining", retry_after=1.0)
