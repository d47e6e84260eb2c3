"""What both clients promise, against a server that says what was written down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import (
    DIGEST,
    DONE,
    HANG,
    RESET,
    Script,
    Scripted,
    answer,
    chatted,
    completed,
    counted,
    cut,
    delta,
    event,
    streamed,
)

from llstore.runner.client import ClientOptions, Completion, InferenceClient, ToolCall
from llstore.runner.errors import (
    AnswerBroken,
    InvalidCall,
    NotAuthorized,
    NotServed,
    Overloaded,
    ServerFailed,
    ServerRefused,
    ServerSilent,
)
from llstore.store import Digest

HELLO = [{"role": "user", "content": "Hello"}]
KEY = "sk-secret-0123"
Made = Callable[..., Any]


# What is sent and what comes back


def test_a_completion_tells_what_was_said_and_how_long_it_took(client: Any, server: Scripted) -> None:
    slow = Script((0.01, *answer(completed("Paris", receipt={"format": 1}), x_request_id="r1").steps))
    server.says(slow)
    said = client.infer(prompt="The capital is", max_tokens=64, temperature=0, receipt=True)
    assert said.latency_ms > 0
    assert said == Completion(
        text="Paris",
        latency_ms=said.latency_ms,
        first_token_ms=None,
        tokens=2,
        prompt_tokens=3,
        finish_reason="stop",
        digest=Digest.parse(DIGEST),
        receipt={"format": 1},
        request_id="r1",
    )
    assert server.paths == ["POST /v1/completions"]
    sent = {"prompt": "The capital is", "max_tokens": 64, "temperature": 0, "receipt": True}
    assert server.asked[0].json == sent


def test_any_other_setting_of_the_api_goes_through_settings(made: Made, server: Scripted) -> None:
    server.says(answer(completed()))
    made(model="org/name").infer("x", top_k=1, stop=("a", "b"), seed=None, receipt=False, settings={"min_p": 0.1})
    assert server.asked[0].json == {"model": "org/name", "prompt": "x", "top_k": 1, "stop": ["a", "b"], "min_p": 0.1}


def test_a_chat_sends_tools_and_brings_the_calls_back(client: Any, server: Scripted) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    server.says(answer(chatted({"content": None, "tool_calls": [call]}, reason="tool_calls")))
    tools = [{"type": "function", "function": {"name": "look"}}]
    said = client.chat(HELLO, tools=tools, tool_choice="auto", response_format={"type": "text"})
    assert (said.text, said.tool_calls) == ("", (ToolCall("c1", "look", '{"at": 1}'),))
    assert server.paths == ["POST /v1/chat/completions"]
    asked = {"messages": HELLO, "tools": tools, "tool_choice": "auto", "response_format": {"type": "text"}}
    assert server.asked[0].json == asked


def test_models_tokens_and_texts_are_asked_for(client: Any, server: Scripted) -> None:
    server.says(
        answer({"object": "list", "data": [{"id": "org/name", "digest": DIGEST}, {"id": "org/other"}]}),
        answer({"tokens": [1, 2]}),
        answer({"content": "é"}),
    )
    assert [(model.id, model.digest) for model in client.models()] == [
        ("org/name", Digest.parse(DIGEST)),
        ("org/other", None),
    ]
    assert client.tokenize("é") == (1, 2)
    assert client.detokenize((1, 2)) == "é"
    assert server.paths == ["GET /v1/models", "POST /tokenize", "POST /detokenize"]
    assert [asked.json for asked in server.asked[1:]] == [{"content": "é", "add_special": False}, {"tokens": [1, 2]}]
    assert server.connections == 1  # kept open


def test_a_server_is_ready_when_it_says_so(made: Made, server: Scripted, waits: list[float]) -> None:
    client = made()
    server.says(answer({}), answer({}, status=503))
    assert [client.ready(), client.ready()] == [True, False]
    assert made(url="http://127.0.0.1:1").ready() is False
    assert waits == []


# Streams


def test_a_stream_gives_pieces_as_they_come_and_the_whole_in_the_end(client: Any, server: Scripted) -> None:
    server.says(
        streamed(
            b": keep-alive\n\n",
            0.03,
            event("Hel"),
            b": keep-alive\n\n",
            0.03,
            event("lo"),
            event("", reason="length"),
            counted(receipt={"format": 1}),
            DONE,
            x_request_id="r2",
        )
    )
    stream = client.stream("x", max_tokens=2)
    assert list(stream) == ["Hel", "lo"]
    said = stream.result
    assert (said.text, said.finish_reason, said.tokens, said.prompt_tokens) == ("Hello", "length", 2, 3)
    assert (said.receipt, said.request_id, str(said.digest)) == ({"format": 1}, "r2", DIGEST)
    assert 0 < said.first_token_ms < said.latency_ms
    asked = {"prompt": "x", "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}}
    assert server.asked[0].json == asked


def test_the_first_piece_is_there_before_the_last_was_made(client: Any, server: Scripted) -> None:
    server.says(streamed(event("a"), HANG))
    stream = client.stream("x")
    assert next(stream) == "a"
    stream.close()


def test_a_streamed_chat_puts_tool_calls_together(client: Any, server: Scripted) -> None:
    first = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"at"'}}, {"index": 0, "function": {"arguments": ":1}"}}
    server.says(
        streamed(
            delta(role="assistant", content=""),
            delta(content="So:"),
            delta(tool_calls=[first]),
            *(delta(tool_calls=[row]) for row in rest),
            delta(tool_calls=[{"index": 1, "id": "c2", "function": {"name": "go", "arguments": "{}"}}]),
            delta(reason="tool_calls"),
            counted(),
            DONE,
        )
    )
    stream = client.stream(HELLO, tools=[])
    assert list(stream) == ["So:"]
    assert stream.result.tool_calls == (ToolCall("c1", "look", '{"at":1}'), ToolCall("c2", "go", "{}"))
    assert server.paths == ["POST /v1/chat/completions"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_characters_cut_across_chunks_are_whole(client: Any, server: Scripted, size: int) -> None:
    odd = "é👩‍🚀e\u0301\u2028\ufeff\x00٣"
    data = b"".join(
        b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n"
        for chunk in (*map(event, odd), event(reason="stop"), counted())
    )
    server.says(streamed(*cut(data + DONE, size)))
    stream = client.stream("x")
    assert "".join(stream) == stream.result.text == odd


def test_a_stream_that_ended_leaves_its_connection_to_the_next(client: Any, server: Scripted) -> None:
    whole = streamed(event("a", reason="stop"), counted(), DONE)
    server.says(whole, whole)
    for _ in range(2):
        stream = client.stream("x")
        list(stream)
        stream.close()
    assert server.connections == 1


def test_closing_a_stream_reaches_the_server(client: Any, server: Scripted) -> None:
    server.says(streamed(event("a"), event("b"), HANG))
    stream = client.stream("x")
    assert next(stream) == "a"
    stream.close()
    assert server.gone.wait(10)
    assert list(stream) == []
    assert stream.text == "a"
    with pytest.raises(InvalidCall, match="no whole answer"):
        _ = stream.result


def test_a_stream_that_is_not_begun_asks_for_nothing(client: Any, server: Scripted) -> None:
    client.stream("x").close()
    assert server.asked == []


# What goes wrong


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ServerRefused),
        (401, NotAuthorized),
        (403, NotAuthorized),
        (404, NotServed),
        (413, ServerRefused),
        (500, ServerFailed),
    ],
)
def test_a_refusal_is_an_error_with_what_the_server_said(
    client: Any, server: Scripted, status: int, kind: type[ServerRefused]
) -> None:
    said = {"message": "top_p is 2;\nit must be less", "type": "invalid_request", "param": "top_p", "code": 7}
    server.says(answer({"error": said}, status=status, x_request_id="r3"))
    with pytest.raises(ServerRefused) as raised:
        client.infer("x")
    error = raised.value
    assert type(error) is kind
    assert str(error) == f"the server answers {status}: top_p is 2; it must be less"
    assert (error.status, error.kind, error.param, error.code) == (status, "invalid_request", "top_p", "7")
    assert error.request_id == "r3"
    assert len(server.asked) == 1


def test_a_proxy_that_answers_in_html_is_told_from_a_server(made: Made, server: Scripted) -> None:
    server.says(answer(b"<html>Bad Gateway</html>", status=502), answer(b"", status=302, location="https://a/"))
    client = made(retries=0)
    with pytest.raises(Overloaded, match="not an error of llstore"):
        client.infer("x")
    with pytest.raises(ServerRefused, match="it is at https://a/"):
        client.infer("x")


def test_an_error_amid_a_stream_is_raised_when_it_comes(client: Any, server: Scripted) -> None:
    server.says(streamed(event("a"), {"error": {"message": "the engine crashed", "type": "server_error", "code": 503}}))
    stream = client.stream("x")
    assert next(stream) == "a"
    with pytest.raises(Overloaded, match="the engine crashed"):
        next(stream)
    assert len(server.asked) == 1


@pytest.mark.parametrize("end", [(), (RESET,)], ids=["closed", "reset"])
def test_a_server_that_dies_amid_a_stream_is_not_asked_again(client: Any, server: Scripted, end: tuple[Any]) -> None:
    server.says(streamed(event("a"), *end, last=True), answer(completed()))
    stream = client.stream("x")
    assert next(stream) == "a"
    with pytest.raises(AnswerBroken):
        list(stream)
    assert stream.text == "a"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ((b"data: {nonsense\n\n",), "no JSON"),
        ((b"data: [1]\n\n",), "no JSON object"),
        ((b"data: \xff\n\n",), "no JSON"),
        ((event("a"), counted(), DONE), "without saying why"),
        ((event("a", reason="stop"), DONE), "without saying why"),
        ((event("a", reason="stop"), counted()), "broke off after 1 char"),
        (({"choices": [{"text": "\ud800"}]},), "surrogate"),
        (({"choices": [{"text": 1}]},), "no text"),
        (({"choices": 1},), "no choice"),
        (({**event("a"), "system_fingerprint": "sha256:" + "cd" * 32},), "which model"),
        (({**event("a"), "system_fingerprint": "fp_1"},), "which model"),
        (({"error": "no object"},), "no object"),
    ],
)
def test_a_stream_that_is_not_what_it_should_be_is_broken(
    client: Any, server: Scripted, pieces: tuple[Any], why: str
) -> None:
    server.says(streamed(*pieces))
    with pytest.raises(AnswerBroken, match=why):
        list(client.stream("x"))


@pytest.mark.parametrize("index", [-1, 1024, 10**9])
def test_a_stream_of_endless_tool_calls_is_broken(client: Any, server: Scripted, index: int) -> None:
    server.says(streamed(delta(tool_calls=[{"index": index, "id": "c"}]), delta(reason="stop"), counted(), DONE))
    with pytest.raises(AnswerBroken):
        list(client.stream(HELLO))


def test_what_follows_the_end_of_a_stream_is_not_looked_at(client: Any, server: Scripted) -> None:
    server.says(streamed(event("a", reason="stop"), counted(), DONE, event("b"), RESET))
    stream = client.stream("x")
    assert list(stream) == ["a"]
    assert stream.result.text == "a"


def test_an_answer_larger_than_any_should_be_is_broken_off(client: Any, server: Scripted) -> None:
    server.says(streamed(*[b" " * 2**20] * 65))
    with pytest.raises(AnswerBroken, match="more than 67108864 bytes"):
        client.infer("x")


@pytest.mark.parametrize(
    "script",
    [
        answer(b"hello"),
        answer([]),
        answer({}),
        answer({**completed(), "choices": []}),
        answer({**completed(), "usage": {"prompt_tokens": -1, "completion_tokens": True}}),
        answer({**completed(), "system_fingerprint": None}, llstore_model=""),
        answer(b"[" * 100_000),
        Script((b"SSH-2.0-OpenSSH_9.6\r\n\r\n",), last=True),
        Script((b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",), last=True),
    ],
)
def test_an_answer_that_is_not_what_it_should_be_is_broken(client: Any, server: Scripted, script: Script) -> None:
    server.says(script)
    with pytest.raises(AnswerBroken) as raised:
        client.infer("x")
    assert "\n" not in str(raised.value)
    assert len(server.asked) == 1


def test_an_answer_that_is_no_stream_is_broken(client: Any, server: Scripted) -> None:
    server.says(answer(completed()))
    with pytest.raises(AnswerBroken, match="does not stream"):
        list(client.stream("x"))


@pytest.mark.parametrize("script", [Script((HANG,)), Script((b"HTTP/1.1 200 OK\r\n", HANG))])
def test_a_silent_server_is_waited_for_and_not_asked_again(made: Made, server: Scripted, script: Script) -> None:
    server.says(script)
    with pytest.raises(ServerSilent, match=r"nothing for 0\.1 s"):
        made(timeout=0.1).infer("x")
    assert len(server.asked) == 1
    assert server.gone.wait(10)


def test_silence_amid_a_stream_is_borne_as_long_and_broken_by_comments(made: Made, server: Scripted) -> None:
    server.says(streamed(*[0.1, b": alive\n\n"] * 4, event("a"), HANG))
    stream = made(timeout=0.3).stream("x")
    assert next(stream) == "a"
    with pytest.raises(ServerSilent):
        next(stream)


def test_a_key_is_in_its_header_and_nowhere_else(made: Made, server: Scripted) -> None:
    server.says(answer({"error": {"message": f"no such key: {KEY}", "code": KEY}}, status=401))
    client = made(key=KEY)
    with pytest.raises(NotAuthorized) as raised:
        client.infer("x")
    (asked,) = server.asked
    assert asked.head.get("authorization") == f"Bearer {KEY}"
    assert KEY not in asked.path
    assert KEY.encode() not in asked.body
    error = raised.value
    shown = [
        str(error),
        error.hint,
        repr(vars(error)),
        repr(error.__cause__),
        repr(ClientOptions(key=KEY)),
        repr(client),
    ]
    assert KEY not in " ".join(shown)
    assert "[key]" in str(error)


def test_no_key_no_header(client: Any, server: Scripted) -> None:
    server.says(answer(completed()))
    client.infer("x")
    assert server.asked[0].head.get("authorization") == ""


def test_nothing_of_the_environment_is_taken(
    server: Scripted, made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.says(answer(completed()))
    made().infer("x")
    assert server.asked[0].head.get("authorization") == ""


def test_a_closed_client_says_so(server: Scripted) -> None:
    with InferenceClient("127.0.0.1", server.port) as client:
        pass
    with pytest.raises(InvalidCall, match="was closed"):
        client.infer("x")
