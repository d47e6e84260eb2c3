"""POST /tokenize and /detokenize, as llama-server has them."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ...serve.model import ServedModel
from ..desk import Desk
from ..documents import answers_of
from ..errors import ApiError, Problem
from ..shapes.answers import Detokenized, Tokenized
from ..shapes.tokens import DetokenizeRequest, TokenizeRequest


def router(desk: Desk) -> APIRouter:
    """The routes."""
    found = APIRouter()

    @found.post("/tokenize", responses=answers_of(Tokenized))
    async def tokenize(body: TokenizeRequest, request: Request) -> Response:
        """The tokens of a text."""
        model = desk.model(request, body.model)
        tokens = await desk.aside(
            lambda: model.vocabulary.tokenize(
                body.content, add_special=body.add_special, parse_special=body.parse_special
            )
        )
        if not body.with_pieces:
            return JSONResponse({"tokens": tokens})
        return JSONResponse({"tokens": [_piece(token, model) for token in tokens]})

    @found.post("/detokenize", responses=answers_of(Detokenized))
    async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
        """The text of tokens."""
        model = desk.model(request, body.model)
        size = model.vocabulary.vocabulary_size
        if any(token >= size for token in body.tokens):
            said = f"the vocabulary has {size} tokens, there is no {max(body.tokens)}"
            raise ApiError(Problem(400, said, param="tokens", code="invalid_value"))
        pieces = await desk.aside(lambda: b"".join(map(model.vocabulary.mark, body.tokens)))
        return JSONResponse({"content": pieces.decode("utf-8", errors="replace")})

    return found


def _piece(token: int, model: ServedModel) -> dict[str, Any]:
    data = model.vocabulary.mark(token)
    try:
        return {"id": token, "piece": data.decode()}
    except UnicodeDecodeError:
        # As llama-server says what is no text alone.
        return {"id": token, "piece": list(data)}
