"""What the OpenAPI document says of answers."""

from typing import Any

from pydantic import BaseModel

from .shapes.answers import ErrorAnswer

ERRORS = {
    400: "The request makes no sense; `param` says where.",
    401: "It has no key, or one that opens nothing.",
    403: "The key is not for this.",
    404: "There is no such model.",
    408: "It came too slowly.",
    413: "It is too large.",
    415: "It is not JSON.",
    429: "The tenant's limits are reached; Retry-After says for how long.",
    500: "A fault of the server's.",
    503: "The server is full, starting or stopping; Retry-After says how long to wait.",
    504: "It took longer than it may.",
}
Responses = dict[int | str, dict[str, Any]]


def answers_of(kind: type[BaseModel], *, stream: bool = False, errors: tuple[int, ...] = tuple(ERRORS)) -> Responses:
    """What a route answers: a document of that kind, events if it can stream, and errors."""
    good: dict[str, Any] = {"model": kind, "description": "The answer."}
    if stream:
        good["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return {200: good, **{status: {"model": ErrorAnswer, "description": ERRORS[status]} for status in errors}}
