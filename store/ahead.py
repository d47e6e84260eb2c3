"""Work that is begun before its result is needed."""

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A call on a thread of its own, made while the caller does something else. An interrupt does not wait for it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._results: list[T] = []
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def result(self) -> T:
        """What the call returned, or raises what it raised."""
        self._thread.join()
        if self._failure:
            raise self._failure
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as failure:
            self._failure = failure
