"""Where a store lies, and where this machine keeps its part."""

from dataclasses import dataclass, field
from pathlib import Path

from .transfer.download import Pace


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a store lies and where this machine keeps its part. Without `url`: the embedded store in `data/store`.

    `cache_max_bytes` is the cache's budget, by default a share of its disk.
    """

    cache: Path
    data: Path
    url: str | None = None
    offline: bool = False
    cache_max_bytes: int | None = None
    pace: Pace = field(default_factory=Pace)

    @property
    def embedded(self) -> Path:
        """The folder of the embedded default store."""
        return self.data / "store"
