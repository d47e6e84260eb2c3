"""The settings of both kinds of completion."""

from pydantic import Field

from ...sampling import MAX_ANSWERS
from .settings import Settings, Shape, ranged


class Obfuscation(Shape):
    """What a stream may do against those who measure its packets."""

    include_obfuscation: bool | None = Field(default=None, description="Accepted, and without effect.")


class StreamOptions(Obfuscation):
    """What a stream tells beside the answer."""

    include_usage: bool | None = Field(default=None, description="A last chunk counts the tokens.")


class CompletionSettings(Settings):
    """Several answers to a prompt, and how many tokens they may have."""

    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_ANSWERS, description="How many answers.")
    max_tokens: int | None = ranged("max_tokens", "The most tokens of an answer; without it, what the context holds.")

    @property
    def asked_tokens(self) -> int | None:
        """The most tokens of an answer, if the client says so."""
        return self.max_tokens

    @property
    def answers(self) -> int:
        """How many answers to each prompt."""
        return self.n or 1

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a count of its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)
