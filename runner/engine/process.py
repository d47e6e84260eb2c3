"""One child process with an engine in it, as its parent holds it."""

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from ...store.closing import Closing
from .black_box import BlackBox
from .channel import Channel
from .crash_report import CrashReport, ending
from .protocol import Start, Stop

PROGRAM = (sys.executable, "-P", "-m", f"{__package__}.child")
LEAVES_WITHIN = 0.5  # seconds for a process that was asked to go
DIES_WITHIN = 5.0  # seconds from closing its end of the socket


class Process(Closing):
    """A child process, its socket, its black box, and the pipe that ends it when this process ends.

    `start` says what it is to serve; its descriptors of pipe and box are filled in here. It has a session of its own:
    Ctrl-C in a terminal does not reach it.
    """

    def __init__(self, start: Start, program: Sequence[str] = PROGRAM) -> None:
        self._tail = Tail()
        self.talks = True  # until it has closed its stdout and stderr
        with ExitStack() as undo:
            self.box = undo.enter_context(BlackBox())
            ours, theirs = socket.socketpair()
            self.channel = undo.enter_context(Channel(ours))
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            self.output, output = os.pipe()
            undo.callback(os.close, self.output)
            os.set_blocking(self.output, False)
            try:
                self._popen = subprocess.Popen(
                    [*program, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[theirs.fileno(), lifeline, self.box.fd, *start.files],
                    start_new_session=True,
                )
            finally:
                theirs.close()
                os.close(lifeline)
                os.close(output)
            self.channel.send(replace(start, lifeline=lifeline, box=self.box.fd))
            self._held = undo.pop_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def read_output(self) -> None:
        """Takes what it has written to stdout and stderr, if anything."""
        self.talks = self._tail.read(self.output)

    def kill(self) -> None:
        """Ends it at once."""
        self._popen.kill()

    def report(self, why: str | None = None) -> CrashReport:
        """How it ended: for a process that has closed its end of the socket, or is killed for what `why` says."""
        self._gone(DIES_WITHIN)
        self.read_output()
        suspects = self.box.suspects or (None if self.box.seconds else ())
        ended, box = why or ending(self._popen.returncode), self.box
        return CrashReport(ended, suspects, self._tail.lines, box.doing, box.message)

    def close(self) -> None:
        """Asks it to go, ends it if it does not, and lets go of everything."""
        if self._popen.returncode is None:
            with suppress(OSError):
                self.channel.send(Stop())
            self._gone(LEAVES_WITHIN)
        self._held.close()

    def _gone(self, seconds: float) -> None:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Tail:
    """The last lines of a stream of bytes."""

    def __init__(self) -> None:
        self._whole: deque[str] = deque(maxlen=60)
        self._rest = b""

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, and what may become one."""
        return (*self._whole, _line(self._rest)) if self._rest else tuple(self._whole)

    def read(self, fd: int) -> bool:
        """Takes what there is; False at its end."""
        while True:
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            *whole, rest = (self._rest + data).split(b"\n")
            self._whole += map(_line, whole)
            self._rest = rest[-2000:]


def _line(data: bytes) -> str:
    return data[:500].decode("utf-8", errors="replace")
