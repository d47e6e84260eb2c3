"""What a server said, as plain facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...store import Digest


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants called; `arguments` is the JSON that it wrote, which may be no JSON at all."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer.

    `latency_ms` is the wall time of the call in milliseconds, waits between attempts included; `first_token_ms` the
    part of it until the first text or tool call, None where nothing was streamed. `tokens` counts those that were
    generated. `digest` is the model's, `receipt` what docs/receipts.md describes, where it was asked for, and
    `request_id` finds the request in the server's log.
    """

    text: str
    latency_ms: float
    first_token_ms: float | None
    tokens: int
    prompt_tokens: int
    finish_reason: str
    digest: Digest
    receipt: dict[str, Any] | None = None
    request_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the server has: what to ask for it as, its digest where the server says it, and all it says."""

    id: str
    digest: Digest | None
    facts: Mapping[str, Any]
