"""What is wrong is said, with its place in the request; nothing of it is a fault, and nothing hurts the server."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving import Server

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
JSON = {"content-type": "application/json"}
MEGABYTE = 1 << 20

# Every number that a request may have: a route, and the least and most that it may be.
NUMBERS: dict[str, tuple[str, float, float]] = {
    "n": (CHAT, 1, 128),
    "max_tokens": (CHAT, 1, 2**31 - 1),
    "max_completion_tokens": (CHAT, 1, 2**31 - 1),
    "temperature": (CHAT, 0, 100),
    "top_p": (CHAT, 0, 1),
    "top_k": (CHAT, 0, 2**31 - 1),
    "min_p": (CHAT, 0, 1),
    "typical_p": (CHAT, 0, 1),
    "repeat_penalty": (CHAT, 0.01, 100),
    "repeat_last_n": (CHAT, -1, 2**31 - 1),
    "frequency_penalty": (CHAT, -100, 100),
    "presence_penalty": (CHAT, -100, 100),
    "seed": (CHAT, -1, 2**32 - 2),
    "top_logprobs": (CHAT, 0, 20),
    "logprobs": (COMPLETIONS, 0, 20),
}
BEYOND = ["-1e9", "1e9", "1" * 400, "-" + "1" * 400, "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" * 5000]
NO_NUMBERS = ['"1"', "true", "[]", "[1]", "{}", '""']


@pytest.fixture(scope="module", autouse=True)
def unhurt(server: Server) -> Iterator[None]:
    """After all of it, the server still answers, and its log knows of no fault."""
    yield
    with server.client() as http:
        answer = http.post(CHAT, json={**HELLO, "max_tokens": 8})
        assert answer.status_code == 200
        assert http.get("/health").json() == {"status": "ok"}
    assert not [event for event in server.events("message") if "a fault in" in event["text"]]
    assert not [event for event in server.events("request") if event["status"] >= 500]


def refused(answer: httpx.Response, status: int = 400, param: str | None = None) -> str:
    """The message of an error in OpenAI's shape."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert "\n" not in error["message"]
    assert 0 < len(error["message"]) <= 1001
    message: str = error["message"]
    return message


def posted(http: httpx.Client, text: str | bytes, path: str = CHAT) -> httpx.Response:
    return http.post(path, content=text, headers=JSON)


def chat(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post(CHAT, json={**HELLO, **body})


def written(parameter: str, value: str, path: str) -> str:
    """A body with a value as it is written, JSON or not."""
    others = {"prompt": "Hello", "max_tokens": 1} if path == COMPLETIONS else HELLO
    kept = {name: each for name, each in others.items() if name != parameter}
    return f'{json.dumps(kept)[:-1]}, "{parameter}": {value}}}'


@pytest.mark.parametrize("parameter", NUMBERS)
def test_a_number_out_of_range_is_refused_by_name(http: httpx.Client, parameter: str) -> None:
    path, least, most = NUMBERS[parameter]
    for value in [*BEYOND, *NO_NUMBERS]:
        answer = posted(http, written(parameter, value, path), path)
        # Of 5000 digits, Python makes no number: what stands where is not known then.
        message = refused(answer, param=None if len(value) > 4300 else parameter)
        assert len(message) < 300
    for edge in (least - 1, most + 1):
        refused(posted(http, written(parameter, str(edge), path), path), param=parameter)


@pytest.mark.parametrize("parameter", [name for name in NUMBERS if name != "max_completion_tokens"])
def test_the_ends_of_its_range_are_taken(http: httpx.Client, parameter: str) -> None:
    path, least, most = NUMBERS[parameter]
    more = ', "logprobs": true' if parameter == "top_logprobs" else ""
    for value in (least, most if parameter not in ("n", "max_tokens") else 2):
        answer = posted(http, written(parameter, str(value), path)[:-1] + more + "}", path)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "asked", ["gpt-4o", "nobody/nothing", "test/modle", "0" * 64, "x" * 1000, "", " ", "*", "tést"]
)
def test_a_model_that_is_not_served_is_named_with_those_that_are(http: httpx.Client, asked: str) -> None:
    bodies = {CHAT: HELLO, COMPLETIONS: {"prompt": "x"}, RESPONSES: {"input": "x"}, "/tokenize": {"content": "x"}}
    for path, body in bodies.items():
        assert "test/model:latest" in refused(http.post(path, json={**body, "model": asked}), 404, "model")


TRICKS = [
    *("../../etc/passwd", "/etc/passwd", "test/model/../../x", "a\0b", "a\r\nset-cookie: x", "~root", "-x", "."),
    *("file:///etc/passwd", "%2e%2e%2f", "$(id)", "'; drop table models; --", "{{7*7}}", "sha256:", "@", "x" * 30_000),
]


@pytest.mark.parametrize("asked", TRICKS, ids=range(len(TRICKS)))
def test_a_model_is_no_path(http: httpx.Client, asked: str) -> None:
    if len(asked) <= 1024:
        refused(chat(http, model=asked), 404, "model")
    else:
        refused(chat(http, model=asked), 400, "model")
    quoted = "".join(f"%{byte:02x}" for byte in asked[:5000].encode())
    answer = http.get(f"/v1/models/{quoted}")
    assert "root:" not in answer.text
    assert "set-cookie" not in answer.headers
    # A path of several lines is no route at all.
    refused(answer, 404, None if "\n" in asked else "model")


def test_a_model_of_a_megabyte_is_refused(http: httpx.Client, server: Server) -> None:
    refused(chat(http, model="x" * MEGABYTE), 400, "model")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        # It answers, and closes, before it has read it all.
        try:
            connection.sendall(b"GET /v1/models/" + b"x" * MEGABYTE + b" HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
        except ConnectionError:
            pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context_is_refused_with_both_numbers(http: httpx.Client, stream: bool) -> None:
    long = "one two three " * 1000
    messages = [{"role": "user", "content": long}]
    bodies = {CHAT: {"messages": messages}, COMPLETIONS: {"prompt": long}, RESPONSES: {"input": long}}
    for path, body in bodies.items():
        answer = http.post(path, json={**body, "stream": stream})
        message = refused(answer)
        numbers = [int(word) for word in message.replace(",", "").split() if word.isdigit()]
        assert len(numbers) == 2
        assert numbers[0] > 3000
        assert numbers[1] == 1024
        assert answer.json()["error"]["code"] == "context_length_exceeded"


TEXT, FUNCTION = {"type": "text", "text": "x"}, {"name": "f"}
UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"best_of": 2}, "best_of"),
    ({"Temperature": 1}, "Temperature"),
    ({"str": 1}, "str"),
    ({"functions": []}, "functions"),
    ({"x" * 5000: 1}, "x" * 200 + "…"),
    ({"a\nb": 1}, "a\nb"),
    ({"messages": [{"role": "user", "content": "x", "images": []}]}, "messages.0.images"),
    (
        {"messages": [{"role": "user", "content": [{**TEXT, "cache_control": {}}]}]},
        "messages.0.content.0.cache_control",
    ),
    ({"stream_options": {"usage": True}}, "stream_options.usage"),
    ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "more": 1}}},
        "response_format.json_schema.more",
    ),
    ({"tools": [{"type": "function", "function": {**FUNCTION, "code": ""}}]}, "tools.0.function.code"),
]


@pytest.mark.parametrize(("more", "param"), UNKNOWN, ids=[param[:40] for _, param in UNKNOWN])
def test_a_parameter_that_is_unknown_is_named_by_its_path(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = chat(http, **more)
    assert param.split()[0][:100] in refused(answer, param=param)
    assert answer.json()["error"]["code"] == "unknown_parameter"


USER = {"role": "user", "content": "x"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
WRONG: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": [5]}, "messages.0"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"content": "x"}]}, "messages.0.role"),
    ({"messages": [USER, {"role": "user"}]}, "messages.1.content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": [{**CALL, "id": 5}]}]}, "messages.1.tool_calls.0.id"),
    ({"model": 5}, "model"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": True}, "stream_options"),
    ({"n": 1000}, "n"),
    ({"stop": 5}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", 5]}, "stop.1"),
    ({"stop": [""]}, "stop.0"),
    ({"stop": ["x"] * 10_000}, "stop"),
    ({"stop": "x" * 100_000}, "stop"),
    ({"logit_bias": {"abc": 1}}, "logit_bias.abc"),
    ({"logit_bias": {"5": "much"}}, "logit_bias.5"),
    ({"logit_bias": {"5": 1e300}}, "logit_bias.5"),
    ({"logit_bias": {"60000": 1}}, "logit_bias"),
    ({"logit_bias": {"9999999999": 1}}, "logit_bias"),
    ({"logit_bias": {str(n): 1 for n in range(12_000)}}, "logit_bias"),
    ({"metadata": {"a": 5}}, "metadata.a"),
    ({"grammar": 'root ::= "a'}, "grammar"),
    ({"grammar": ""}, "grammar"),
    ({"grammar": "x ::= x"}, "grammar"),
    ({"grammar": "root ::= root"}, "grammar"),
    ({"grammar": 'root ::= "x"', "ignore_eos": True}, "ignore_eos"),
    ({"grammar": 'root ::= "x"', "response_format": {"type": "json_object"}}, "grammar"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    ({"tools": [{"type": "retrieval"}]}, "tools.0.type"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [TOOL] * 1000}, "tools"),
    ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]}, "tools"),
    ({"receipt": True, "n": 2}, "receipt"),
    ({"top_logprobs": 2}, "top_logprobs"),
]


@pytest.mark.parametrize(("more", "param"), WRONG, ids=[json.dumps(more)[:60] for more, _ in WRONG])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_named(http: httpx.Client, more: dict[str, Any], param: str | None, stream: bool) -> None:
    refused(chat(http, **{"stream": stream, **more}), param=param)


IN_RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
    ({"input": [{"type": "reasoning"}]}, "input.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.type"),
    ({"input": [{"role": "user", "content": "x", "more": 1}]}, "input.0.more"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"not": {}}}}}, "text.format"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"max_tokens": 5}, "max_tokens"),
]


@pytest.mark.parametrize(("more", "param"), IN_RESPONSES, ids=[json.dumps(more)[:60] for more, _ in IN_RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
def test_of_a_response_too(http: httpx.Client, more: dict[str, Any], param: str, stream: bool) -> None:
    refused(http.post(RESPONSES, json={"input": "Hello", "stream": stream, **more}), param=param)


def test_a_prompt_that_is_repeated_has_no_probabilities(http: httpx.Client) -> None:
    refused(http.post(COMPLETIONS, json={"prompt": "x", "echo": True, "logprobs": 0}), param="echo")


IMPOSSIBLE: list[Any] = [
    {"type": "unheard of"},
    {"type": "string", "minLength": 5, "maxLength": 2},
    {"$ref": "http://127.0.0.1:9/schema"},
    {"$ref": "#/nowhere"},
    {"not": {}},
    {"enum": []},
    {"type": "object", "properties": 5},
    {"type": "string", "pattern": "(((("},
    {"allOf": [False]},
]


@pytest.mark.parametrize("schema", IMPOSSIBLE, ids=map(json.dumps, IMPOSSIBLE))
def test_a_schema_that_cannot_be_kept_is_refused(http: httpx.Client, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert "JSON Schema" in refused(chat(http, response_format=form), param="response_format")


def test_a_wrong_grammar_is_refused_with_its_line(http: httpx.Client) -> None:
    assert "line 3" in refused(chat(http, grammar='root ::= a\na ::= "x"\nb ::= )'), param="grammar")


@pytest.mark.parametrize(
    "prompt", ["", [], [[]], [""], ["x", ""], [-1], [10**9], [[1], [10**9]], ["x", 5], 5, {}, None, ["x"] * 129]
)
def test_a_prompt_that_is_none_is_refused(http: httpx.Client, prompt: Any) -> None:
    answer = http.post(COMPLETIONS, json={"prompt": prompt, "max_tokens": 1})
    assert answer.status_code == 400, answer.text
    assert "prompt" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"5", b'"x"', b"[]", b"{}", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{}", b"\x00"),
        *(b'{"messages": [{"role": "user", "content": "\xff"}]}', b'{"prompt": \xed\xa0\x80}', b"{'messages': []}"),
        *('{"messages": [{"role": "user", "content": "x"}]}'.encode(f"utf-{size}") for size in (16, 32)),
        json.dumps(HELLO).encode() + b"{}",
        b"[" + b"0," * 200_000 + b"0]",
    ],
    ids=range(18),
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES, "/tokenize", "/detokenize"])
def test_what_is_no_json_object_is_refused(http: httpx.Client, path: str, body: bytes) -> None:
    answer = posted(http, body, path)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


HALF = '"\\ud800"'
USER_SAYS = '{"messages": [{"role": "user", "content": "x"}], '


@pytest.mark.parametrize(
    "body",
    [
        f'{{"messages": [{{"role": "user", "content": {HALF}}}]}}',
        f'{USER_SAYS} "model": {HALF}}}',
        f'{USER_SAYS} "stop": ["\\udc00\\ud800"]}}',
        f'{USER_SAYS} "grammar": "\\uD83D\\uDE00\\uD83D"}}',
        f"{USER_SAYS} {HALF}: 1}}",
        f'{USER_SAYS} "metadata": {{{HALF}: "x"}}}}',
        f'{USER_SAYS} "logit_bias": {{{HALF}: 1}}}}',
        f'{USER_SAYS} "tools": [{{"type": "function", "function": {{"name": "f", "parameters": {{{HALF}: 1}}}}}}]}}',
    ],
    ids=range(8),
)
def test_half_a_surrogate_pair_is_no_text(http: httpx.Client, body: str) -> None:
    answer = posted(http, body)
    assert "half a surrogate pair" in refused(answer)


@pytest.mark.parametrize("text", ["\\ud83d\\ude00", "\\\\ud800", "\\u0041", "\\uD83D\\uDE00\\n", "\\ud7ff\\ue000"])
def test_other_escapes_are_text(http: httpx.Client, text: str) -> None:
    body = f'{{"content": "{text}"}}'
    tokens = posted(http, body, "/tokenize").json()["tokens"]
    assert http.post("/detokenize", json={"tokens": tokens}).json()["content"] == json.loads(body)["content"]


def test_special_tokens_have_names(http: httpx.Client) -> None:
    asked = {"content": "<|im_start|>user", "parse_special": True}
    tokens = http.post("/tokenize", json=asked).json()["tokens"]
    pieces = http.post("/tokenize", json={**asked, "with_pieces": True}).json()["tokens"]
    assert pieces[0] == {"id": tokens[0], "piece": "<|im_start|>"}
    assert http.post("/detokenize", json={"tokens": tokens}).json()["content"] == asked["content"]


def test_of_a_key_that_stands_twice_the_last_counts(http: httpx.Client) -> None:
    body = json.dumps(HELLO)[:-1]
    assert posted(http, f'{body}, "n": 2, "n": 1}}').status_code == 200
    refused(posted(http, f'{body}, "n": 1, "n": "x"}}'), param="n")


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "", "json", "a/b;json"],
)
def test_what_is_not_sent_as_json_is_refused_with_what_to_do(http: httpx.Client, kind: str) -> None:
    answer = http.post(CHAT, content=json.dumps(HELLO), headers={"content-type": kind} if kind else {})
    assert "content-type: application/json" in refused(answer, 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"])
def test_all_that_is_json_is_taken(http: httpx.Client, kind: str) -> None:
    assert http.post(CHAT, content=json.dumps(HELLO), headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "GET", "POST"])
def test_a_method_that_a_route_does_not_take_is_refused(http: httpx.Client, method: str) -> None:
    routes = {CHAT: "POST", COMPLETIONS: "POST", RESPONSES: "POST", "/tokenize": "POST", "/detokenize": "POST"}
    routes |= {"/v1/models": "GET", "/v1/models/x": "GET", "/health": "GET", "/ready": "GET", "/metrics": "GET"}
    for path, taken in routes.items():
        if method == taken:
            continue
        answer = http.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == taken
        if method != "HEAD":
            assert taken in refused(answer, 405)


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/models", "/v1/chat", "/v1/chat/completions/", "/docs", "//", "/v1//models", "/%00"],
)
def test_a_path_that_is_no_route_is_not_found(http: httpx.Client, path: str) -> None:
    assert refused(http.get(path), 404).startswith("there is no GET /")
    refused(http.post(path, json=HELLO), 404)
