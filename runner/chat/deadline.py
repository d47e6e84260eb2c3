"""Ends what takes too long, in the thread that runs it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

FILENAME = "<template>"  # what Jinja calls code that it compiled from a string


_ENDED = ("jinja2.", "json.", __name__.rpartition(".")[0])  # the modules in which a template spends its time


class OutOfTime(BaseException):
    """Not an Exception, because Jinja's internals catch some of those."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends what runs in this thread after `seconds`, even a loop that yields nothing, with OutOfTime.

    Every call is checked, and every line of a template's own code; a single call into C is not, so the sandbox
    bounds what those work on.
    """
    end = time.monotonic() + seconds

    def check(frame: FrameType, event: str, _: Any) -> Any:
        own = frame.f_code.co_filename == FILENAME
        # What the garbage collector calls in between is not the template's: it would go on as if nothing had been.
        if time.monotonic() > end and (own or frame.f_globals.get("__name__", "").startswith(_ENDED)):
            raise OutOfTime
        return check if own else None

    previous = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(previous)
