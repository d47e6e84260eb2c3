"""Chat templates: Jinja sources that come inside model files, so untrusted code (CVE-2024-34359).

They run in Jinja's sandbox, see sandbox.py, under a deadline.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Any

from .errors import ExtraMissing, TemplateFailed

if TYPE_CHECKING:
    from .sandbox import Sandbox

MAX_SOURCE = 1 << 20  # characters
MAX_SECONDS = 2.0
FILENAME = "<template>"  # what Jinja calls code that it compiled from a string


class Template:
    """A chat template, with the texts of the model's BOS and EOS. Raises TemplateFailed, ExtraMissing.

    Templates that ask for the time are told `now`, by default the time at which the Template was made.
    """

    def __init__(
        self, source: str, *, bos: str, eos: str, now: datetime | None = None, max_seconds: float = MAX_SECONDS
    ) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateFailed(f"the chat template has {len(source)} characters, more than {MAX_SOURCE}")
        self.source = source
        self._max_seconds = max_seconds
        self._now = now or datetime.now()
        self._values: dict[str, Any] = {"bos_token": bos, "eos_token": eos, "add_generation_prompt": True}
        self._values |= {"tools": None, "documents": None}  # as transformers does: templates test them

    def render(self, messages: list[dict[str, str]]) -> str:
        """The conversation as the model reads it, up to where the assistant answers. Raises TemplateFailed."""
        sandbox = _sandbox(self._now)
        try:
            with _deadline(self._max_seconds):
                return sandbox.render(self.source, messages=messages, **self._values)
        except TemplateFailed:
            raise
        except _OutOfTime:
            raise TemplateFailed(f"the chat template takes longer than {self._max_seconds:g} seconds") from None
        except Exception as error:  # a template can raise anything: it divides, compares, recurses
            raise TemplateFailed(f"the chat template fails: {_one_line(error)}") from error


def _sandbox(now: datetime) -> "Sandbox":
    try:
        from .sandbox import Sandbox
    except ImportError as error:
        raise ExtraMissing("jinja2") from error
    return Sandbox(now)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


class _OutOfTime(BaseException):
    """Not an Exception, because Jinja's internals catch some of those."""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Ends what runs in this thread after `seconds`, even a loop that yields nothing.

    Every call is checked, and every line of the template's own code; a single call into C is not, so the sandbox
    bounds what those work on.
    """
    end = time.monotonic() + seconds

    def check(frame: FrameType, event: str, _: Any) -> Any:
        if time.monotonic() > end:
            raise _OutOfTime
        return check if frame.f_code.co_filename == FILENAME else None

    previous = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(previous)
