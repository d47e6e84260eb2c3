"""The application: routes, and around them what every request passes through."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ..errors import RunnerError
from ..tenants.keyring import Keyring
from .asgi import App, Scope
from .body import Bodies
from .desk import Desk
from .envelope import Envelope, Exchange
from .errors import ApiError, Problem, problem_of
from .guard import Guard
from .routes import chat, completions, health, models, responses, tokens
from .shapes import unsupported

ROUTES = (chat, completions, responses, models, tokens, health)


def application(
    desk: Desk,
    *,
    keys: Callable[[], Keyring],
    done: Callable[[Exchange, Scope], None],
) -> App:
    """The ASGI application. `keys` gives those of the moment, `done` is told of each request when it is over."""
    live = desk.service.live
    api = FastAPI(title="llstore", version=version("llstore"), docs_url=None, redoc_url=None)
    for route in ROUTES:
        api.include_router(route.router(desk))
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _wrong_route)
    api.add_exception_handler(ApiError, _refused)
    api.add_exception_handler(RunnerError, _refused)
    return Envelope(Guard(Bodies(api, live), keys, live), done)


def _refused(request: Request, error: Exception) -> Response:
    problem = error.problem if isinstance(error, ApiError) else problem_of(_runner_error(error))
    request.scope["state"]["refusal"] = problem.message
    return JSONResponse(problem.document(), problem.status, problem.headers())


def _runner_error(error: Exception) -> RunnerError:
    return error if isinstance(error, RunnerError) else RunnerError(str(error))


def _wrong_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = f"there is no {request.method} {request.url.path[:200]}" if status in (404, 405) else str(error)
    return _refused(request, ApiError(Problem(status, said, code="not_found" if status == 404 else None)))


def _invalid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    return _refused(request, ApiError(_problem(found[0] if found else {})))


def _problem(found: dict[str, Any]) -> Problem:
    """What is wrong first; unions name their branches, which are no places in a request."""
    place = [str(part) for part in found.get("loc", ())[1:] if _is_place(part)]
    param = ".".join(place) or None
    if found.get("type") == "json_invalid":
        return Problem(400, "the body is not JSON", code="invalid_json")
    if found.get("type") == "extra_forbidden":
        return Problem(400, f"unknown parameter {param!r:.200}", param=param, code="unknown_parameter")
    said = str(found.get("msg", "the request makes no sense"))
    code = unsupported.KIND if found.get("type") == unsupported.KIND else "invalid_value"
    return Problem(400, f"{param}: {said}" if param else said, param=param, code=code)


def _is_place(part: object) -> bool:
    return isinstance(part, int) or (isinstance(part, str) and part.replace("_", "").isalnum() and part.islower())
