"""Chat templates: Jinja sources that come inside model files, so untrusted code (CVE-2024-34359).

They run in Jinja's sandbox, see sandbox.py, under a deadline.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import ExtraMissing, TemplateFailed
from .deadline import OutOfTime, deadline

if TYPE_CHECKING:
    from .sandbox import Sandbox

MAX_SOURCE = 1 << 17  # characters; as many take the linter a second at most
MAX_SECONDS = 2.0


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
        self._values["documents"] = None  # as transformers does: templates test it

    def render(self, messages: list[dict[str, Any]], *, tools: list[dict[str, Any]] | None = None) -> str:
        """The conversation as the model reads it, up to where the assistant answers. Raises TemplateFailed."""
        sandbox = _sandbox(self._now)
        try:
            with deadline(self._max_seconds):
                return sandbox.render(self.source, messages=messages, tools=tools, **self._values)
        except TemplateFailed:
            raise
        except OutOfTime:
            raise TemplateFailed(f"the chat template takes longer than {self._max_seconds:g} seconds") from None
        except Exception as error:  # a template can raise anything: it divides, compares, recurses
            raise TemplateFailed(f"the chat template fails: {one_line(error)}") from error


def _sandbox(now: datetime) -> "Sandbox":
    try:
        from .sandbox import Sandbox
    except ImportError as error:
        raise ExtraMissing("jinja2") from error
    return Sandbox(now)


def one_line(error: Exception) -> str:
    """What an error of Jinja's says."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
