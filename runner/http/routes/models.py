"""GET /v1/models and /v1/models/{model}."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ...serve.model import ServedModel
from ..desk import Desk
from ..documents import ANYWHERE, answers_of
from ..shapes.answers import Model, ModelList


def router(desk: Desk) -> APIRouter:
    """The routes."""
    found = APIRouter()

    @found.get("/v1/models", responses=answers_of(ModelList, errors=ANYWHERE))
    async def list_models(request: Request) -> Response:
        """The models that the caller may use."""
        allowed = desk.service.models.allowed(desk.caller(request).tenant.models)
        return JSONResponse({"object": "list", "data": [_document(model) for model in allowed]})

    @found.get("/v1/models/{model:path}", responses=answers_of(Model, errors=(*ANYWHERE, 404)))
    async def retrieve_model(model: str, request: Request) -> Response:
        """One model, by whatever it is called."""
        return JSONResponse(_document(desk.model(request, model)))

    return found


def _document(model: ServedModel) -> dict[str, Any]:
    facts = model.identity.manifest.facts
    return {
        "id": model.identity.label,
        "object": "model",
        "created": model.created,
        "owned_by": "llstore",
        "digest": str(model.digest),
        "names": [str(name) for name in model.identity.names],
        "context_length": model.context,
        "architecture": facts.architecture,
        "parameters": facts.parameters,
        "quantization": facts.quantization,
    }
