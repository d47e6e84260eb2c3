"""What is asked of an engine, and what it answers, as plain data."""

from dataclasses import dataclass
from typing import Literal

from ..sampling import Sampling

Reason = Literal["stop", "length", "cancelled", "timeout", "error"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt, as token ids, and how it is to be answered.

    `share` is whose part of the engine it uses: owners get equal parts, counted in tokens, times their `weight`.
    A higher `priority` goes first. `domain` is who trusts whom: the KV of a prompt is reused inside a domain only, but
    for its first `public` tokens, which are declared to be no secret. What a request leaves in the KV cache is `kept`
    for later ones, or not. `seconds` is how long it may take from its submission. Nobody reads the answer of a
    `patient` one while it grows: that it goes on smoothly is not worth time.
    `generated` are tokens that it has already, from an engine that crashed; `alone` keeps it out of batches. Requests
    of one `group` are one to whoever counts what crashes an engine.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    share: str = ""
    weight: float = 1.0
    priority: int = 0
    domain: str = ""
    public: int = 0
    kept: bool = True
    seconds: float | None = None
    patient: bool = False
    generated: tuple[int, ...] = ()
    alone: bool = False
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Logprob:
    """A token and the natural logarithm of its probability."""

    token: int
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The chosen token's probability before sampling settings, and those of the likeliest tokens, likeliest first."""

    chosen: Logprob
    top: tuple[Logprob, ...]


@dataclass(frozen=True, slots=True)
class End:
    """How a request ended. `reused_tokens` of the prompt were in the KV cache already; `error` says what failed.

    `queue_seconds` are those from its submission until it first had a slot, `prefill_seconds` from there to its first
    token, `decode_seconds` from there to the end; a stage that it did not come to has 0. To be parked belongs to the
    stage in which it happens.

    From an EngineProcess the three make up the time since the submission: prefill and decode are those of the process
    that ended the request, and all the rest is queue, whether the model was loading or an earlier process worked on it
    until it crashed. Where no process ended the request, all of its time is queue.
    """

    reason: Reason
    prompt_tokens: int
    reused_tokens: int
    completion_tokens: int
    error: str = ""
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Update:
    """What one step made for one request: tokens, and the text that is safe to show. The last one has an `end`.

    The token that ends a turn is not among `tokens`. With a stop string, `text` ends before it.
    """

    request: int
    tokens: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprobs, ...] = ()
    end: End | None = None
