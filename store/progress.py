"""How the store tells what it is doing: it calls, and never prints."""

from typing import Protocol


class Progress(Protocol):
    """Called as bytes go by: `step` is hash, upload, download or verify; `done` of `total` bytes."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


def silent(step: str, done: int, total: int) -> None:
    """A Progress that tells nobody."""
