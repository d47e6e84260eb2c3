"""POST /v1/completions."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ...chat.ask import Raw
from ...sampling import answers
from ...serve.call import Call
from ...serve.model import ServedModel
from ..answering import Stream, Whole
from ..completion_teller import CompletionTeller
from ..desk import Desk, prompts_of, seeded
from ..documents import answers_of
from ..errors import ApiError, Problem
from ..receipts import Receipts
from ..shapes.answers import Completion
from ..shapes.completion import CompletionRequest
from ..teller import Last

Prompts = list[str | list[int]]
MOST_ANSWERS = 128  # of one request


def router(desk: Desk) -> APIRouter:
    """The route."""
    found = APIRouter()

    @found.post("/v1/completions", responses=answers_of(Completion, stream=True))
    async def create_completion(body: CompletionRequest, request: Request) -> Response:
        """Continue texts, or tokens, as they stand."""
        desk.note(request, lambda: body.prompt if isinstance(body.prompt, str) else str(body.prompt))
        desk.service.check_open()
        model = desk.model(request, body.model)
        prompts = _prompts(body, model)
        asks = [Raw(prompt) for prompt in prompts if isinstance(prompt, str)]
        read = iter(await desk.tokens(asks, model))
        tokens = [next(read) if isinstance(prompt, str) else tuple(prompt) for prompt in prompts]
        sampling = await desk.aside(lambda: body.sampling(logprobs=body.logprobs))
        samplings = answers(seeded(sampling) if body.receipt else sampling, body.n or 1)
        call = Call(
            model,
            desk.caller(request),
            prompts_of(tokens, samplings),
            fresh=body.cache_prompt is False,
            asked_tokens=body.max_tokens,
        )
        if body.receipt and (len(call.prompts) > 1 or not asks):
            raise ApiError(Problem(400, "a receipt is of one answer to one text", param="receipt"))
        last = Last(call, body.with_usage, Receipts(asks[0]) if body.receipt else None)
        echoes = _echoes(prompts, model, len(samplings)) if body.echo else ()
        teller = CompletionTeller(desk.who("cmpl", model, body.model), last, echoes=echoes)
        return (Stream if body.stream else Whole)(desk.begin(call), teller)

    return found


def _prompts(body: CompletionRequest, model: ServedModel) -> Prompts:
    found = body.prompts()
    if not found:
        raise ApiError(Problem(400, "there is no prompt", param="prompt", code="prompt_empty"))
    if len(found) * (body.n or 1) > MOST_ANSWERS:
        said = f"{len(found)} prompts of {body.n or 1} answers; one request takes {MOST_ANSWERS} answers"
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
