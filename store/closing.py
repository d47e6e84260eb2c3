"""What owns a resource is closed when its context ends."""

from types import TracebackType
from typing import Self


class Closing:
    """A context manager that calls `close` on the way out."""

    def close(self) -> None:
        """Let go; calling it again does nothing. Here there is nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
