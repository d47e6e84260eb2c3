"""Commands that call llama.cpp in their own process: that runs as a child, so that its end is never without a word."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from .output import remark

_FLAGS = {"ctx": "--ctx", "repack": "--no-repack"}
_SHOW_CURSOR = "\x1b[?25h"
_Terminal = tuple[int, list[Any]]


def in_a_child(command: Callable[..., None]) -> Callable[..., None]:
    """Runs a command in a child process, and ends with its exit code. Raises ProcessDied where a signal ended it."""

    @wraps(command)
    def called(**given: Any) -> None:
        from ..runner.errors import ProcessDied
        from ..runner.fork import fork

        flags = [flag for name, flag in _FLAGS.items() if name in given and given[name] is not False]
        terminal = _terminal()
        try:
            code = fork(flags=flags, say=lambda line: remark(line, quiet=given["quiet"]))
        except ProcessDied as error:
            _restore(terminal, text=error.generating)
            raise
        if code is not None:
            # The child has said and flushed everything.
            os._exit(code)
        command(**given)

    return called


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
