"""A request of /v1/responses: https://platform.openai.com/docs/api-reference/responses/create."""

from typing import Any, Literal

from pydantic import Field

from .chat import FunctionName
from .completion_settings import Obfuscation
from .formats import FlatFormat
from .items import Input
from .settings import Items, Settings, Shape, ranged
from .unsupported import Undone, Unkept

LOGPROBS = "message.output_text.logprobs"


class FlatTool(Shape):
    """What the model may call; `parameters` is a JSON Schema. Calls that must be made fit it, strict or not."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FlatChoice(Shape):
    """The function that must be called."""

    type: Literal["function"]
    name: FunctionName


class TextSettings(Shape):
    """How the text of an answer is to be."""

    format: FlatFormat | None = None
    verbosity: Literal["medium"] | None = None


class ResponsesRequest(Settings):
    """What the model answers, without anything that was kept of earlier answers."""

    input: Input = Field(description="A text, or a conversation: messages, calls of functions, and what came of them.")
    instructions: str | None = Field(default=None, description="A system message in front.")
    max_output_tokens: int | None = ranged("max_tokens", "The most tokens; without it, what the context holds.")
    text: TextSettings | None = None
    tools: Items[FlatTool] | None = Field(default=None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    include: Items[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = Field(
        default=None, description="Say how likely the tokens were; of reasoning there is nothing to say."
    )
    top_logprobs: int | None = Field(default=None, ge=0, le=20, description="And so many of the likeliest ones.")
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    stream_options: Obfuscation | None = None
    store: bool | None = Field(default=None, description="Accepted, and without effect: nothing is stored.")
    service_tier: str | None = Field(default=None, description="Accepted, and without effect.")
    safety_identifier: str | None = Field(default=None, description="Accepted, and without effect.")
    prompt_cache_key: str | None = Field(default=None, description="Accepted, and without effect.")
    previous_response_id: Unkept = None
    conversation: Unkept = None
    prompt: Unkept = None
    reasoning: Undone = None
    max_tool_calls: Undone = None
    moderation: Undone = None
    context_management: Undone = None
    prompt_cache_options: Undone = None
    prompt_cache_retention: Undone = None

    @property
    def asked_tokens(self) -> int | None:
        """The most tokens of an answer, if the client says so."""
        return self.max_output_tokens

    @property
    def logprobs(self) -> int | None:
        """How many of the likeliest tokens are told of, 0 for the chosen one alone; None for nothing of it."""
        return self.top_logprobs or 0 if self.top_logprobs or LOGPROBS in (self.include or ()) else None
