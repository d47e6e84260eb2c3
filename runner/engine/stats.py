"""What an engine has done, in numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scheduler import Scheduler


@dataclass(slots=True)
class Stats:
    """Counters since the engine was made. `own_seconds` is what steps took beside llama.cpp's computing.

    `kv_tokens` are what the requests that run hold of the `kv_room` tokens of all slots. `decode_tokens` are the rows
    of steps: the first token of each answer is not among them, it comes of the prompt.
    """

    waiting: int = 0
    running: int = 0
    parked: int = 0
    steps: int = 0
    decode_steps: int = 0
    decode_tokens: int = 0
    prefill_tokens: int = 0
    reused_tokens: int = 0
    decode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    own_seconds: float = 0.0
    kv_tokens: int = 0
    kv_room: int = 0

    @property
    def computed_seconds(self) -> float:
        """What llama.cpp took."""
        return self.decode_seconds + self.prefill_seconds

    def decoded(self, rows: int, seconds: float) -> None:
        """A step of rows."""
        self.decode_steps += 1
        self.decode_tokens += rows
        self.decode_seconds += seconds

    def prefilled(self, tokens: int, seconds: float) -> None:
        """A chunk of a prompt."""
        self.prefill_tokens += tokens
        self.prefill_seconds += seconds

    def step(self, seconds: float, *, computed: float) -> None:
        """A whole step, of which `computed` seconds were llama.cpp's."""
        self.steps += 1
        self.own_seconds += seconds - computed

    def count(self, scheduler: "Scheduler") -> None:
        """How many requests wait and run now, and what those that run hold."""
        self.waiting, self.running = len(scheduler.waiting), len(scheduler.running)
        self.kv_tokens = sum(sequence.held for sequence in scheduler.running.values())
