"""What is noted of one call while it is answered, and settled when it is over."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..engine.request import End, Update
from ..errors import RunnerError
from ..observe.metrics import FinishedRequest, StreamMetrics
from .call import Call

# Tokens that the metrics are told of at once: for each alone, they would cost a stream a tenth more.
GAPS = 32


@dataclass(slots=True)
class Timeline:
    """One answer of a call: times are those of `time.perf_counter`, 0 before there was a token."""

    metrics: StreamMetrics
    latest: float = 0.0
    made: int = 0
    end: End | None = None
    gaps: list[tuple[float, int]] = field(default_factory=list)  # that the metrics have not heard of

    def tokens(self, count: int, now: float, *, began: float) -> None:
        """So many came."""
        if self.latest:
            self.gaps.append((now - self.latest, count))
            if len(self.gaps) >= GAPS:
                self.tell()
        else:
            self.metrics.first_token(now - began, count)
        self.latest = now
        self.made += count

    def tell(self) -> None:
        """Lets the metrics know."""
        for seconds, count in self.gaps:
            self.metrics.token_gap(seconds, count)
        self.gaps.clear()


@dataclass(slots=True)
class Account:
    """A call, and how it goes. `first` and `seconds` are counted from its beginning; `first` is None without a token.

    `settle` is called once, when its last answer has ended.
    """

    call: Call
    answers: list[Timeline]
    settle: Callable[["Account"], None]
    began: float = field(default_factory=time.perf_counter)
    first: float | None = None
    seconds: float = 0.0
    error: RunnerError | None = None

    def heard(self, number: int, item: Update | RunnerError) -> None:
        """The engine said something of the prompt of that number."""
        if isinstance(item, RunnerError):
            self.error = item
            return
        answer = self.answers[number]
        if item.tokens:
            now = time.perf_counter()
            answer.tokens(len(item.tokens), now, began=self.began)
            if self.first is None:
                self.first = now - self.began
        if item.end:
            answer.end = item.end
            answer.tell()
            answer.metrics.finished(self._finished(number, item.end))

    def close(self) -> None:
        """It is over."""
        self.seconds = time.perf_counter() - self.began
        self.settle(self)

    @property
    def ends(self) -> list[End]:
        """How the answers ended that the engine took."""
        return [answer.end for answer in self.answers if answer.end]

    @property
    def read(self) -> int:
        """Prompt tokens: none of what was refused."""
        return self.call.read if self.ends or self.made else 0

    @property
    def made(self) -> int:
        """Tokens of the answers so far."""
        return sum(answer.made for answer in self.answers)

    @property
    def reused(self) -> int:
        """Prompt tokens that did not have to be read again."""
        return max((end.reused_tokens for end in self.ends), default=0)

    def _finished(self, number: int, end: End) -> FinishedRequest:
        first = number == 0
        return FinishedRequest(
            reason=end.reason,
            prompt_tokens=end.prompt_tokens,
            reused_tokens=end.reused_tokens,
            completion_tokens=end.completion_tokens,
            queue_seconds=end.queue_seconds,
            prefill_seconds=end.prefill_seconds,
            decode_seconds=end.decode_seconds,
            e2e_seconds=time.perf_counter() - self.began,
            max_tokens=self.call.asked_tokens if first else None,
            n=len(self.call.prompts) if first else None,
        )
