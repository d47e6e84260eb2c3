"""What a response is asked with: https://platform.openai.com/docs/api-reference/responses/create.

What the items of an answer hold beside these may be sent back with them, and is passed over.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from .chat import FunctionName
from .settings import Items, Shape

Status = Literal["in_progress", "completed", "incomplete"]


class TextPart(Shape):
    """A part of what somebody says."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = Field(default=None, description="What a client read in it; accepted, and without effect.")


def _form(value: object) -> str | None:
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else None


# Tags with a space are no places in a request.
Content = Annotated[
    Annotated[str, Tag("a text")] | Annotated[Items[TextPart], Tag("a list")],
    Discriminator(_form, "invalid_content", "it must be a text or a list of its parts"),
]


class Turn(Shape):
    """What somebody said."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: str | None = None
    status: Status | None = None
    phase: str | None = None


class FunctionCall(Shape):
    """A call that the model made; `arguments` is JSON in a string."""

    type: Literal["function_call"]
    call_id: str = Field(max_length=256)
    name: FunctionName
    arguments: str
    id: str | None = None
    status: Status | None = None


class FunctionCallOutput(Shape):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: str = Field(max_length=256)
    output: Content
    id: str | None = None
    status: Status | None = None


def _kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else value
    return "a message" if kind is None or kind == "message" else f"a {kind}" if isinstance(kind, str) else None


Item = Annotated[
    Annotated[Turn, Tag("a message")]
    | Annotated[FunctionCall, Tag("a function_call")]
    | Annotated[FunctionCallOutput, Tag("a function_call_output")],
    Discriminator(_kind, "invalid_item", "it must be a message, a function_call or a function_call_output"),
]
Input = Annotated[
    Annotated[str, Tag("a text")] | Annotated[Items[Item], Field(min_length=1), Tag("a list")],
    Discriminator(_form, "invalid_input", "it must be a text or a list of items"),
]


def text_of(content: str | list[TextPart]) -> str:
    """All that is said."""
    return content if isinstance(content, str) else "".join(part.text for part in content)
