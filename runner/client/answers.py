"""Whole answers out of JSON, read strictly: AnswerBroken for what is not there or of another type."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...store import Digest, StoreError
from ..errors import AnswerBroken
from .completion import Completion, ServedModel, ToolCall

MAX_ANSWER = 64 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What of an answer comes before its body; the names of `headers` have small letters."""

    status: int
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str | None:
        """What finds the request in the server's log."""
        return self.headers.get("x-request-id")


def document(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`."""
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise AnswerBroken("the server's answer is no JSON", hint="is it a llstore serve?") from error
    if not isinstance(found, dict):
        raise AnswerBroken("the server's answer is no JSON object")
    return found


def completion(head: Head, data: bytes, *, chat: bool, latency_ms: float) -> Completion:
    """The answer to a prompt or, with `chat`, to messages."""
    found = document(data)
    choice = only_choice(found)
    message = part(choice, "message") if chat else choice
    tokens, prompt_tokens = usage(found)
    return Completion(
        text=text(message, "content", optional=True) if chat else text(choice, "text"),
        latency_ms=latency_ms,
        first_token_ms=None,
        tokens=tokens,
        prompt_tokens=prompt_tokens,
        finish_reason=text(choice, "finish_reason"),
        digest=digest(head, found),
        receipt=receipt(found),
        request_id=head.request_id,
        tool_calls=tuple(_calls(message)),
    )


def models(data: bytes) -> tuple[ServedModel, ...]:
    """The models that a server lists."""
    listed = document(data).get("data")
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise AnswerBroken("the server's list of models has no data")
    return tuple(ServedModel(text(row, "id"), _digest(row.get("digest") or row["id"]), row) for row in listed)


def tokens(data: bytes) -> tuple[int, ...]:
    """The tokens of a text."""
    found = document(data).get("tokens")
    if not isinstance(found, list) or not all(type(token) is int for token in found):
        raise AnswerBroken("the server's answer has no tokens")
    return tuple(found)


def content(data: bytes) -> str:
    """The text of tokens."""
    return text(document(data), "content")


def only_choice(found: Mapping[str, Any]) -> dict[str, Any]:
    """The one choice of an answer."""
    choices = found.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise AnswerBroken("the server's answer has no choice, or several")
    return choices[0]


def usage(found: Mapping[str, Any]) -> tuple[int, int]:
    """How many tokens were generated, and how many the prompt has."""
    counts = part(found, "usage")
    return whole(counts, "completion_tokens"), whole(counts, "prompt_tokens")


def digest(head: Head, found: Mapping[str, Any]) -> Digest:
    """The digest of the model that answered, as the header and the body say."""
    said = {_digest(value) for value in (head.headers.get("llstore-model"), found.get("system_fingerprint")) if value}
    if len(said) != 1 or None in said:
        raise AnswerBroken("the answer does not say which model made it", hint="is it a llstore serve?")
    return next(each for each in said if each)


def receipt(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The receipt, where there is one."""
    return None if found.get("receipt") is None else part(found, "receipt")


def part(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object."""
    value = found.get(name)
    if not isinstance(value, dict):
        raise AnswerBroken(f"{name} in the server's answer is no object")
    return value


def text(found: Mapping[str, Any], name: str, *, optional: bool = False) -> str:
    """A text that can be printed; with `optional` nothing is the empty one."""
    value = found.get(name)
    if optional and value is None:
        return ""
    if not isinstance(value, str):
        raise AnswerBroken(f"{name} in the server's answer is no text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise AnswerBroken(f"{name} in the server's answer has half a surrogate pair") from error
    return value


def whole(found: Mapping[str, Any], name: str) -> int:
    """A number from 0."""
    value = found.get(name)
    if type(value) is not int or value < 0:
        raise AnswerBroken(f"{name} in the server's answer is no whole number")
    return value


def rows(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects; nothing is the empty one."""
    value = found.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise AnswerBroken(f"{name} in the server's answer is no list of objects")
    return value


def _calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    for row in rows(message, "tool_calls"):
        function = part(row, "function")
        yield ToolCall(text(row, "id"), text(function, "name"), text(function, "arguments"))


def _digest(value: object) -> Digest | None:
    try:
        return Digest.parse(value) if isinstance(value, str) else None
    except StoreError:
        return None
