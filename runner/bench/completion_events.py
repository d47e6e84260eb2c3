"""Server-sent events of a streamed completion, as OpenAI's API and those who follow it send them."""

import json
import re
from typing import Any

# An event that brings text and is not the last; parsing its JSON would take four times as long.
_PLAIN = re.compile(rb'"text": ?"[^"].*?"finish_reason": ?null')
_DATA, _ERROR, _DONE = b"data:", b"error:", b"[DONE]"


class CompletionEvents:
    """The events of one answer, which was asked for `max_tokens`: a token each, as far as they bring text.

    Nothing is sent for a token that ends within a character, and some send several in one event. How many were `unseen`
    is known at the end: from its usage, or because it ended at the number that was asked for.
    """

    def __init__(self, max_tokens: int) -> None:
        self.prompt_tokens = 0  # where it tells them
        self.finish_reason = ""
        self.error = ""
        self._max_tokens = max_tokens
        self._seen = self._told = 0
        self._ahead = b""

    def feed(self, body: bytes) -> int:
        """How many tokens these bytes of the body brought."""
        before = self._seen
        *lines, self._ahead = (self._ahead + body).split(b"\n")
        for line in lines:
            if not line:
                continue
            if line.startswith(_DATA):
                if _PLAIN.search(line):
                    self._seen += 1
                else:
                    self._event(line[len(_DATA) :].strip())
            elif line.startswith(_ERROR):
                self._failed(line[len(_ERROR) :].decode(errors="replace").strip())
        return self._seen - before

    @property
    def unseen(self) -> int:
        """Tokens that no event brought."""
        return max(self._told - self._seen, 0)

    def _event(self, data: bytes) -> None:
        if data == _DONE:
            return
        try:
            event = json.loads(data)
            if event.get("error"):
                self._failed(error_message(event))
            else:
                self._count(event)
        except (ValueError, TypeError, AttributeError):
            self._failed(f"an event that is no part of a completion: {data[:80]!r}")

    def _count(self, event: dict[str, Any]) -> None:
        for choice in event.get("choices") or ():
            self._seen += bool(choice.get("text"))
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        usage = event.get("usage") or {}
        self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
        stopped = self._max_tokens if self.finish_reason == "length" else 0
        self._told = usage.get("completion_tokens", stopped)

    def _failed(self, error: str) -> None:
        self.error = self.error or error


def error_message(found: Any) -> str:
    """What a body or an event with an `error` says."""
    error = found.get("error", found) if isinstance(found, dict) else found
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)
