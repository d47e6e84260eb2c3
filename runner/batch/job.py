"""What one line of a batch asks for."""

from dataclasses import dataclass

from ..chat.ask import Ask
from ..sampling import Sampling
from .shape import Shape


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt, how it is to be answered and how often, and the shape in which its answers are written."""

    ask: Ask
    sampling: Sampling
    shape: Shape
    choices: int = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that cannot be answered, and why."""

    shape: Shape
    message: str
