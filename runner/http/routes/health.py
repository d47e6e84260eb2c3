"""GET /health, /ready and /metrics."""

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from ...observe.metrics import CONTENT_TYPE
from ..desk import Desk
from ..documents import answers_of
from ..errors import problem_of
from ..shapes.answers import Health


def router(desk: Desk) -> APIRouter:
    """The routes."""
    found = APIRouter()

    @found.get("/health", responses=answers_of(Health, errors=(503,)))
    async def health() -> Response:
        """Whether the server can still do its work: 503 once an engine was given up."""
        if failure := desk.service.models.failure:
            return JSONResponse(problem_of(failure).document(), 503)
        return JSONResponse({"status": "ok"})

    @found.get("/ready", responses={**answers_of(Health, errors=()), 503: {"model": Health}})
    async def ready() -> Response:
        """Whether it takes requests: 503 while it loads and once it is about to stop."""
        state = desk.service.state
        return JSONResponse({"status": state}, 200 if state == "ready" else 503)

    @found.get("/metrics", responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}})
    async def metrics() -> Response:
        """Counters, gauges and histograms (docs/metrics.md)."""
        return Response(await desk.scrape(), media_type=CONTENT_TYPE)

    return found
