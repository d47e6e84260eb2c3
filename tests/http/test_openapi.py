"""GET /openapi.json: what it says of the server is so."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from serving import Server, llstore, serving

SOAK = bool(os.environ.get("LLSTORE_SOAK"))
EXAMPLES = 1500 if SOAK else 20
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"),
)
SMALL = ("--parallel", "4", "--threads", "1")
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FORM = {"content-type": "application/x-www-form-urlencoded"}

Asked = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def small(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The tiny model, with room for all that a request may ask for at once; answers without a limit are short."""
    with serving(tmp_path_factory.mktemp("small"), tiny, *SMALL, "--queue", "1024", "--ctx", "128") as found:
        yield found


@dataclass(frozen=True)
class Guarded:
    """A server with two keys: one of a tenant that may make two requests a minute, one without limits."""

    server: Server
    bounded: str
    free: str


@pytest.fixture(scope="module")
def guarded(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A model whose answers may take seconds, where nobody may wait."""
    home = tmp_path_factory.mktemp("guarded")
    bounded = llstore(home, "key", "create", "team", "--rpm", "2").stdout.strip()
    free = llstore(home, "key", "create", "others").stdout.strip()
    with serving(home, wide, *SMALL, "--queue", "0", "--ctx", "8192") as found:
        yield Guarded(found, bounded, free)


def document(of: Server | Guarded) -> dict[str, Any]:
    server, key = (of.server, of.free) if isinstance(of, Guarded) else (of, "")
    with server.client(key) as http:
        found: dict[str, Any] = http.get("/openapi.json").json()
    return found


def check(answer: httpx.Response, told: dict[str, Any], path: str) -> None:
    """Against what the document says of such an answer."""
    operation = told["paths"][path][answer.request.method.lower()]
    assert str(answer.status_code) in operation["responses"], f"{path} does not answer {answer.status_code}"
    kinds = operation["responses"][str(answer.status_code)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in kinds
    if kind == "application/json":
        jsonschema_rs.validate({**kinds[kind]["schema"], "components": told["components"]}, answer.json())


def test_it_lists_the_routes_that_there_are(small: Server) -> None:
    from llstore.runner.http.app import ROUTES

    there: Any = None  # a router needs a desk only once it is asked
    routes = [route for room in ROUTES for route in room.router(there).routes]
    # Of a parameter that takes slashes, the document has the name alone.
    had = {(route.path.replace(":path}", "}"), method.lower()) for route in routes for method in route.methods}
    told = document(small)["paths"]
    assert {(path, method) for path, methods in told.items() for method in methods} == had


def test_it_knows_no_answers_but_ours(small: Server) -> None:
    found = document(small)
    assert "HTTPValidationError" not in str(found)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            assert "422" not in operation["responses"]
            for status, answer in operation["responses"].items():
                if status >= "4" and path != "/ready":
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer"), path


GOOD: list[Asked] = [
    ("POST", "/v1/chat/completions", HELLO),
    ("POST", "/v1/chat/completions", {**HELLO, "n": 3, "logprobs": True, "top_logprobs": 2, "receipt": False}),
    ("POST", "/v1/chat/completions", {**HELLO, "receipt": True}),
    ("POST", "/v1/chat/completions", {**HELLO, "stream": True}),
    ("POST", "/v1/responses", {"input": "Hello", "max_output_tokens": 2}),
    ("POST", "/v1/responses", {"input": "Hello", "max_output_tokens": 2, "stream": True}),
    ("POST", "/v1/completions", {"prompt": ["a", "b"], "max_tokens": 2, "logprobs": 1}),
    ("POST", "/v1/completions", {"prompt": [5, 6], "max_tokens": 2, "stream": True}),
    ("POST", "/tokenize", {"content": "abc"}),
    ("POST", "/tokenize", {"content": "é", "with_pieces": True}),
    ("POST", "/detokenize", {"tokens": [1, 2]}),
    *(("GET", path, {}) for path in ("/v1/models", "/health", "/ready", "/metrics")),
]


@pytest.mark.parametrize(("method", "path", "body"), GOOD, ids=range(len(GOOD)))
def test_answers_are_as_it_says(small: Server, method: str, path: str, body: dict[str, Any]) -> None:
    with small.client() as http:
        answer = http.request(method, path, json=body or None)
        assert answer.status_code == 200, answer.text
        check(answer, document(small), path)


BAD: list[tuple[int, Asked]] = [
    (400, ("POST", "/v1/chat/completions", {"content": b"{", "headers": {"content-type": "application/json"}})),
    (400, ("POST", "/v1/chat/completions", {"json": {**HELLO, "temperature": -1}})),
    (400, ("POST", "/v1/chat/completions", {"json": {"messages": [{"role": "user", "content": "long " * 500}]}})),
    (400, ("POST", "/v1/completions", {"json": {"prompt": "", "grammar": "x"}})),
    (400, ("POST", "/v1/responses", {"json": {"input": "Hello", "previous_response_id": "resp_1"}})),
    (400, ("POST", "/v1/responses", {"json": {"input": []}})),
    (400, ("POST", "/detokenize", {"json": {"tokens": [10**6]}})),
    (400, ("POST", "/tokenize", {"json": {"content": "x", "unheard": "of"}})),
    (403, ("GET", "/v1/models", {"headers": {"host": "elsewhere.example"}})),
    (403, ("GET", "/health", {"headers": {"origin": "http://elsewhere.example"}})),
    (403, ("GET", "/metrics", {"headers": {"host": "elsewhere.example"}})),
    (404, ("POST", "/v1/chat/completions", {"json": {**HELLO, "model": "no/such"}})),
    (404, ("POST", "/tokenize", {"json": {"content": "x", "model": "no/such"}})),
    (413, ("POST", "/v1/completions", {"json": {"prompt": "x" * (9 << 20)}})),
    (415, ("POST", "/v1/chat/completions", {"content": b"{}", "headers": FORM})),
    (415, ("POST", "/detokenize", {"content": b"{}", "headers": FORM})),
    (431, ("GET", "/ready", {"headers": {"x-long": "x" * 40_000}})),
]


@pytest.mark.parametrize(("status", "asked"), BAD, ids=range(len(BAD)))
def test_errors_are_as_it_says(small: Server, status: int, asked: Asked) -> None:
    method, path, more = asked
    with small.client() as http:
        answer = http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        check(answer, document(small), path)


def test_a_model_that_is_not_there_is_as_it_says(small: Server) -> None:
    with small.client() as http:
        check(http.get("/v1/models/test/model"), document(small), "/v1/models/{model}")
        answer = http.get("/v1/models/no/such")
        assert answer.status_code == 404
        check(answer, document(small), "/v1/models/{model}")


def test_refusals_of_callers_are_as_it_says(guarded: Guarded) -> None:
    told = document(guarded)
    for path in ("/v1/models", "/metrics"):
        answer = httpx.get(guarded.server.url + path)
        assert answer.status_code == 401
        check(answer, told, path)
    with guarded.server.client(guarded.bounded) as http:
        statuses = []
        for _ in range(3):
            answer = http.post("/v1/chat/completions", json=HELLO)
            statuses.append(answer.status_code)
            check(answer, told, "/v1/chat/completions")
        assert statuses == [200, 200, 429]
        answer = http.get("/metrics")
        assert answer.status_code == 403
        check(answer, told, "/metrics")


def test_calls_of_tools_and_a_full_server_are_as_it_says(guarded: Guarded) -> None:
    told = document(guarded)
    with guarded.server.client(guarded.free) as http:
        called = {**HELLO, "tools": [TOOL], "tool_choice": "required", "max_tokens": 100}
        check(answered(http, called, 200), told, "/v1/chat/completions")
        check(answered(http, {**HELLO, "n": 128}, 400), told, "/v1/chat/completions")
        full = {**HELLO, "n": 4, "max_tokens": 8000, "ignore_eos": True, "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=full) as stream:
            pieces = stream.iter_bytes()  # held: httpx closes the connection of an iterator that is dropped
            next(pieces)
            check(answered(http, HELLO, 503), told, "/v1/chat/completions")


def answered(http: httpx.Client, body: dict[str, Any], status: int) -> httpx.Response:
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    return answer


def test_nothing_that_it_allows_or_forbids_is_a_fault(small: Server, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).with_name("st")), "run", f"{small.url}/openapi.json", "--no-color"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure"),
        *("--request-timeout", "60", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3000 if SOAK else 300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not [event for event in small.events("message") if "a fault in" in event["text"]]
