"""Commands that call llama.cpp in their own process: that runs as a child, so that its end is never without a word."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from signal import SIGINT, SIGTERM, Signals
from typing import Any

from ..runner.errors import ProcessDied
from ..runner.fork import PASSED_ON, fork

_FLAGS = ("--ctx", "--no-repack")
_WITHOUT_FLAGS = ("replay", "demo")
_SHOW_CURSOR = "\x1b[?25h"
_Terminal = tuple[int, list[Any]]


def in_a_child(words: Sequence[str]) -> tuple[Signals, Signals]:
    """Goes on in a child process, and says under which numbers that gets SIGINT and SIGTERM.

    The parent never returns: it ends with the child's exit code, or says which signal has ended the child.
    """
    quiet = bool({"--quiet", "-q"} & set(words))
    flags = [flag for flag in _FLAGS if words[0] not in _WITHOUT_FLAGS and (flag == "--ctx" or flag not in words)]
    terminal = _terminal()
    try:
        code = fork(flags=flags, say=lambda line: _say(line, quiet=quiet))
    except ProcessDied as error:
        _restore(terminal, text=error.generating)
        code = _report(error, as_json="--json" in words)
    if code is None:
        return PASSED_ON[SIGINT], PASSED_ON[SIGTERM]
    # The child has said and flushed everything else.
    os._exit(code)


def _say(line: str, *, quiet: bool) -> None:
    from .output import remark

    remark(line, quiet=quiet)


def _report(error: ProcessDied, *, as_json: bool) -> int:
    from .failure import report

    code = report(error, as_json=as_json)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return code


def _terminal() -> _Terminal | None:
    """The terminal and how it is set, if stderr is one."""
    if not sys.stderr.isatty():
        return None
    import termios

    with suppress(termios.error):
        return sys.stderr.fileno(), termios.tcgetattr(sys.stderr.fileno())
    return None


def _restore(terminal: _Terminal | None, *, text: bool) -> None:
    """The terminal as it was, its cursor at the beginning of a line: behind `text`, or where a bar may stand."""
    if terminal is None:
        return
    import termios

    with suppress(termios.error, OSError):
        termios.tcsetattr(terminal[0], termios.TCSADRAIN, terminal[1])
        sys.stderr.write(_SHOW_CURSOR + ("\n" if text else "\r\x1b[K"))
