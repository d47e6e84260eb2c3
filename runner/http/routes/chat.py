"""POST /v1/chat/completions."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...chat.message import Message
from ...serve.model import ServedModel
from ...tools.plan import AUTO
from ...tools.tool import Tool, ToolCall
from ..chat_teller import ChatTeller
from ..conversation import Conversation, Offer
from ..desk import Desk
from ..documents import answers_of
from ..errors import ApiError, Problem, place
from ..order import Order
from ..shapes.answers import ChatCompletion
from ..shapes.chat import ChatMessage, ChatRequest, ChosenTool, FunctionTool, MadeCall
from ..shapes.formats import grammar_of


def router(desk: Desk) -> APIRouter:
    """The route."""
    found = APIRouter()

    @found.post("/v1/chat/completions", responses=answers_of(ChatCompletion, stream=True))
    async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation."""
        order = Order.of(desk, body, request)
        asked = await desk.aside(lambda: _conversation(body, order.model))
        call = order.call([asked.tokens], asked.sampling)
        return order.answer(call, ChatTeller(order.who("chatcmpl-"), order.last(call, asked.chat), asked.plan))

    return found


def _conversation(body: ChatRequest, model: ServedModel) -> Conversation:
    messages = [_message(message, f"messages.{n}") for n, message in enumerate(body.messages)]
    if body.top_logprobs and not body.logprobs:
        raise ApiError(Problem(400, "top_logprobs needs logprobs: true", param="top_logprobs", code="invalid_value"))
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    with place("response_format"):
        form = grammar_of(body.response_format)
    return Conversation.of(messages, body.sampling(form=form, logprobs=logprobs), _offer(body), model)


def _offer(body: ChatRequest) -> Offer:
    choice = body.tool_choice.function.name if isinstance(body.tool_choice, ChosenTool) else body.tool_choice or AUTO
    return Offer(tuple(map(_tool, body.tools or ())), choice, body.parallel_tool_calls is not False)


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
