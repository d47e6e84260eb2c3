"""What a server says of itself, one class an event: to be used as `events.Request(…)`.

None has a prompt, an answer or a key among its fields, but for the `prompt` that a caller gives on purpose. Fields that
are None are left out of the line.
"""

import logging
from dataclasses import dataclass
from typing import ClassVar

_KEPT_OUT = (401, 403, 429, 503)  # statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: its fields are the facts."""

    event: ClassVar[str]

    @property
    def level(self) -> int:
        """How serious it is, as logging counts it."""
        return logging.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Event):
    """A request was answered, or its client has left. `queue`, `ttft` and `seconds` are seconds; `key` is a key's id.

    `path` is the route's. `prompt` is for those who asked that prompts be logged.
    """

    event: ClassVar[str] = "request"

    method: str
    path: str
    status: int
    seconds: float
    client: str | None = None
    tenant: str | None = None
    key: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    reused_tokens: int | None = None
    completion_tokens: int | None = None
    queue: float | None = None
    ttft: float | None = None
    finish_reason: str | None = None
    error: str | None = None
    prompt: str | None = None

    @property
    def level(self) -> int:
        """What is the server's fault is an error; who was kept out, or came too often, may matter to somebody."""
        if self.status in _KEPT_OUT:
            return logging.WARNING
        return logging.ERROR if self.status >= 500 else logging.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """A connection was closed for what it did; `status` 0 is without an answer."""

    event: ClassVar[str] = "refused"

    reason: str
    status: int
    client: str | None = None

    @property
    def level(self) -> int:
        """Somebody may want to know why."""
        return logging.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCrashed(Event):
    """An engine's process has died; `error` is what it said last, `requests` are how many are suspected."""

    event: ClassVar[str] = "engine_crashed"

    model: str
    error: str
    requests: int | None = None

    @property
    def level(self) -> int:
        """It must not happen."""
        return logging.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoading(Event):
    """A model takes long to load."""

    event: ClassVar[str] = "engine_loading"

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady(Event):
    """A model is loaded; `seconds` is what that took."""

    event: ClassVar[str] = "engine_ready"

    model: str
    digest: str
    seconds: float
    parallel: int | None = None
    context_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving(Event):
    """The server listens."""

    event: ClassVar[str] = "serving"

    url: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining(Event):
    """The server takes no more requests, and waits at most `seconds` for those that it has."""

    event: ClassVar[str] = "draining"

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """The server has stopped; `cut_off` answers had not ended."""

    event: ClassVar[str] = "stopped"

    cut_off: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(Event):
    """A file that the server follows was read again, or could not be: then `error` says why, and the old one rules."""

    event: ClassVar[str] = "reloaded"

    file: str
    count: int | None = None
    error: str | None = None

    @property
    def level(self) -> int:
        """What is in the file is not what rules."""
        return logging.WARNING if self.error else logging.INFO
