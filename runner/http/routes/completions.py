"""POST /v1/completions."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...chat.ask import Raw
from ...sampling import Sampling
from ...serve.model import ServedModel
from ..completion_teller import CompletionTeller
from ..desk import Desk
from ..documents import answers_of
from ..errors import ApiError, Problem
from ..order import Order
from ..shapes.answers import Completion
from ..shapes.completion import CompletionRequest

Prompts = list[str | list[int]]
MOST_ANSWERS = 128  # of one request


def router(desk: Desk) -> APIRouter:
    """The route."""
    found = APIRouter()

    @found.post("/v1/completions", responses=answers_of(Completion, stream=True))
    async def create_completion(body: CompletionRequest, request: Request) -> Response:
        """Continue texts, or tokens, as they stand."""
        order = Order.of(desk, body, request)
        prompts = _prompts(body, order.model)
        size = sum(map(len, prompts)) + len(body.grammar or "")
        tokens, sampling = await desk.made(lambda: _read(body, prompts, order.model), size=size)
        call = order.call(tokens, sampling)
        last = order.last(call, Raw(prompts[0]) if isinstance(prompts[0], str) else None)
        echoes = _echoes(prompts, order.model, body.answers) if body.echo else ()
        return order.answer(call, CompletionTeller(order.who("cmpl-"), last, echoes=echoes))

    return found


def _read(body: CompletionRequest, prompts: Prompts, model: ServedModel) -> tuple[list[tuple[int, ...]], Sampling]:
    found = [Raw(prompt).tokens(model.vocabulary) if isinstance(prompt, str) else prompt for prompt in prompts]
    return list(map(tuple, found)), body.sampling(logprobs=body.logprobs)


def _prompts(body: CompletionRequest, model: ServedModel) -> Prompts:
    if body.echo and body.logprobs is not None:
        said = "echo: how likely the prompt's own tokens were is not kept; ask without logprobs"
        raise ApiError(Problem(400, said, param="echo", code="unsupported_parameter"))
    found = body.prompts()
    if not found:
        raise ApiError(Problem(400, "there is no prompt", param="prompt", code="prompt_empty"))
    if len(found) * (body.answers) > MOST_ANSWERS:
        said = f"{len(found)} prompts of {body.answers} answers; one request takes {MOST_ANSWERS} answers"
        raise ApiError(Problem(400, said, param="prompt"))
    size = model.vocabulary.vocabulary_size
    for tokens in found:
        if not isinstance(tokens, str) and (wrong := next((t for t in tokens if t >= size), None)) is not None:
            said = f"the vocabulary has {size} tokens, there is no {wrong}"
            raise ApiError(Problem(400, said, param="prompt", code="invalid_value"))
    return found


def _echoes(prompts: Prompts, model: ServedModel, n: int) -> list[str]:
    texts = [prompt if isinstance(prompt, str) else _text(prompt, model) for prompt in prompts]
    return [text for text in texts for _ in range(n)]


def _text(tokens: list[int], model: ServedModel) -> str:
    return b"".join(map(model.vocabulary.piece, tokens)).decode("utf-8", errors="replace")
