"""POST /v1/chat/completions."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...chat.ask import Chat
from ...chat.message import Message
from ...sampling import Sampling, answers
from ...serve.call import Call
from ...serve.model import ServedModel
from ...tools.plan import ToolPlan, plan
from ...tools.tool import Tool, ToolCall
from ..answering import Stream, Whole
from ..chat_teller import ChatTeller
from ..desk import Desk, prompts_of, seeded
from ..documents import answers_of
from ..errors import ApiError, Problem
from ..receipts import Receipts
from ..shapes.answers import ChatCompletion
from ..shapes.chat import ChatMessage, ChatRequest, ChosenTool, FunctionTool, MadeCall
from ..shapes.settings import schema_of
from ..teller import Last


def router(desk: Desk) -> APIRouter:
    """The route."""
    found = APIRouter()

    @found.post("/v1/chat/completions", responses=answers_of(ChatCompletion, stream=True))
    async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        desk.note(request, lambda: "\n".join(f"{message.role}: {message.text}" for message in body.messages))
        desk.service.check_open()
        model = desk.model(request, body.model)
        asked = await desk.aside(lambda: _Asked.of(body, model))
        samplings = answers(seeded(asked.sampling) if body.receipt else asked.sampling, body.n or 1)
        if body.receipt and len(samplings) > 1:
            raise ApiError(Problem(400, "a receipt is of one answer", param="receipt"))
        call = Call(
            model,
            desk.caller(request),
            prompts_of([asked.tokens], samplings),
            fresh=body.cache_prompt is False,
            asked_tokens=body.max_completion_tokens or body.max_tokens,
        )
        last = Last(call, body.with_usage, Receipts(asked.chat) if body.receipt else None)
        teller = ChatTeller(desk.who("chatcmpl", model, body.model), last, asked.plan)
        return (Stream if body.stream else Whole)(desk.begin(call), teller)

    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """A conversation as the model reads it, how it is to be answered, and how calls in the answer are found."""

    chat: Chat
    tokens: tuple[int, ...]
    sampling: Sampling
    plan: ToolPlan | None

    @classmethod
    def of(cls, body: ChatRequest, model: ServedModel) -> "_Asked":
        """From a request; takes milliseconds, and as long as the template's limit at most."""
        messages = tuple(_message(message, f"messages.{n}") for n, message in enumerate(body.messages))
        planned = _plan(body, model)
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        sampling = body.sampling(schema=schema_of(body.response_format), logprobs=logprobs)
        if planned:
            sampling = planned.sampling(sampling, model.vocabulary)
        chat = planned.chat(messages) if planned else Chat(messages)
        return cls(chat, tuple(chat.tokens(model.vocabulary)), sampling, planned)


def _plan(body: ChatRequest, model: ServedModel) -> ToolPlan | None:
    if not body.tools:
        if body.tool_choice not in (None, "none", "auto"):
            raise ApiError(Problem(400, "tool_choice asks for a call, but there are no tools", param="tool_choice"))
        return None
    choice = body.tool_choice.function.name if isinstance(body.tool_choice, ChosenTool) else body.tool_choice or "auto"
    tools = tuple(map(_tool, body.tools))
    parallel = body.parallel_tool_calls is not False
    return plan(tools, choice, parallel=parallel, template_source=model.vocabulary.chat_template)


def _tool(tool: FunctionTool) -> Tool:
    function = tool.function
    return Tool(function.name, function.description or "", function.parameters or {})


def _message(message: ChatMessage, where: str) -> Message:
    # The newer name of the same thing, which templates do not know.
    role = "system" if message.role == "developer" else message.role
    if message.content is None and not message.tool_calls and role != "assistant":
        raise ApiError(Problem(400, f"{where} has no content", param=f"{where}.content", code="invalid_value"))
    calls = tuple(map(_call, message.tool_calls or ()))
    return Message(role, message.text, tool_calls=calls, tool_call_id=message.tool_call_id or "")


def _call(call: MadeCall) -> ToolCall:
    return ToolCall(call.id, call.function.name, call.function.arguments)
