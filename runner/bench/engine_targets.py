"""Our engine as a target: in a process of its own, as it serves, or in this one."""

import threading
from collections.abc import Callable
from itertools import count

from ...store.closing import Closing
from ..engine.engine import Engine
from ..engine.request import Update
from ..engine.supervisor import EngineProcess
from ..errors import RunnerError
from .own_speed import request_of
from .target import Arrival, Arrived, Cancel
from .workload import Asked

NAME = "llstore"


class ProcessTarget:
    """An EngineProcess, which stays the caller's to close."""

    name = NAME

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine

    def start(self, asked: Asked, arrived: Arrived) -> Cancel:
        """Begin a request, see Target."""
        try:
            number = self._engine.submit(request_of(asked), lambda update: arrived(_arrival(update)))
        except RunnerError as error:
            arrived(Arrival(ended=True, error=str(error)))
            return _nothing
        return lambda: self._engine.cancel(number)


class EngineTarget(Closing):
    """An Engine in this process, which a thread of its own steps; it stays the caller's to close, after this."""

    name = NAME

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = count()
        self._receivers: dict[int, Arrived] = {}
        self._news: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops stepping; what is under way is not ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def start(self, asked: Asked, arrived: Arrived) -> Cancel:
        """Begin a request, see Target."""
        number = next(self._numbers)
        self._tell(lambda: self._submit(number, asked, arrived))
        return lambda: self._tell(lambda: self._engine.cancel(number))

    def _tell(self, act: Callable[[], None]) -> None:
        with self._changed:
            self._news.append(act)
            self._changed.notify()

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._news or not self._engine.idle)
                news, self._news = self._news, []
            for act in news:
                act()
            try:
                self._step()
            except RunnerError as error:
                self._give_up(str(error))

    def _submit(self, number: int, asked: Asked, arrived: Arrived) -> None:
        try:
            self._engine.submit(number, request_of(asked))
        except RunnerError as error:
            arrived(Arrival(ended=True, error=str(error)))
        else:
            self._receivers[number] = arrived

    def _step(self) -> None:
        for update in self._engine.step() if not self._engine.idle else ():
            receiver = self._receivers.pop(update.request) if update.end else self._receivers[update.request]
            receiver(_arrival(update))

    def _give_up(self, error: str) -> None:
        for receiver in self._receivers.values():
            receiver(Arrival(ended=True, error=error))
        self._receivers.clear()
        self._closed = True


def _arrival(update: Update) -> Arrival:
    end = update.end
    failed = end is not None and end.reason not in ("stop", "length")
    error = (end.error or end.reason) if end and failed else ""
    return Arrival(len(update.tokens), ended=end is not None, error=error)


def _nothing() -> None:
    """There is nothing to take back."""
