"""A probe at work on a bucket, and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..backends import Backend


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise of a bucket: kept (True), broken (False), or not tried or not needed (None), and what was seen."""

    name: str
    ok: bool | None
    detail: str


class Broken(Exception):
    """A promise that llstore relies on is not kept."""


class Unsettled(Exception):
    """A promise could not be tried, or llstore does without it."""


@dataclass(slots=True)
class Trial:
    """A probe at work: what it writes lies in `folder`, and is noted so that it can be removed."""

    backend: Backend
    folder: str
    clock: Callable[[], float]
    elsewhere: Backend | None = None
    written: list[str] = field(default_factory=list)

    def write(self, name: str, data: bytes) -> str:
        key = self.folder + name
        self.written += [] if key in self.written else [key]
        self.backend.write(key, [data], size=len(data))
        return key

    def read(self, key: str, **span: int) -> bytes:
        return b"".join(self.backend.read(key, **span))
