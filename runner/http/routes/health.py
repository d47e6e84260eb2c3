"""GET /health, /ready and /metrics."""

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from ...observe.metrics import CONTENT_TYPE
from ..desk import Desk
from ..documents import ANYWHERE, answers_of, errors_of
from ..errors import problem_of
from ..shapes.answers import ErrorAnswer, Health

_ERRORS = tuple(status for status in ANYWHERE if status != 401)  # nobody needs a key here
_NOT_READY = {"model": Health | ErrorAnswer, "description": "It loads, is about to stop, or is full."}
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}


def router(desk: Desk) -> APIRouter:
    """The routes."""
    found = APIRouter()

    @found.get("/health", responses=answers_of(Health, errors=_ERRORS))
    async def health() -> Response:
        """Whether the server can still do its work: 503 once an engine was given up."""
        if failure := desk.service.models.failure:
            return JSONResponse(problem_of(failure).document(), 503)
        return JSONResponse({"status": "ok"})

    @found.get("/ready", responses={**answers_of(Health, errors=_ERRORS), 503: _NOT_READY})
    async def ready() -> Response:
        """Whether it takes requests: 503 until it has answered a first prompt and once it is about to stop."""
        state = desk.service.state
        return JSONResponse({"status": state}, 200 if state == "ready" else 503)

    @found.get("/metrics", response_class=Response, responses={200: _TEXT, **errors_of(ANYWHERE)})
    async def metrics() -> Response:
        """Counters, gauges and histograms (docs/metrics.md)."""
        return Response(await desk.scrape(), media_type=CONTENT_TYPE)

    return found
