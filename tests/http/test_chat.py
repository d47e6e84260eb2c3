"""POST /v1/chat/completions."""

import json
from typing import Any

import httpx
import pytest
from serving import Server

CHAT = "/v1/chat/completions"
PARIS = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Name the capital of France."},
]


def ask(http: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = http.post(CHAT, json={"messages": PARIS, "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    with http.stream("POST", CHAT, json={"messages": PARIS, "temperature": 0, "stream": True, **body}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_an_answer_has_openais_shape_and_names_the_model_by_its_digest(server: Server, http: httpx.Client) -> None:
    answer = http.post(CHAT, json={"messages": PARIS, "temperature": 0})
    document = answer.json()
    assert document["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["object"] == "chat.completion"
    assert document["system_fingerprint"] == answer.headers["llstore-model"] == server.digest
    usage = document["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert answer.headers["x-request-id"]


def test_a_stream_says_the_same_in_pieces(http: httpx.Client) -> None:
    chunks = events(http, stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    assert "".join(deltas) == "The capital of France is Paris."
    assert len(deltas) > 5
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize("asked", ["test/model", "test/model:latest", "b179c952", None])
def test_a_model_is_found_by_whatever_means_it(http: httpx.Client, server: Server, asked: str | None) -> None:
    assert ask(http, model=asked, max_tokens=1)["system_fingerprint"] == server.digest


def test_n_answers_come_of_one_prompt_that_is_counted_once(http: httpx.Client) -> None:
    document = ask(http, n=3, max_tokens=5, temperature=1, seed=1)
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
    assert document["usage"]["prompt_tokens"] == 26
    assert document["usage"]["completion_tokens"] == 15


def test_the_same_seed_gives_the_same_text(http: httpx.Client) -> None:
    texts = {ask(http, seed=7, temperature=1, max_tokens=12)["choices"][0]["message"]["content"] for _ in range(3)}
    assert len(texts) == 1


def test_a_stop_text_ends_the_answer_before_it(http: httpx.Client) -> None:
    choice = ask(http, stop=[" France"])["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("The capital of", "stop")


def test_a_schema_is_kept_to(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "town", "schema": schema}}
    found = json.loads(ask(http, response_format=form)["choices"][0]["message"]["content"])
    assert set(found) == {"city", "big"}
    assert isinstance(found["big"], bool)


def test_logprobs_are_told_with_the_likeliest(http: httpx.Client) -> None:
    choice = ask(http, logprobs=True, top_logprobs=2, max_tokens=3)["choices"][0]
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["The", " capital", " of"]
    for token in choice["logprobs"]["content"]:
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert bytes(token["bytes"]).decode() == token["token"]
        assert len(token["top_logprobs"]) == 2


def test_a_bias_forbids_a_token(http: httpx.Client) -> None:
    (token,) = http.post("/tokenize", json={"content": "The"}).json()["tokens"]
    text = ask(http, logit_bias={str(token): -100}, max_tokens=3)["choices"][0]["message"]["content"]
    assert not text.startswith("The")


def test_an_answer_goes_on_where_the_model_would_end(http: httpx.Client) -> None:
    choice = ask(http, ignore_eos=True, max_tokens=30)["choices"][0]
    assert choice["finish_reason"] == "length"


def test_a_prompt_is_reused_unless_it_is_not_to_be(http: httpx.Client) -> None:
    ask(http, max_tokens=1)
    assert ask(http, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert ask(http, max_tokens=1, cache_prompt=False)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_a_receipt_tells_what_produced_the_answer(http: httpx.Client, server: Server) -> None:
    receipt = ask(http, receipt=True, max_tokens=4)["receipt"]
    assert receipt["model"] == server.digest
    assert receipt["output"]["text"] == "The capital of France"
    streamed = events(http, receipt=True, max_tokens=4)[-1]
    assert streamed["receipt"]["output"] == receipt["output"]


def test_a_tool_that_must_be_called_is(http: httpx.Client) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    tool = {
        "type": "function",
        "function": {"name": "weather", "description": "The weather.", "parameters": parameters},
    }
    asked = {"tools": [tool], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 100}
    choice = ask(http, **asked)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}
    chunks = events(http, **asked)
    deltas = [delta for chunk in chunks for delta in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(delta["function"]["arguments"] for delta in deltas) == call["function"]["arguments"]
