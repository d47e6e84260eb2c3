"""A process that is kept running: started, listened to, and started again when it dies."""

import threading
import time
from collections.abc import Callable
from typing import Protocol, cast

from ...store.closing import Closing
from ..errors import RunnerError
from .channel import Channel
from .crash_report import CrashReport
from .hearing import Ear, Hearing
from .process import Process
from .protocol import FromEngine
from .watching import Watching

TICK = 1.0  # seconds between two looks at a process that says nothing


class Owner(Protocol):
    """Who uses the process. All methods are called from the thread that keeps it, `received` also where an ear is."""

    def received(self, message: FromEngine, channel: Channel) -> None:
        """The process at the other end of `channel` says something."""

    def tick(self) -> None:
        """Called once a second or more often, and when somebody has called `wake`."""

    def crashed(self, report: CrashReport) -> float | None:
        """The process is gone, unasked: after how many seconds the next one starts; None if there is to be none."""

    def ended(self) -> None:
        """There will be no more processes."""


class Stuck(Exception):
    """A call into llama.cpp takes too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Upkeep(Closing):
    """Keeps a process that `start` makes, until it is closed or its owner has enough.

    A call into llama.cpp that takes `stuck` seconds ends the process, which then counts as crashed.
    """

    def __init__(self, start: Callable[[], Process], owner: Owner, *, stuck: float) -> None:
        self._start = start
        self._owner = owner
        self._stuck = stuck
        self._watching = Watching()
        self._closing = False
        self._ear: Ear | None = None
        self.pid: int | None = None
        # A daemon: a program that forgets to close it can end, and the process with it.
        self._thread = threading.Thread(target=self._run, name="llstore-engine", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something is to be sent, or to be thought of, now."""
        self._watching.wake()

    def hear_in(self, ear: Ear | None) -> None:
        """From now on messages are taken in where `ear` watches; None is this thread again."""
        self._ear = ear
        self._watching.wake()

    def close(self) -> None:
        """Ends the process and the thread; from that thread itself, when it is through with what it is at."""
        self._closing = True
        self._watching.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            pause: float | None = 0.0
            while not self._closing and pause is not None:
                self._rest(pause)
                report = None if self._closing else self._one_life()
                pause = self._owner.crashed(report) if report else None
        finally:
            self._watching.close()
            self._owner.ended()

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._closing and time.monotonic() < until:
            self._watching.wait(None, min(TICK, until - time.monotonic()))
            self._owner.tick()

    def _one_life(self) -> CrashReport | None:
        """Starts a process and stays with it; how it ended, unless it was asked to."""
        try:
            process = self._start()
        except OSError as error:
            return CrashReport(f"it cannot be started: {error.strerror}", ())
        with process:
            self.pid = process.pid
            why = self._listen(process)
            self.pid = None
            return None if self._closing else process.report(why)

    def _listen(self, process: Process) -> str | None:
        """Until it is gone, or has to go: why."""
        try:
            while not self._closing:
                ear = self._ear
                if not (self._elsewhere(process, ear) if ear else self._here(process)):
                    return None
        except Stuck as stuck:
            process.kill()
            return f"stuck for {stuck.seconds:g} s"
        except RunnerError as error:
            process.kill()
            return f"it said what it should not: {error}"
        return None

    def _here(self, process: Process) -> bool:
        """Takes in what it says, until it is gone (False) or that is to be done elsewhere."""
        while not self._closing and self._ear is None:
            if self._watching.wait(process, TICK) and not self._heard(process):
                return False
            self._look(process)
        return True

    def _elsewhere(self, process: Process, ear: Ear) -> bool:
        """Has it taken in there, until it is gone (False) or that is to be done somewhere else."""
        with Hearing(process, self._owner, ear, self._watching.wake) as hearing:
            while not self._closing and self._ear is ear:
                if hearing.error:
                    raise hearing.error
                if hearing.ended:
                    return False
                self._watching.wait(process, TICK, listen=False)
                self._look(process)
        return True

    def _look(self, process: Process) -> None:
        if process.box.seconds > self._stuck:
            raise Stuck(self._stuck)
        self._owner.tick()

    def _heard(self, process: Process) -> bool:
        messages = process.channel.receive()
        for message in messages or ():
            self._owner.received(cast(FromEngine, message), process.channel)
        return messages is not None
