"""POST /v1/responses."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from serving import Server

RESPONSES = "/v1/responses"
HELPFUL, PARIS = "You are a helpful assistant.", "Name the capital of France."
SAID = "The capital of France is Paris."
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "The weather.", "parameters": CITY, "strict": True}
FORCED = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 100}
LOGPROBS = ["message.output_text.logprobs"]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def ask(http: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = http.post(RESPONSES, json={"instructions": HELPFUL, "input": PARIS, "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    Response.model_validate(found)
    return found


def events(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    asked = {"instructions": HELPFUL, "input": PARIS, "temperature": 0, "stream": True, **body}
    with http.stream("POST", RESPONSES, json=asked) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        blocks = answer.read().decode().removesuffix("\n\n").split("\n\n")
    found = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        EVENT.validate_python(event)
        found.append(event)
    return found


def refusal(http: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = http.post(RESPONSES, json={"input": PARIS, **body})
    assert answer.status_code == 400, answer.text
    found: dict[str, Any] = answer.json()["error"]
    return found


def text_of(document: dict[str, Any]) -> str:
    return str(Response.model_validate(document).output_text)


def kinds(found: list[dict[str, Any]]) -> list[str]:
    """The events' names without the prefix all have, those that follow each other counted once."""
    names = [event["type"].removeprefix("response.") for event in found]
    return [name for n, name in enumerate(names) if n == 0 or name != names[n - 1]]


def stable(document: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between two answers that say the same."""
    output = [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in document["output"]]
    return {**document, "id": "", "created_at": 0, "usage": document["usage"]["total_tokens"], "output": output}


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    """The official client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_an_answer_has_openais_shape_and_names_the_model_by_its_digest(server: Server, http: httpx.Client) -> None:
    answer = http.post(RESPONSES, json={"instructions": HELPFUL, "input": PARIS, "temperature": 0})
    document = answer.json()
    assert document["id"].startswith("resp_")
    assert (document["object"], document["status"], document["error"]) == ("response", "completed", None)
    (item,) = document["output"]
    assert item["id"].startswith("msg_")
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": SAID, "annotations": [], "logprobs": []}]
    assert document["system_fingerprint"] == answer.headers["llstore-model"] == server.digest
    usage = document["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (26, 7, 33)


def test_an_answer_repeats_what_was_asked_and_that_nothing_is_stored(http: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean", "default": None}}}
    form = {"type": "json_schema", "name": "thing", "schema": schema}
    asked = {"top_p": 0.5, "metadata": {"a": "b"}, "user": "u", "max_output_tokens": 20, "store": True}
    document = ask(http, **asked, text={"format": form}, truncation="disabled", background=False)
    expected = {**asked, "instructions": HELPFUL, "temperature": 0, "text": {"format": form}, "store": False}
    assert {name: document[name] for name in expected} == expected
    document = ask(http, tools=[WEATHER], tool_choice={"type": "function", "name": "weather"}, max_output_tokens=40)
    assert document["tools"] == [WEATHER]
    assert document["tool_choice"] == {"type": "function", "name": "weather"}
    assert document["parallel_tool_calls"] is True


def test_null_is_as_if_a_parameter_were_not_there(http: httpx.Client) -> None:
    absent = dict.fromkeys(["previous_response_id", "conversation", "prompt", "reasoning", "background", "text"])
    assert text_of(ask(http, **absent, tools=None, tool_choice=None, include=None, truncation=None)) == SAID


def test_a_stream_tells_the_same_response_in_events(http: httpx.Client) -> None:
    found = events(http)
    assert kinds(found) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    deltas = [event for event in found if event["type"] == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == SAID
    assert len(deltas) > 5
    last = found[-1]["response"]
    (item,) = last["output"]
    assert {event["item_id"] for event in deltas} == {item["id"]}
    assert found[-2]["item"] == item
    assert found[0]["response"]["id"] == last["id"]
    assert (found[0]["response"]["status"], found[0]["response"]["output"]) == ("in_progress", [])
    assert stable(last) == stable(ask(http))


def test_a_conversation_is_read_as_chat_completions_read_it(http: httpx.Client) -> None:
    turns = [
        {"role": "developer", "content": HELPFUL},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": PARIS}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": SAID, "annotations": []}]},
        {"role": "user", "content": "And of Italy?"},
    ]
    said = [HELPFUL, PARIS, SAID, "And of Italy?"]
    roles = ["system", "user", "assistant", "user"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
    chat = http.post("/v1/chat/completions", json={"messages": messages, "temperature": 0, "max_tokens": 10}).json()
    document = ask(http, instructions=None, input=turns, max_output_tokens=10)
    assert text_of(document) == chat["choices"][0]["message"]["content"]
    assert document["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_off_is_incomplete(http: httpx.Client, stream: bool) -> None:
    if stream:
        found = events(http, max_output_tokens=3)
        assert found[-1]["type"] == "response.incomplete"
        document = found[-1]["response"]
    else:
        document = ask(http, max_output_tokens=3)
    assert (document["status"], document["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert document["output"][0]["status"] == "incomplete"
    assert text_of(document) == "The capital of"


def test_an_answer_of_nothing_is_a_message_without_a_text(http: httpx.Client) -> None:
    assert text_of(ask(http, stop=["The"])) == ""
    found = events(http, stop=["The"])
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == ""
    assert kinds(found)[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]


def test_a_function_that_must_be_called_is(http: httpx.Client) -> None:
    document = ask(http, **FORCED)
    (item,) = document["output"]
    assert (item["type"], item["name"], item["status"]) == ("function_call", "weather", "completed")
    assert item["id"].startswith("fc_")
    assert item["call_id"].startswith("call_")
    assert set(json.loads(item["arguments"])) == {"city"}
    found = events(http, **FORCED)
    assert kinds(found) == [
        *("created", "in_progress", "output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    deltas = [event["delta"] for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item["arguments"]
    assert stable(found[-1]["response"]) == stable(document)


def test_a_call_that_is_cut_off_is_no_call_but_text(http: httpx.Client) -> None:
    asked = {**FORCED, "max_output_tokens": 18}
    document = ask(http, **asked)
    (item,) = document["output"]
    assert (item["type"], item["status"], document["status"]) == ("message", "incomplete", "incomplete")
    assert "weather" in text_of(document)
    found = events(http, **asked)
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert [(item["type"], item["status"]) for item in done] == [
        ("function_call", "incomplete"),
        ("message", "incomplete"),
    ]
    assert stable(found[-1]["response"]) == stable(document)


def test_what_came_of_a_call_is_read_in_the_next_request(http: httpx.Client) -> None:
    question = {"role": "user", "content": "What is the weather in Rome?"}
    first = ask(http, input=[question], **FORCED)
    (call,) = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "It rains."}
    second = ask(http, input=[question, *first["output"], output], tools=[WEATHER], max_output_tokens=30)
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    tool = {"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}
    called = {"name": "weather", "arguments": call["arguments"]}
    messages = [
        {"role": "system", "content": HELPFUL},
        question,
        {"role": "assistant", "tool_calls": [{"id": call["call_id"], "type": "function", "function": called}]},
        {"role": "tool", "tool_call_id": call["call_id"], "content": "It rains."},
    ]
    chat = http.post("/v1/chat/completions", json={"messages": messages, "tools": [tool], "max_tokens": 1}).json()
    assert second["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]


def test_a_schema_is_kept_to(http: httpx.Client) -> None:
    form = {"type": "json_schema", "name": "town", "schema": CITY, "strict": True}
    assert set(json.loads(text_of(ask(http, text={"format": form})))) == {"city"}
    assert text_of(ask(http, text={"format": {"type": "json_object"}}, max_output_tokens=5)).startswith("{")


def test_logprobs_are_told_with_the_likeliest(http: httpx.Client) -> None:
    asked = {"include": LOGPROBS, "top_logprobs": 2, "max_output_tokens": 3}
    told = ask(http, **asked)["output"][0]["content"][0]["logprobs"]
    assert [token["token"] for token in told] == ["The", " capital", " of"]
    assert all(len(token["top_logprobs"]) == 2 for token in told)
    found = events(http, **asked)
    deltas = [event["logprobs"] for event in found if event["type"] == "response.output_text.delta"]
    assert [token["token"] for delta in deltas for token in delta] == ["The", " capital", " of"]
    done = next(event for event in found if event["type"] == "response.output_text.done")
    assert done["logprobs"] == [token for delta in deltas for token in delta]
    alone = ask(http, include=LOGPROBS, max_output_tokens=1)["output"][0]["content"][0]["logprobs"]
    assert [token["top_logprobs"] for token in alone] == [[]]


def test_the_settings_of_llama_server_work_here_too(http: httpx.Client) -> None:
    assert text_of(ask(http, stop=[" France"])) == "The capital of"
    assert text_of(ask(http, grammar='root ::= "yes" | "no"')) in ("yes", "no")
    texts = {text_of(ask(http, seed=7, temperature=1, top_k=20, max_output_tokens=8)) for _ in range(2)}
    assert len(texts) == 1
    ask(http, max_output_tokens=1)
    assert ask(http, max_output_tokens=1)["usage"]["input_tokens_details"]["cached_tokens"] > 0
    fresh = ask(http, max_output_tokens=1, cache_prompt=False)
    assert fresh["usage"]["input_tokens_details"]["cached_tokens"] == 0


def test_a_receipt_tells_what_produced_the_answer(http: httpx.Client, server: Server) -> None:
    receipt = ask(http, receipt=True, max_output_tokens=4)["receipt"]
    assert receipt["model"] == server.digest
    assert receipt["output"]["text"] == "The capital of France"
    found = events(http, receipt=True, max_output_tokens=4)
    assert "receipt" not in found[0]["response"]
    assert found[-1]["response"]["receipt"]["output"] == receipt["output"]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include.0"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "news"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "nothing"}}}}, "text.format"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"n": 2}, "n"),
        ({"stop": [""]}, "stop.0"),
        ({"grammar": "root ::= x"}, "grammar"),
        ({"grammar": 'root ::= "a"', "text": {"format": {"type": "json_object"}}}, "grammar"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": 5}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.type"),
        ({"input": [{"type": "function_call", "call_id": "a", "name": "b", "arguments": "["}]}, "input.0"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]}, "input.0"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(http: httpx.Client, asked: dict[str, Any], param: str) -> None:
    assert refusal(http, **asked)["param"] == param


def test_a_refusal_says_that_nothing_is_kept(http: httpx.Client) -> None:
    error = refusal(http, previous_response_id="resp_1")
    assert error["code"] == "unsupported_parameter"
    assert error["message"] == "previous_response_id: this server keeps nothing between requests"


def test_the_openapi_document_describes_the_route(http: httpx.Client) -> None:
    route = http.get("/openapi.json").json()["paths"]["/v1/responses"]["post"]
    good = route["responses"]["200"]["content"]
    assert good["application/json"]["schema"] == {"$ref": "#/components/schemas/ResponseAnswer"}
    assert "text/event-stream" in good


def test_a_request_without_input_is_refused(http: httpx.Client) -> None:
    assert http.post(RESPONSES, json={"model": "test/model"}).json()["error"]["param"] == "input"


def test_the_official_client_reads_answers_and_streams(client: openai.OpenAI) -> None:
    response = client.responses.create(model="test/model", instructions=HELPFUL, input=PARIS, temperature=0)
    assert response.output_text == SAID
    assert response.usage is not None
    assert response.usage.output_tokens == 7
    with client.responses.stream(model="test/model", instructions=HELPFUL, input=PARIS, temperature=0) as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(texts) == stream.get_final_response().output_text == SAID


def test_the_official_client_sends_back_what_it_was_answered(client: openai.OpenAI) -> None:
    question: Any = {"role": "user", "content": "What is the weather in Rome?"}
    options: Any = {"model": "test/model", "temperature": 0, "tools": [WEATHER], "parallel_tool_calls": False}
    options["max_output_tokens"] = 40
    with client.responses.stream(input=[question], tool_choice="required", **options) as stream:
        response = stream.get_final_response()
    call = response.output[0]
    assert call.type == "function_call"
    assert set(call.parsed_arguments) == {"city"}  # type: ignore[call-overload]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It rains."}
    second = client.responses.parse(input=[question, *response.output, result], tool_choice="none", **options)
    again: Any = [question, *response.output, result, *second.output, {"role": "user", "content": "Thanks."}]
    assert client.responses.create(input=again, tool_choice="required", **options).output[0].type == "function_call"


def test_the_official_client_says_what_is_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="test/model", input="a", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="no/model", input="a")
