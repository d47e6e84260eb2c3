"""What a load is put on: anything that continues tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .workload import Asked


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of one request at one moment: so many tokens, and whether it is over; with an `error` it failed."""

    tokens: int = 0
    ended: bool = False
    error: str = ""


Arrived = Callable[[Arrival], None]
Cancel = Callable[[], None]


class Target(Protocol):
    """An engine under load."""

    name: str

    def start(self, asked: Asked, arrived: Arrived) -> Cancel:
        """Begin a request and return at once.

        `arrived` is called from any thread, as soon as tokens are there, and last with `ended`, also after the returned
        call, which takes the request back. It neither blocks nor raises.
        """
        ...
