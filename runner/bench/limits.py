"""Which requests were answered well: limits such as `ttft=500ms,itl=100ms`."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InvalidLoad
from .latencies import Record, percentile

_UNITS = {"ms": 0.001, "s": 1.0}
_LIMIT = re.compile(r"(\w+)=(\d+(?:\.\d+)?)(ms|s)")

# What each word measures of one request, in seconds.
MEASURES: dict[str, Callable[[Record], float]] = {
    "ttft": lambda record: record.ttft,
    "tpot": lambda record: record.tpot,
    "itl": lambda record: percentile(record.gaps, 95) if record.gaps else 0.0,
    "request": lambda record: record.seconds,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a good request keeps to: (measure, seconds) of each; without any, all are good."""

    bounds: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """From `ttft=500ms,itl=100ms`; raises InvalidLoad."""
        return cls(tuple(_bound(part.strip()) for part in text.split(",")))

    def met(self, record: Record) -> bool:
        """Whether the request kept to all of them."""
        return all(MEASURES[measure](record) <= seconds for measure, seconds in self.bounds)

    def __str__(self) -> str:
        return ",".join(f"{measure}={1000 * seconds:g}ms" for measure, seconds in self.bounds)


NO_LIMITS = Limits()


def _bound(part: str) -> tuple[str, float]:
    found = _LIMIT.fullmatch(part)
    if not found or found[1] not in MEASURES:
        words = ", ".join(MEASURES)
        raise InvalidLoad(f"{part!r} is no limit", hint=f"ttft=500ms or itl=0.1s; the measures are {words}")
    return found[1], float(found[2]) * _UNITS[found[3]]
