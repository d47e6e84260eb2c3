"""From an error to OpenAI's shape: https://platform.openai.com/docs/guides/error-codes."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from http import HTTPStatus
from typing import Any

from .. import errors
from ..sampling import Sampling

INVALID, DENIED, MISSING = "invalid_request_error", "authentication_error", "not_found_error"
LIMITED, BUSY, OURS = "rate_limit_error", "overloaded_error", "server_error"
MOST_RETRY_AFTER = 119  # seconds: OpenAI's clients do not try again at all after two minutes and more
_LONGEST, _LONGEST_PARAM = 1000, 200  # characters: an error repeats what is wrong, which may be a megabyte


class ApiError(Exception):
    """A refusal as a client sees it. `param` is the place in the request, `retry_after` is in seconds."""

    def __init__(self, problem: "Problem") -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, as a client sees it."""

    status: int
    message: str
    kind: str = INVALID
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None

    def document(self) -> dict[str, Any]:
        """OpenAI's error object."""
        said = _presentable(" ".join(self.message.split()), _LONGEST)
        param = self.param if self.param is None else _presentable(self.param, _LONGEST_PARAM)
        return {"error": {"message": said, "type": self.kind, "param": param, "code": self.code}}

    def body(self) -> bytes:
        """It as JSON."""
        return json.dumps(self.document()).encode()

    def headers(self) -> dict[str, str]:
        """Retry-After, in whole seconds, where waiting helps; where it cannot, clients are told not to try again."""
        if self.retry_after is None:
            return {"x-should-retry": "false"} if self.kind == LIMITED else {}
        return {"retry-after": str(min(max(1, math.ceil(self.retry_after)), MOST_RETRY_AFTER))}

    def answer(self) -> tuple[dict[str, str], bytes]:
        """The headers and the body of an answer after which the connection is closed."""
        body = self.body()
        own = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        return {**own, **self.headers()}, body

    def encode(self) -> bytes:
        """The whole answer, for where there is nothing yet to give it to."""
        headers, body = self.answer()
        head = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*head, "", ""]).encode() + body


# The first row whose class fits gives status, kind and code.
_ROWS: tuple[tuple[type[errors.RunnerError], int, str, str | None], ...] = (
    (errors.PromptTooLong, 400, INVALID, "context_length_exceeded"),
    (errors.PromptEmpty, 400, INVALID, "prompt_empty"),
    (errors.InvalidSampling, 400, INVALID, "invalid_value"),
    (errors.InvalidTool, 400, INVALID, "invalid_value"),
    (errors.TemplateFailed, 400, INVALID, "template_failed"),
    (errors.ModelNotServed, 404, INVALID, "model_not_found"),
    (errors.OverLimit, 429, LIMITED, "rate_limit_exceeded"),
    (errors.QueueFull, 503, BUSY, "overloaded"),
    (errors.Draining, 503, BUSY, "draining"),
    (errors.EngineStopped, 503, BUSY, "draining"),
    (errors.EngineCrashed, 503, OURS, "engine_crashed"),
    (errors.LoadFailed, 503, OURS, "model_not_loaded"),
)
_SETTINGS = frozenset(field.name for field in fields(Sampling)) | {"n"}
_SETTING = re.compile(r"(?:the )?(\w+)")
_PARAMS = {errors.ModelNotServed: "model", errors.InvalidTool: "tools"}


def problem_of(error: errors.RunnerError) -> Problem:
    """How a client is told of one of our errors."""
    said = f"{error} ({error.hint})" if error.hint else str(error)
    for kind, status, shape, code in _ROWS:
        if isinstance(error, kind):
            retry_after = getattr(error, "retry_after", None)
            return Problem(status, said, shape, _param(error), code, retry_after)
    return Problem(500, said, OURS)


@contextmanager
def place(param: str) -> Iterator[None]:
    """Where in the request that is which cannot be used inside. Raises ApiError for our errors."""
    try:
        yield
    except errors.RunnerError as error:
        raise ApiError(replace(problem_of(error), param=param)) from error


def _param(error: errors.RunnerError) -> str | None:
    if isinstance(error, errors.InvalidSampling):
        # Its message begins with the setting.
        first = _SETTING.match(str(error))
        return first[1] if first and first[1] in _SETTINGS else None
    return _PARAMS.get(type(error))


def _presentable(text: str, most: int) -> str:
    """At most so much of it, without halves of surrogate pairs: those are no text that could be sent."""
    short = text if len(text) <= most else text[:most] + "…"
    return short.encode(errors="replace").decode()
