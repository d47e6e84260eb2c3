"""What an exception of the application is to a client: an answer in OpenAI's shape."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..errors import RunnerError
from .errors import ApiError, Problem, problem_of
from .shapes import unsupported


def add_refusals(api: FastAPI) -> None:
    """Has `api` answer so whatever its routes raise, except for faults."""
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _wrong_route)
    api.add_exception_handler(ApiError, _refused)
    api.add_exception_handler(RunnerError, _refused)


def _refused(request: Request, error: Exception) -> Response:
    return _answer(request, error.problem if isinstance(error, ApiError) else problem_of(_runner_error(error)))


def _answer(request: Request, problem: Problem) -> Response:
    request.scope["state"]["refusal"] = problem.message
    return Response(problem.body(), problem.status, problem.headers(), media_type="application/json")


def _runner_error(error: Exception) -> RunnerError:
    return error if isinstance(error, RunnerError) else RunnerError(str(error))


def _wrong_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    path = request.scope["path"][:200]
    if status == 404:
        return _answer(request, Problem(404, f"there is no {request.method} {path}", code="not_found"))
    if status != 405:
        # FastAPI's own: a number of more digits than Python reads.
        return _answer(request, Problem(status, "the body is not JSON that can be read", code="invalid_json"))
    takes = (getattr(error, "headers", None) or {}).get("Allow", "")
    said = f"{path} takes {takes or 'something else'}, not {request.method}"
    found = _answer(request, Problem(405, said, code="method_not_allowed"))
    found.headers["allow"] = takes
    return found


def _invalid(request: Request, error: Exception) -> Response:
    found, body = (error.errors(), error.body) if isinstance(error, RequestValidationError) else ([], None)
    return _answer(request, _problem(found, body))


def _problem(found: Sequence[dict[str, Any]], body: object) -> Problem:
    """What is wrong deepest in the body: of a union's branches, that is the one which was meant."""
    places = [tuple(_places(one, body)) for one in found]
    place = max(places, key=len, default=())
    worst = found[places.index(place)] if found else {}
    param = ".".join(map(str, place)) or None
    if worst.get("type") == "json_invalid":
        return Problem(400, "the body is not JSON", code="invalid_json")
    if worst.get("type") == "extra_forbidden":
        return Problem(400, f"unknown parameter {param!r:.200}", param=param, code="unknown_parameter")
    if not place:
        return Problem(400, "the body is not a JSON object", code="invalid_json")
    code = unsupported.KIND if worst.get("type") == unsupported.KIND else "invalid_value"
    return Problem(400, f"{param}: {worst.get('msg', 'it makes no sense')}", param=param, code=code)


def _places(found: dict[str, Any], body: object) -> Iterator[str | int]:
    """Where it is: pydantic names the branches of unions too, which are no places in a body."""
    location = found.get("loc", ())[1:]
    for number, part in enumerate(location):
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and isinstance(part, int)):
            body = body[part]
            yield part
        elif found.get("type") == "missing" and number == len(location) - 1:
            yield part
