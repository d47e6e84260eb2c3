"""How far a batch has come."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Lines and tokens so far.

    `lines` are written, `failed` of them without an answer, `resumed` were there before. Tokens and seconds are those
    of this run; `streamed` are tokens as they come, the others count when their line is finished.
    """

    lines: int = 0
    failed: int = 0
    resumed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    streamed: int = 0
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Lines that have an answer."""
        return self.lines - self.failed

    @property
    def tokens_per_second(self) -> float:
        """Tokens made, over the time it took with all that belongs to it."""
        return self.completion_tokens / self.seconds if self.seconds else 0.0
