"""The settings of an answer as clients send them."""

from abc import abstractmethod
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InvalidSampling
from ...sampling import MAX_BIAS, MAX_SEED, MAX_STOP_CHARACTERS, MAX_STOPS, RANGES, Sampling

Bias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS, allow_inf_nan=False)]
_Item = TypeVar("_Item")
# Only the first wrong item is told: to tell a hundred thousand takes seconds, in which nobody else is heard.
Items = Annotated[list[_Item], Field(fail_fast=True)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


class Shape(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


def ranged(name: str, said: str) -> Any:
    """A field that takes what `Sampling` takes under that name."""
    _, least, most = RANGES[name]
    return Field(default=None, ge=least, le=most, description=said)


class Settings(Shape):
    """What every route takes that answers a prompt."""

    model: str | None = Field(default=None, max_length=1024, description="A digest, a prefix of one, or a name.")
    stream: bool | None = Field(default=None, description="Send tokens as they are made, as server-sent events.")
    temperature: float | None = ranged("temperature", "0 always takes the likeliest token.")
    top_p: float | None = ranged("top_p", "Choose among tokens of this total probability.")
    top_k: int | None = ranged("top_k", "Choose among so many tokens; 0 is all.")
    min_p: float | None = ranged("min_p", "Drop tokens less likely than this share of the likeliest.")
    typical_p: float | None = ranged("typical_p", "Choose among tokens about as surprising as expected; 1 is off.")
    repeat_penalty: float | None = ranged("repeat_penalty", "Make tokens of the last ones less likely; 1 is off.")
    repeat_last_n: int | None = ranged("repeat_last_n", "How many last tokens penalties look at; -1 is all.")
    frequency_penalty: float | None = ranged("frequency_penalty", "Taken from a logit each time its token was there.")
    presence_penalty: float | None = ranged("presence_penalty", "Taken from a logit if its token was there.")
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Bias] | None = Field(
        default=None, description="Added to the logits of tokens, by their ids."
    )
    seed: int | None = Field(default=None, ge=-1, le=MAX_SEED, description="The same seed, the same text; -1 is none.")
    stop: Stop | Annotated[Items[Stop], Field(max_length=MAX_STOPS)] | None = Field(
        default=None, description="The answer ends before any of these texts."
    )
    ignore_eos: bool | None = Field(default=None, description="Go on where the model would end.")
    cache_prompt: bool | None = Field(default=None, description="false: neither reuse nor keep what prompts left.")
    grammar: str | None = Field(default=None, description="Only what this grammar in GBNF describes.")
    receipt: bool | None = Field(default=None, description="Say what produced the answer, for `llstore replay`.")
    user: str | None = Field(default=None, description="Accepted, and without effect.")
    metadata: dict[str, str] | None = Field(default=None, description="Accepted, and without effect.")

    @property
    @abstractmethod
    def asked_tokens(self) -> int | None:
        """The most tokens of an answer, if the client says so."""

    @property
    def answers(self) -> int:
        """How many answers to each prompt."""
        return 1

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a count of its tokens."""
        return False

    def sampling(self, *, form: str | None = None, logprobs: int | None = None) -> Sampling:
        """How tokens are chosen; `form` is the grammar of the format that was asked for. Raises InvalidSampling."""
        if form is not None and self.grammar is not None:
            raise InvalidSampling("grammar and a format of the answer exclude each other")
        given = {name: getattr(self, name) for name in _PLAIN if getattr(self, name) is not None}
        return Sampling(
            **given,
            max_tokens=self.asked_tokens or int(RANGES["max_tokens"][2]),  # the context holds fewer
            seed=None if self.seed in (None, -1) else self.seed,
            stop=_stops(self.stop),
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            logprobs=logprobs,
            grammar=self.grammar if form is None else form,
        )


_PLAIN = (
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "ignore_eos"),
    *("repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty"),
)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    texts = [stop] if isinstance(stop, str) else stop or []
    return tuple(texts)
