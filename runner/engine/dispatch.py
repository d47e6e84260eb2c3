"""Between those who ask and the process that answers, whichever process it is."""

import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from ..errors import EngineCrashed, EngineStopped, QueueFull, RunnerError
from ..sampling import MAX_SEED
from .channel import Channel
from .crash_report import CrashReport
from .ledger import Entry, Fail, Ledger, Receive
from .protocol import Ask, Cancel, Counts, Failed, FromEngine, Ready, Refused, Start, Submit, Updates, VocabularyRead
from .remarks import Remarks
from .request import Request, Update
from .restarts import Restarts

_Fact = TypeVar("_Fact")


class Dispatch:
    """The requests of an engine, from any thread, and what becomes of them, from the thread that keeps the process.

    A process hears of requests once it is ready. When it dies, the next one hears of all that have not ended.
    """

    def __init__(self, restarts: Restarts, remarks: Remarks) -> None:
        self._restarts = restarts
        self._remarks = remarks
        self._remarks.loading(time.monotonic())
        self._postponed: list[Entry] = []
        self._failure: RunnerError | None = None  # what the process could not be made for
        self.crashes: deque[CrashReport] = deque(maxlen=32)
        self._changed = threading.Condition()
        self._ledger = Ledger()
        self._channel: Channel | None = None  # to a process that is ready
        self._ready: Ready | None = None
        self._vocabulary_read = False  # by a process, whatever became of it
        self._counts: dict[str, float] | None = None
        self._asked = False  # for the counts, and not answered
        self._closed: RunnerError | None = None  # why no more requests are taken
        self._over: RunnerError | None = None  # why there is no engine any more

    @property
    def unsent(self) -> bool:
        """Whether the process has not had the time to take what was sent."""
        channel = self._channel
        return channel is None or channel.unsent > 0

    @property
    def ready(self) -> Ready | None:
        """What the first process said once it was ready; None before."""
        return self._ready

    @property
    def failure(self) -> RunnerError | None:
        """Why there is no engine any more, or that it is closed; None while there is one."""
        return self._over

    def submit(self, request: Request, receive: Receive, fail: Fail | None) -> int:
        """Begins a request; returns its id. Raises why there are none taken, or InvalidMessage."""
        with self._changed:
            if self._closed:
                raise self._closed
            entry = self._ledger.add(_seeded(request), receive, fail=fail, now=time.monotonic())
            try:
                if self._channel:
                    self._submit(entry, self._channel)
            except RunnerError:
                self._ledger.close(entry.id)
                raise
            return entry.id

    def cancel(self, id: int) -> None:
        """Asks for the end of a request, if it has not ended."""
        with self._changed:
            entry = self._ledger.find(id)
            if entry and not entry.cancelled:
                entry.cancelled = True
                if self._channel:
                    self._channel.send(Cancel(id))

    def ask(self, seconds: float) -> dict[str, float]:
        """The engine's counts. Raises why there is no engine, or EngineCrashed if it does not answer."""
        with self._changed:
            self._counts, self._asked = None, True
            if self._channel:
                self._channel.send(Ask())
            return self._wait(lambda: self._counts, seconds, "gives no numbers")

    def wait_ready(self, seconds: float | None) -> Ready:
        """What the first process says once it is ready. Raises why there is none, or EngineCrashed if it is late."""
        with self._changed:
            return self._wait(lambda: self._ready, seconds, "is not ready")

    def wait_vocabulary(self) -> None:
        """Returns once a process has read the vocabulary. Raises why there is none that did."""
        with self._changed:
            self._wait(lambda: self._vocabulary_read or None, None, "reads no vocabulary")

    def informed(self, start: Start) -> Start:
        """What the next process is made of, with what an earlier one has found."""
        if self._ready is None:
            return start
        return replace(start, limits=replace(start.limits, company=self._ready.company))

    def wait_empty(self, seconds: float) -> bool:
        """Whether all requests end within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not len(self._ledger), seconds)

    def refuse(self, error: RunnerError) -> None:
        """From now on requests are refused."""
        with self._changed:
            self._closed = self._closed or error

    def received(self, message: FromEngine, channel: Channel) -> None:
        """A process says something."""
        match message:
            case Updates(updates):
                self._updated(updates)
            case Refused(id, error):
                self._refused(id, error)
            case Failed(error):
                self._failure = error
            case VocabularyRead():
                with self._changed:
                    self._vocabulary_read = True
                    self._changed.notify_all()
            case Ready():
                self._begin(message, channel)
            case Counts(values):
                with self._changed:
                    self._counts, self._asked = values, False
                    self._changed.notify_all()

    def tick(self) -> None:
        """Ends what was cancelled, or has no time left, while no process can; tells those who wait why they do."""
        if len(self._ledger) or self._ready is None:
            self._remarks.look(time.monotonic())
        if self._channel is None:
            with self._changed:
                overdue = self._ledger.overdue(time.monotonic())
            for entry, reason in overdue:
                self._end(entry, entry.ended(reason, now=time.monotonic()))

    def crashed(self, report: CrashReport) -> float | None:
        """A process has died: what is it the fault of, and after how many seconds does the next one start?"""
        self.crashes.append(report)
        with self._changed:
            self._channel = None
            suspect = self._sole_suspect(report)
            convicted = self._ledger.blame(report.suspects)
        for entry in convicted:
            said = f"the request crashed the engine {entry.suspicion.all_sole} times; the last time by {report.summary}"
            self._end(entry, entry.ended("error", now=time.monotonic(), error=said))
        pause = self._restarts.crashed(suspect=suspect)
        if self._failure and (pause is None or not self._ready):
            self._over = self._failure
        elif pause is None:
            self._over = self._given_up(report)
        else:
            self._remarks.crashed(report, time.monotonic())
        return None if self._over else pause

    def _sole_suspect(self, report: CrashReport) -> int | None:
        """The group, or else the id as a negative number, of the only request in the call that crashed."""
        if report.suspects is None or len(report.suspects) != 1:
            return None
        (id,) = report.suspects
        entry = self._ledger.find(id)
        return entry.request.group if entry and entry.request.group is not None else -id

    def _given_up(self, report: CrashReport) -> EngineCrashed:
        many = self._restarts.suspects
        often = f"died on {many} requests and answered none between them" if many > 1 else "crashes again and again"
        return EngineCrashed(f"the engine {often}; the last time by {report.summary}", hint=report.advice())

    def ended(self) -> None:
        """There is no process any more. What has not ended fails with the reason, or is cancelled if it was closed."""
        with self._changed:
            self._channel = None
            error = self._over
            self._over = self._closed = error or EngineStopped("the engine is closed")
            entries = self._ledger.clear()
            self._changed.notify_all()
        for entry in entries:
            self._end(entry, error or entry.ended("cancelled", now=time.monotonic()))

    def _begin(self, ready: Ready, channel: Channel) -> None:
        self.tick()
        with self._changed:
            for entry in self._ledger.open():
                self._submit(entry, channel)
            if self._asked:
                channel.send(Ask())
            self._postponed.clear()
            self._failure = None
            self._remarks.loaded()
            self._channel, self._ready = channel, self._ready or ready
            self._changed.notify_all()

    def _submit(self, entry: Entry, channel: Channel) -> None:
        entry.sent += 1
        channel.send(Submit(entry.id, entry.continued(time.monotonic())))
        if entry.cancelled:
            channel.send(Cancel(entry.id))

    def _updated(self, updates: tuple[Update, ...]) -> None:
        with self._changed:
            taken = [(self._ledger.take(update), update) for update in updates]
            ends = any(update.end for update in updates)
        if any(update.tokens for update in updates):
            self._restarts.progress()
            self._remarks.progress()
        if any(update.end and update.end.reason in ("stop", "length") for update in updates):
            self._restarts.answered()
        now = time.monotonic()
        for entry, update in taken:
            if entry:
                self._deliver(entry, entry.timed(update, now))
        if ends:
            self._room()

    def _room(self) -> None:
        """Requests have ended: there may be room for those that a new process had none for; and who waits is told."""
        with self._changed:
            postponed, self._postponed = self._postponed, []
            for entry in postponed:
                if self._channel and self._ledger.find(entry.id):
                    self._submit(entry, self._channel)
            self._changed.notify_all()

    def _refused(self, id: int, error: RunnerError) -> None:
        with self._changed:
            entry = self._ledger.find(id)
            if entry and entry.sent > 1 and isinstance(error, QueueFull):
                # It was taken once; a new process has all of them waiting at first.
                self._postponed.append(entry)
                return
            self._ledger.close(id)
        if entry:
            self._end(entry, error)

    def _end(self, entry: Entry, how: Update | RunnerError) -> None:
        """The last that a request hears, from here; its entry is closed."""
        if isinstance(how, Update):
            self._deliver(entry, how)
        elif entry.fail:
            entry.fail(how)
        else:
            self._deliver(entry, entry.ended("error", now=time.monotonic(), error=str(how)))
        with self._changed:
            self._changed.notify_all()

    def _deliver(self, entry: Entry, update: Update) -> None:
        try:
            entry.receive(update)
        except Exception:
            # The other requests go on; this one has nobody left to hear of it.
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            self.cancel(entry.id)

    def _wait(self, known: Callable[[], _Fact | None], seconds: float | None, complaint: str) -> _Fact:
        self._changed.wait_for(lambda: known() is not None or self._over, seconds)
        fact = known()
        if fact is not None:
            return fact
        raise self._over or EngineCrashed(f"the engine {complaint} within {seconds} s")


def _seeded(request: Request) -> Request:
    """With a seed, so that another process goes on as this one would have."""
    if request.sampling.seed is not None:
        return request
    return replace(request, sampling=replace(request.sampling, seed=secrets.randbelow(MAX_SEED + 1)))
