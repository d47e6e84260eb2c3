"""What the OpenAPI document says of answers."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from .errors import MOST_RETRY_AFTER
from .shapes.answers import ErrorAnswer

ERRORS = {
    400: "The request makes no sense; `param` says where.",
    401: "It has no key, or one that opens nothing.",
    403: "The key is not for this, or the request is addressed to another host.",
    404: "There is no such model.",
    408: "It came too slowly.",
    413: "It is too large.",
    415: "It is not JSON.",
    429: "The tenant's limits are reached; Retry-After says for how long.",
    431: "Its head is too large.",
    500: "A fault of the server's.",
    503: "The server is full, starting or stopping; Retry-After says how long to wait.",
    504: "It took longer than it may.",
}
ANYWHERE = (401, 403, 431, 500, 503)  # also of what has no body
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_RETRY_AFTER},
    }
}
_DATA = {"type": "string", "description": "A chunk of the answer or an error, as JSON; at last [DONE]."}
_EVENT = {"type": "object", "properties": {"data": _DATA}, "required": ["data"]}
Responses = dict[int | str, dict[str, Any]]


class Api(FastAPI):
    """An application whose document has no answers that are never given."""

    def openapi(self) -> dict[str, Any]:
        """FastAPI's, without its own form of errors."""
        if self.openapi_schema:
            return self.openapi_schema
        found = super().openapi()
        for path in found["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            found["components"]["schemas"].pop(name, None)
        return found


def answers_of(kind: type[BaseModel], *, stream: bool = False, errors: tuple[int, ...] = tuple(ERRORS)) -> Responses:
    """What a route answers: a document of that kind, events if it can stream, and errors."""
    good: dict[str, Any] = {"model": kind, "description": "The answer."}
    if stream:
        good["content"] = {"text/event-stream": {"itemSchema": _EVENT}}
    return {200: good, **errors_of(errors)}


def errors_of(statuses: tuple[int, ...]) -> Responses:
    """Errors that a route answers with."""
    return {status: _error(status) for status in statuses}


def _error(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"model": ErrorAnswer, "description": ERRORS[status]}
    return {**found, "headers": _RETRY_AFTER} if status in (429, 503) else found
