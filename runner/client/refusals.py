"""From an answer that is an error to one of ours, in one line."""

import json
from collections.abc import Mapping
from typing import Any

from ..errors import (
    AnswerBroken,
    NotAuthorized,
    NotServed,
    Overloaded,
    RateLimited,
    Refusal,
    ServerFailed,
    ServerRefused,
)
from .retry import seconds_after

LONGEST = 500  # characters of a server's message
_KINDS: dict[int, type[ServerRefused]] = {
    401: NotAuthorized,
    403: NotAuthorized,
    404: NotServed,
    429: RateLimited,
    502: Overloaded,
    503: Overloaded,
    504: Overloaded,
}
_HINTS: dict[type[ServerRefused], str] = {
    NotAuthorized: "give a key that may: ClientOptions(key=…)",
    NotServed: "models() lists what is served; check the address too",
    ServerFailed: "the server's log says more",
}


def refused(status: int, body: bytes, *, headers: Mapping[str, str], key: str | None, now: float) -> ServerRefused:
    """The error that an answer of `status` is; `now` is in seconds since 1970, `headers` have small letters."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    said = document.get("error") if isinstance(document, dict) else None
    after = seconds_after(headers.get("retry-after", ""), date=headers.get("date", ""), now=now)
    facts = said if isinstance(said, dict) else {"message": _elsewhere(status, headers)}
    return _error(_refusal(facts, status=status, key=key, after=after, request_id=headers.get("x-request-id")))


def broke_off(said: Any, *, key: str | None, request_id: str | None) -> ServerRefused:
    """The error that came in the middle of a stream, whose status was 200: `code` may say another."""
    if not isinstance(said, dict):
        raise AnswerBroken("the server streams an error that is no object")
    code = said.get("code")
    status = int(str(code)) if str(code) in map(str, range(400, 600)) else 500
    return _error(_refusal(said, status=status, key=key, after=None, request_id=request_id))


def one_line(text: str, *, key: str | None = None) -> str:
    """A server's text as part of our line: printable, short, and without the key."""
    text = text.replace(key, "[key]") if key else text
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _refusal(
    said: Mapping[str, Any], *, status: int, key: str | None, after: float | None, request_id: str | None
) -> Refusal:
    def word(name: str) -> str | None:
        value = said.get(name)
        return None if value is None else one_line(str(value), key=key)

    message = word("message") or "it does not say why"
    return Refusal(status, message, word("type") or "", word("param"), word("code"), after, request_id)


def _error(refusal: Refusal) -> ServerRefused:
    kind = _KINDS.get(refusal.status, ServerFailed if refusal.status >= 500 else ServerRefused)
    hint = _HINTS.get(kind, "")
    if refusal.retry_after is not None:
        hint = f"try again in {refusal.retry_after:g} s"
    return kind(refusal, hint=hint)


def _elsewhere(status: int, headers: Mapping[str, str]) -> str:
    if 300 <= status < 400:
        return f"it is at {headers.get('location', 'another place')}"
    return "what it says is not an error of llstore serve"
