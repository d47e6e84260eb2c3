"""The settings of an answer as clients send them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InvalidSampling
from ...grammar import json_schema_to_gbnf
from ...sampling import MAX_ANSWERS, MAX_BIAS, MAX_SEED, MAX_STOPS, RANGES, Sampling

Bias = Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS, allow_inf_nan=False)]
# For every list: what is wrong with 100,000 values would take seconds to put together, and one place is told.
FIRST_FAULT = Field(fail_fast=True)
Texts = Annotated[list[str], FIRST_FAULT]


class Shape(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


def _ranged(name: str, said: str) -> Any:
    _, least, most = RANGES[name]
    return Field(default=None, ge=least, le=most, description=said)


class StreamOptions(Shape):
    """What a stream tells beside the answer."""

    include_usage: bool | None = Field(default=None, description="A last chunk counts the tokens.")
    include_obfuscation: bool | None = Field(default=None, description="Accepted, and without effect.")


class Settings(Shape):
    """What both kinds of completion take."""

    model: str | None = Field(default=None, max_length=1024, description="A digest, a prefix of one, or a name.")
    stream: bool | None = Field(default=None, description="Send tokens as they are made, as server-sent events.")
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_ANSWERS, description="How many answers.")
    max_tokens: int | None = _ranged("max_tokens", "The most tokens of an answer; without it, what the context holds.")
    temperature: float | None = _ranged("temperature", "0 always takes the likeliest token.")
    top_p: float | None = _ranged("top_p", "Choose among tokens of this total probability.")
    top_k: int | None = _ranged("top_k", "Choose among so many tokens; 0 is all.")
    min_p: float | None = _ranged("min_p", "Drop tokens less likely than this share of the likeliest.")
    typical_p: float | None = _ranged("typical_p", "Choose among tokens about as surprising as expected; 1 is off.")
    repeat_penalty: float | None = _ranged("repeat_penalty", "Make tokens of the last ones less likely; 1 is off.")
    repeat_last_n: int | None = _ranged("repeat_last_n", "How many last tokens penalties look at; -1 is all.")
    frequency_penalty: float | None = _ranged("frequency_penalty", "Taken from a logit each time its token was there.")
    presence_penalty: float | None = _ranged("presence_penalty", "Taken from a logit if its token was there.")
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Bias] | None = Field(
        default=None, description="Added to the logits of tokens, by their ids."
    )
    seed: int | None = Field(default=None, ge=-1, le=MAX_SEED, description="The same seed, the same text; -1 is none.")
    stop: str | Texts | None = Field(
        default=None, max_length=65536, description=f"The answer ends before any of these texts, at most {MAX_STOPS}."
    )
    ignore_eos: bool | None = Field(default=None, description="Go on where the model would end.")
    cache_prompt: bool | None = Field(default=None, description="false: neither reuse nor keep what prompts left.")
    grammar: str | None = Field(default=None, description="Only what this grammar in GBNF describes.")
    receipt: bool | None = Field(default=None, description="Say what produced the answer, for `llstore replay`.")
    user: str | None = Field(default=None, description="Accepted, and without effect.")
    metadata: dict[str, str] | None = Field(default=None, description="Accepted, and without effect.")

    def sampling(self, *, schema: dict[str, Any] | None = None, logprobs: int | None = None) -> Sampling:
        """How tokens are chosen. Raises InvalidSampling."""
        if schema is not None and self.grammar is not None:
            raise InvalidSampling("grammar and response_format exclude each other")
        grammar = self.grammar if schema is None else json_schema_to_gbnf(schema)
        given = {name: getattr(self, name) for name in _PLAIN if getattr(self, name) is not None}
        return Sampling(
            **given,
            max_tokens=self.most_tokens,
            seed=None if self.seed in (None, -1) else self.seed,
            stop=_stops(self.stop),
            logit_bias=tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            logprobs=logprobs,
            grammar=grammar,
        )

    @property
    def most_tokens(self) -> int:
        """The most tokens of an answer; the context holds fewer than the default."""
        return self.max_tokens or int(RANGES["max_tokens"][2])

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a count of its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


_PLAIN = (
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "ignore_eos"),
    *("repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty"),
)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    texts = [stop] if isinstance(stop, str) else stop or []
    return tuple(texts)


class TextFormat(Shape):
    """Any text."""

    type: Literal["text"]


class AnyJson(Shape):
    """A JSON object."""

    type: Literal["json_object"]


class NamedSchema(Shape):
    """A JSON Schema, and what it is called; answers always fit it, strict or not."""

    name: str = Field(max_length=64)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class SchemaFormat(Shape):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | AnyJson | SchemaFormat, Field(discriminator="type")]


def schema_of(form: ResponseFormat | None) -> dict[str, Any] | None:
    """The JSON Schema that an answer has to fit; None for any text."""
    if isinstance(form, SchemaFormat):
        return form.json_schema.schema_ if form.json_schema.schema_ is not None else {"type": "object"}
    return {"type": "object"} if isinstance(form, AnyJson) else None
