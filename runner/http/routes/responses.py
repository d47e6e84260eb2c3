"""POST /v1/responses: the part of it that needs no memory of earlier answers."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...sampling import Sampling
from ...serve.model import ServedModel
from ...tools.plan import AUTO
from ...tools.tool import Tool
from ..conversation import Conversation, Offer
from ..desk import Desk
from ..documents import answers_of
from ..errors import place
from ..order import Order
from ..responses_teller import ResponsesTeller
from ..shapes.answers import ResponseAnswer
from ..shapes.formats import grammar_of
from ..shapes.responses import FlatChoice, FlatTool, ResponsesRequest
from ..shapes.settings import Shape
from ..turns import turns_of


def router(desk: Desk) -> APIRouter:
    """The route."""
    found = APIRouter()

    @found.post("/v1/responses", responses=answers_of(ResponseAnswer, stream=True))
    async def create_response(body: ResponsesRequest, request: Request) -> Response:
        """Answer a text or a conversation. Nothing is stored."""
        order = Order.of(desk, body, request)
        asked = await desk.aside(lambda: _conversation(body, order.model))
        call = order.call([asked.tokens], asked.sampling)
        last = order.last(call, asked.chat)
        teller = ResponsesTeller(order.who("resp_"), last, asked.plan, echo=_echo(body, asked.sampling))
        return order.answer(call, teller)

    return found


def _conversation(body: ResponsesRequest, model: ServedModel) -> Conversation:
    turns = turns_of(body.instructions, body.input)
    with place("text.format"):
        form = grammar_of(body.text.format if body.text else None)
    return Conversation.of(turns, body.sampling(form=form, logprobs=body.logprobs), _offer(body), model)


def _offer(body: ResponsesRequest) -> Offer:
    choice = body.tool_choice.name if isinstance(body.tool_choice, FlatChoice) else body.tool_choice or AUTO
    return Offer(tuple(map(_tool, body.tools or ())), choice, body.parallel_tool_calls is not False)


def _tool(tool: FlatTool) -> Tool:
    return Tool(tool.name, tool.description or "", tool.parameters or {})


def _echo(body: ResponsesRequest, sampling: Sampling) -> dict[str, Any]:
    """What a response repeats of what was asked."""
    form = body.text.format if body.text else None
    return {
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "temperature": sampling.temperature,
        "text": {"format": _sent(form) if form else {"type": "text"}},
        "tool_choice": _sent(body.tool_choice)
        if isinstance(body.tool_choice, FlatChoice)
        else body.tool_choice or AUTO,
        "tools": [_sent(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": sampling.top_p,
        "truncation": "disabled",
        "background": False,
        "previous_response_id": None,
        "reasoning": None,
        "store": False,
        "user": body.user,
    }


def _sent(shape: Shape) -> dict[str, Any]:
    return shape.model_dump(by_alias=True, exclude_unset=True)
