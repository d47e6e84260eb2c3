"""Around every request: its id, its line in the log, and an answer in OpenAI's shape whatever went wrong."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import RunnerError
from ..serve.call import Caller
from .asgi import App, Message, Receive, Scope, Send
from .errors import OURS, ApiError, Problem, problem_of

ID = "x-request-id"
_PLAIN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(slots=True)
class Exchange:
    """A request and what became of it. `seconds` are those until its answer was sent, `refusal` says why it failed."""

    id: str
    method: str
    path: str
    peer: str
    status: int = 0
    seconds: float = 0.0
    refusal: str = ""
    caller: Caller | None = None
    fault: BaseException | None = None


class Envelope:
    """The outermost application. `done` is called once for each request."""

    def __init__(self, app: App, done: Callable[[Exchange, Scope], None]) -> None:
        self._app = app
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _begun(scope)
        scope["state"]["request"] = exchange.id
        began = time.perf_counter()

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (ID.encode(), exchange.id.encode())]
            await send(message)

        try:
            await self._guarded(scope, receive, marked, exchange)
        finally:
            exchange.seconds = time.perf_counter() - began
            exchange.caller = scope["state"].get("caller")
            self._done(exchange, scope)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            problem = _problem(error)
            exchange.refusal = problem.message
            if problem.status == 500:
                exchange.fault = error
            if exchange.status:
                # The answer has begun: it can only be cut off, so that nobody takes it for whole.
                raise ConnectionAbortedError("an answer was cut off") from error
            await answer(problem, send)


def _problem(error: Exception) -> Problem:
    if isinstance(error, ApiError):
        return error.problem
    if isinstance(error, RunnerError):
        return problem_of(error)
    return Problem(500, "a fault in llstore itself; the server's log has it under this request's id", OURS)


async def answer(problem: Problem, send: Send) -> None:
    """Sends a problem as a whole answer. The connection is closed: a body may not have been read."""
    headers, body = problem.answer()
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _begun(scope: Scope) -> Exchange:
    told = next((value for name, value in scope["headers"] if name == ID.encode()), b"").decode("latin-1")
    id = told if _PLAIN_ID.fullmatch(told) else f"req-{secrets.token_hex(12)}"
    peer = scope.get("client")
    return Exchange(id, scope["method"], scope["path"], peer[0] if peer else "")
