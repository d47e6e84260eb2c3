"""A request's body, read whole within limits before anything looks at it."""

import asyncio
import re
from dataclasses import dataclass

from ..serve.rules import Live
from .asgi import App, Message, Receive, Scope, Send
from .errors import BUSY, ApiError, Problem

MAX_VALUES = 1 << 17
MAX_KEYS = 1 << 14  # each may be a mistake of its own

# A string need not end, so that no second quote has to be tried: that takes time linear in the size.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Bodies:
    """Reads bodies, each and all of them within the rules, for the application behind it."""

    def __init__(self, app: App, live: Live) -> None:
        self._app = app
        self._live = live
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS", "DELETE"):
            await self._app(scope, receive, send)
            return
        reading = _Reading(bytearray())
        try:
            async with asyncio.timeout(self._live.rules.body_seconds):
                await self._read(scope, receive, reading)
        except TimeoutError:
            said = f"the body was not there within {self._live.rules.body_seconds:g} s"
            raise ApiError(Problem(408, said, code="request_timeout")) from None
        finally:
            self._held -= reading.counted
        if reading.gone:
            return
        check_shape(reading.data, self._live.rules.depth)
        await self._app(scope, _again(bytes(reading.data), receive), send)

    async def _read(self, scope: Scope, receive: Receive, reading: "_Reading") -> None:
        self._check(_announced(scope))
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                reading.gone = True
                return
            part = message.get("body", b"")
            reading.data += part
            reading.counted += len(part)
            self._held += len(part)
            self._check(len(reading.data))
            more = message.get("more_body", False)

    def _check(self, size: int) -> None:
        if size > self._live.rules.body:
            said = f"the body has more than {self._live.rules.body} bytes"
            raise ApiError(Problem(413, said, code="body_too_large"))
        if self._held > self._live.rules.bodies:
            raise ApiError(Problem(503, "too much is being sent at once", BUSY, code="overloaded", retry_after=1.0))


@dataclass(slots=True)
class _Reading:
    data: bytearray
    counted: int = 0
    gone: bool = False


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _again(data: bytes, receive: Receive) -> Receive:
    """Gives the body first, then whatever else comes: that the client is gone."""
    given = False

    async def first() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": data, "more_body": False}

    return first


def check_shape(data: bytes | bytearray, most: int) -> None:
    """Raises ApiError for JSON nested more than `most` deep, or of so many values that to read it would hold up others.

    Works at the speed of C: each round takes out the innermost brackets.
    """
    if b"\0" in data:
        # Python would read it as UTF-16 or UTF-32, in which quotes and brackets are not where they seem to be.
        raise ApiError(Problem(400, "the body is not UTF-8", code="invalid_json"))
    many = data.count(b'"') - data.count(b'\\"') > 4 * MAX_VALUES
    marks = b"" if many else _STRING.sub(b"", data)
    if many or marks.count(b",") + marks.count(b"[") + marks.count(b"{") > MAX_VALUES:
        raise ApiError(Problem(400, f"the body has more than {MAX_VALUES} values", code="invalid_json"))
    if marks.count(b":") > MAX_KEYS:
        raise ApiError(Problem(400, f"the body's objects have more than {MAX_KEYS} keys", code="invalid_json"))
    left = marks.translate(None, _NO_BRACKETS)
    for _ in range(most):
        shorter = left.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) == len(left):
            return
        left = shorter
    if left:
        raise ApiError(Problem(400, f"the body is nested more than {most} deep", code="invalid_json"))
