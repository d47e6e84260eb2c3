"""The rest of a command in a child process: when llama.cpp ends that, its parent says so.

The child gets the signals that ask it to end from its parent alone, under other numbers: a terminal sends Ctrl-C to
both of them, and one Ctrl-C must not arrive twice. What C libraries print to stderr is kept apart: the last line of it
may say why the process ended.
"""

import os
import signal
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType

from .engine.black_box import BlackBox, nameless_file
from .engine.lifeline import die_quietly, tie
from .errors import ProcessDied
from .notes import GENERATED, LOADED, notes

PASSED_ON = {signal.SIGINT: signal.SIGUSR1, signal.SIGTERM: signal.SIGUSR2}
LOOK_SECONDS = 1.0
SLOW_SECONDS = 2.0  # of loading that are not worth a word
MOST_PRINTED = 1 << 20  # bytes

Say = Callable[[str], None]


def fork(*, flags: Collection[str] = (), say: Say) -> int | None:
    """Returns twice: None in the child, where the command goes on; in the parent, the child's exit code at its end.

    To be called before there are threads. In the parent it raises ProcessDied for a child that a signal has ended, with
    those of `flags` in its hint that would help; `say` is told there when loading takes long. The child ends with its
    parent.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    passed = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    waited = {*passed, signal.SIGCHLD, signal.SIGALRM}
    box, output, (lifeline, held) = BlackBox(), nameless_file(), os.pipe()
    # Whatever comes from here on waits until parent and child know what to do with it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*waited, *PASSED_ON.values()})
    pid = os.fork()
    if pid == 0:
        os.close(held)
        _begin(lifeline, box, output, passed)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return None
    os.close(lifeline)
    try:
        code = _await(pid, box, waited, say)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    printed = os.pread(output, MOST_PRINTED, 0)
    if code < 0:
        raise _died(code, box, printed, flags)
    with suppress(OSError):
        os.write(2, printed)
    return code


def _begin(lifeline: int, box: BlackBox, output: int, passed: Collection[signal.Signals]) -> None:
    tie(lifeline)
    die_quietly()
    notes.into(box)
    stderr = os.dup(2)
    os.dup2(output, 2)
    sys.stderr = os.fdopen(stderr, "w", 1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    for number in passed:
        asked = signal.getsignal(number)
        signal.signal(PASSED_ON[number], _end if asked is signal.SIG_DFL else asked)
        # Not ignored: programs that it starts would inherit that.
        signal.signal(number, _nothing)


def _await(pid: int, box: BlackBox, waited: Collection[signal.Signals], say: Say) -> int:
    """How the child ended, as subprocess gives it."""
    # Where a signal is ignored, as these two are without a handler, it may not be waited for.
    signal.signal(signal.SIGCHLD, _nothing)
    signal.signal(signal.SIGALRM, _nothing)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    while True:
        number = signal.Signals(signal.sigwait(waited))
        if number in PASSED_ON:
            with suppress(ProcessLookupError):
                os.kill(pid, PASSED_ON[number])
        elif number == signal.SIGALRM:
            _look(box, say)
        else:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                signal.setitimer(signal.ITIMER_REAL, 0)
                return os.waitstatus_to_exitcode(status)


def _look(box: BlackBox, say: Say) -> None:
    word, _, model = box.doing.partition(" ")
    if word == LOADED and box.doing_seconds > SLOW_SECONDS:
        say(f"loading {model} …")
        signal.setitimer(signal.ITIMER_REAL, 0)


def _died(code: int, box: BlackBox, printed: bytes, flags: Collection[str]) -> ProcessDied:
    from .engine.crash_report import CrashReport, ending

    lines = tuple(printed.decode("utf-8", errors="replace").splitlines())
    report = CrashReport(ending(code), None, lines, box.doing, box.message)
    who = "llama.cpp" if report.doing else "the command"
    said = f"{who} died ({report.cause}){report.occasion}"
    return ProcessDied(said, hint=report.advice(flags), generating=report.doing.startswith(GENERATED))


def _end(_number: int, _frame: FrameType | None) -> None:
    # Of SIGTERM, which nothing was done about yet: it ends a process, but not as if llama.cpp had died.
    os._exit(128 + signal.SIGTERM)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """It is another signal that counts."""
