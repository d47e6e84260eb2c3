"""What the server answers, for its OpenAPI document. Answers are made by hand: these only describe them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Told(BaseModel):
    """An object with at least these fields."""

    model_config = ConfigDict(protected_namespaces=())


class Error(Told):
    """What is wrong; `param` is the place in the request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Told):
    """OpenAI's error object."""

    error: Error


class PromptDetails(Told):
    """Of the prompt's tokens, those that did not have to be read again."""

    cached_tokens: int


class Usage(Told):
    """How many tokens were read and made."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Answer(Told):
    """What both kinds of completion begin with; `system_fingerprint` is the model's digest."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage
    receipt: dict[str, Any] | None = None


class CompletionChoice(Told):
    """One continued prompt."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class Completion(Answer):
    """Continued prompts."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class CalledFunction(Told):
    """A function that the model wants to be called; `arguments` is JSON in a string."""

    name: str
    arguments: str


class ToolCall(Told):
    """A call that the model makes."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Told):
    """What the assistant says, and calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(Told):
    """One answer to a conversation."""

    index: int
    message: AssistantMessage
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(Answer):
    """Answers to a conversation."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Model(Told):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    digest: str
    names: list[str]
    context_length: int
    architecture: str | None
    parameters: int | None
    quantization: str | None


class ModelList(Told):
    """The models that the caller may use."""

    object: Literal["list"]
    data: list[Model]


class Piece(Told):
    """A token and its text, or its bytes where they are no text alone."""

    id: int
    piece: str | list[int]


class Tokenized(Told):
    """Token ids, or with their pieces."""

    tokens: list[int] | list[Piece]


class Detokenized(Told):
    """A text."""

    content: str


class Health(Told):
    """How the server is."""

    status: str
