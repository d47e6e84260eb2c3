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


class OutputText(Told):
    """A text of a message; `logprobs` are empty unless they were asked for."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[dict[str, Any]]


class OutputMessage(Told):
    """What the model says."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class OutputCall(CalledFunction):
    """A call that the model makes."""

    id: str
    type: Literal["function_call"]
    status: Literal["in_progress", "completed", "incomplete"]
    call_id: str


class InputDetails(PromptDetails):
    """Of the tokens that were read, those that had been read before; what was kept of them is not counted."""

    cache_write_tokens: int


class OutputDetails(Told):
    """Of the tokens that were made, those that nobody sees: none."""

    reasoning_tokens: int


class ResponseUsage(Told):
    """How many tokens were read and made."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseError(Told):
    """Why a stream could not be completed."""

    code: str
    message: str


class IncompleteDetails(Told):
    """Why an answer was cut off."""

    reason: Literal["max_output_tokens"]


class ResponseAnswer(Told):
    """A response, and what was asked for it; `system_fingerprint` is the model's digest."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    system_fingerprint: str
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    output: list[OutputMessage | OutputCall]
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    temperature: float
    top_p: float
    text: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    store: Literal[False]
    receipt: dict[str, Any] | None = None


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
