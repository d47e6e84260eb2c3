"""What was measured of a model on a machine: the settings that were fastest, and how long steps take with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..engine_settings import RANGES

SETTINGS = {"threads": int, "batch_size": int, "repack": bool, "unified": bool, "flash_attention": bool}


@dataclass(frozen=True, slots=True)
class Speeds:
    """Tokens a second: of a prompt, and of generation by one and by all sequences."""

    prompt: float
    one: float
    all: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The fastest `settings` of those tried, measured with `parallel` sequences on `date` (YYYY-MM-DD).

    `steps` has the seconds of a decode step by how many sequences take part, with these settings.
    """

    settings: Mapping[str, int | bool]
    parallel: int
    date: str
    before: Speeds
    after: Speeds
    steps: Mapping[int, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "date": self.date,
            "parallel": self.parallel,
            "settings": dict(self.settings),
            "before": _speeds_document(self.before),
            "after": _speeds_document(self.after),
            "steps": {str(rows): seconds for rows, seconds in self.steps.items()},
        }

    @classmethod
    def read(cls, said: Any) -> "Tuned":
        """From plain data. Raises ValueError, KeyError or TypeError."""
        settings: dict[str, Any] = dict(said["settings"])
        for name, value in settings.items():
            number, (least, most) = int(value), RANGES.get(name, (0, 1))
            if type(value) is not SETTINGS[name] or not least <= number <= most:
                raise ValueError(f"{name} is {value!r}")
        return cls(
            settings=settings,
            parallel=int(said["parallel"]),
            date=str(said["date"]),
            before=_speeds(said["before"]),
            after=_speeds(said["after"]),
            steps={int(rows): float(seconds) for rows, seconds in said["steps"].items()},
        )


def _speeds(said: Any) -> Speeds:
    return Speeds(float(said["prompt"]), float(said["one"]), float(said["all"]))


def _speeds_document(speeds: Speeds) -> dict[str, float]:
    return {"prompt": speeds.prompt, "one": speeds.one, "all": speeds.all}
