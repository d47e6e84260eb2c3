"""What one line of a batch asks for."""

from dataclasses import dataclass

from ..chat.ask import Ask
from ..sampling import Sampling
from .shape import Shape


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt, how each of its answers is to be made, and the shape in which they are written."""

    ask: Ask
    samplings: tuple[Sampling, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that cannot be answered, and why."""

    shape: Shape
    message: str
