"""A request of /v1/chat/completions: https://platform.openai.com/docs/api-reference/chat/create."""

from typing import Annotated, Any, Literal

from pydantic import Field

from .settings import FIRST_FAULT, ResponseFormat, Settings, Shape

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class TextPart(Shape):
    """A part of what somebody says."""

    type: Literal["text"]
    text: str


class CalledFunction(Shape):
    """A function that was called; `arguments` is JSON in a string."""

    name: FunctionName
    arguments: str


class MadeCall(Shape):
    """A call that the model made."""

    id: str = Field(max_length=256)
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(default=None, description="Accepted, and without effect.")


class ChatMessage(Shape):
    """One turn. What an answer's message holds beside these may be sent back with it, and is passed over."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], FIRST_FAULT] | None = None
    name: str | None = Field(default=None, max_length=256)
    tool_calls: Annotated[list[MadeCall], FIRST_FAULT] | None = None
    tool_call_id: str | None = Field(default=None, max_length=256)
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        """All that is said."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content)


class Function(Shape):
    """What the model may call; `parameters` is a JSON Schema."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Shape):
    """A tool of the only kind there is."""

    type: Literal["function"]
    function: Function


class ChosenName(Shape):
    """Which function."""

    name: FunctionName


class ChosenTool(Shape):
    """The function that must be called."""

    type: Literal["function"]
    function: ChosenName


class ChatRequest(Settings):
    """A conversation that the model answers."""

    messages: Annotated[list[ChatMessage], FIRST_FAULT] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=2**31 - 1, description="As max_tokens.")
    logprobs: bool | None = Field(default=None, description="Say how likely the tokens were.")
    top_logprobs: int | None = Field(default=None, ge=0, le=20, description="And so many of the likeliest ones.")
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], FIRST_FAULT] | None = Field(default=None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = Field(default=None, description="Accepted, and without effect: nothing is stored.")
    service_tier: str | None = Field(default=None, description="Accepted, and without effect.")

    @property
    def most_tokens(self) -> int:
        """Under either of its names."""
        return self.max_completion_tokens or super().most_tokens
