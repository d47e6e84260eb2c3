"""One request on its way through the engine."""

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from math import inf

from .request import Request


@dataclass(slots=True, eq=False)
class Sequence:
    """A request, its tokens so far, and how many of them are in the KV cache (`held`).

    `prefill_end` tokens are read in chunks; those behind it, one by one, with the rows of other sequences. `rank` is
    its priority with what waiting added, `arrived`, `waits_since` and `expires` are seconds of the engine's clock, as
    are `seated` and `spoke`, when it first had a slot and a token: later than anything until then. `slot` is None while
    it waits or is parked.
    """

    id: int
    request: Request
    arrived: float
    tokens: list[int] = field(default_factory=list)
    held: int = 0
    prefill_end: int = 0
    reused: int = 0
    slot: int | None = None
    rank: float = 0.0
    waits_since: float = 0.0
    begun: bool = False
    expires: float = inf
    seated: float = inf
    spoke: float = inf

    @classmethod
    def of(cls, id: int, request: Request, *, now: float, exact: bool) -> "Sequence":
        """A new one. To be exact, tokens that were generated before a crash must be read as they were made: singly."""
        tokens = [*request.prompt, *request.generated]
        end = len(request.prompt) if exact else len(tokens)
        expires = inf if request.seconds is None else now + request.seconds
        return cls(id, request, arrived=now, tokens=tokens, prefill_end=end, waits_since=now, expires=expires)

    @property
    def owner(self) -> str:
        """Whose share it uses."""
        return self.request.share

    @property
    def prefilling(self) -> bool:
        """Whether there is prompt left to read."""
        return self.held < self.prefill_end

    @property
    def silent(self) -> bool:
        """Whether it was talking before a crash, and not since."""
        said = self.request.generated
        return bool(said) and len(self.tokens) == len(self.request.prompt) + len(said)

    @property
    def complete(self) -> bool:
        """Whether all its tokens are in the KV cache, so that the next one can be chosen."""
        return self.held == len(self.tokens)

    @property
    def generated(self) -> Tokens[int]:
        """What was made so far."""
        return self.tokens[len(self.request.prompt) :]

    def stages(self, now: float) -> tuple[float, float, float]:
        """Seconds until it had a slot, from there to its first token, from there to now; 0 for what is to come."""
        seated, spoke = min(self.seated, now), min(self.spoke, now)
        return seated - self.arrived, spoke - seated, now - spoke

    def forget(self, *, exact: bool) -> None:
        """Its KV is lost: everything is to be read again."""
        self.held = self.reused = 0
        self.begun = False
        self.prefill_end = len(self.request.prompt) if exact else len(self.tokens)
