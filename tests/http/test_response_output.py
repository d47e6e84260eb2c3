"""From the text of an answer to the items of a response, without a model."""

import json
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from llstore.runner.engine.request import Update
from llstore.runner.http.errors import Problem
from llstore.runner.http.response_items import numbered
from llstore.runner.http.response_output import ResponseOutput
from llstore.runner.http.responses_teller import ResponsesTeller
from llstore.runner.http.shapes.items import FunctionCall, FunctionCallOutput, Turn
from llstore.runner.http.teller import Last, Who
from llstore.runner.http.turns import turns_of
from llstore.runner.sampling import Sampling
from llstore.runner.serve.call import Call, Caller, Prompt
from llstore.runner.tenants.tenant import Tenant
from llstore.runner.tools.families import Form
from llstore.runner.tools.parser import CallParser, Expected

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FORM = Form(opening="<tool_call>", closing=("</tool_call>",))
CALL = '<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call>'
BROKEN = '<tool_call>{"name": "a", "arguments": {"x": oops}}</tool_call>'


def output() -> ResponseOutput:
    return ResponseOutput(CallParser(Expected(FORM, {"a"}), random.Random(0)))


def read(text: str) -> list[dict[str, Any]]:
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    found = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in found]
    for event in found:
        EVENT.validate_python(event)
    return found


def events(grown: ResponseOutput, texts: Sequence[str]) -> list[dict[str, Any]]:
    told = grown.begin()
    for n, text in enumerate(texts):
        told += grown.take(text, [], over=n == len(texts) - 1)
    told += grown.end("completed")
    return read("".join(map(numbered, told, range(len(told)))))


def kept(found: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The items as a client builds them from the events, by their places."""
    items: dict[int, dict[str, Any]] = {}
    for event in found:
        item = items.get(event.get("output_index", -1), {})
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(items)
                items[event["output_index"]] = event["item"]
            case "content_part.added":
                item["content"].append(event["part"])
            case "output_text.delta":
                item["content"][event["content_index"]]["text"] += event["delta"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "output_item.done":
                assert {**item, "status": ""} == {**event["item"], "status": ""}
                items[event["output_index"]] = event["item"]
    return items


def shapes(items: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What each item is, its status, and its text."""
    texts = [item.get("arguments") or item["content"][0]["text"] for item in items]
    return [(item["type"], item["status"], text) for item, text in zip(items, texts, strict=True)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_text_and_calls_are_items_in_their_order(size: int) -> None:
    text = f"Let me see. {CALL}\n{CALL} Done."
    grown = output()
    found = kept(events(grown, [text[n : n + size] for n in range(0, len(text), size)]))
    assert list(found.values()) == grown.document()
    said = shapes(grown.document())
    assert [(kind, status) for kind, status, _ in said] == [
        ("message", "completed"),
        ("function_call", "completed"),
        ("function_call", "completed"),
        ("message", "completed"),
    ]
    assert [json.loads(text) for kind, _, text in said if kind == "function_call"] == [{"x": 1}, {"x": 1}]
    assert said[-1][2].strip() == "Done."


def test_a_call_that_breaks_is_told_as_incomplete_and_is_not_in_the_response() -> None:
    grown = output()
    found = kept(events(grown, list(BROKEN)))
    assert [(kind, status) for kind, status, _ in shapes(list(found.values()))] == [
        ("function_call", "incomplete"),
        ("message", "completed"),
    ]
    assert shapes(grown.document()) == [("message", "completed", BROKEN)]


def test_how_likely_the_tokens_of_a_call_were_is_not_told_as_if_they_were_text() -> None:
    grown = output()
    grown.begin()
    texts = ["Hi", " there", CALL[:20], CALL[20:], "Bye"]
    for n, text in enumerate(texts):
        grown.take(text, [{"token": text}], over=n == len(texts) - 1)
    grown.end("completed")
    first, _, last = grown.document()
    assert [one["token"] for one in first["content"][0]["logprobs"]] == ["Hi", " there"]
    assert [one["token"] for one in last["content"][0]["logprobs"]] == ["Bye"]


def test_an_answer_of_nothing_is_a_message_without_a_text() -> None:
    grown = output()
    assert kept(events(grown, [""]))[0]["content"][0]["text"] == ""


def test_a_stream_that_fails_says_so_with_what_there_was() -> None:
    model: Any = SimpleNamespace(identity=SimpleNamespace(label="m"), digest="sha256:00", vocabulary=None)
    call = Call(model, Caller(Tenant("t")), (Prompt((1,), Sampling()),))
    echo = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    teller = ResponsesTeller(Who("resp_1", 0, model, None), Last(call), None, echo=echo)
    told = teller.opening() + teller.told(0, Update(1, (5,), "Half a"))
    found = read((told + teller.failed(Problem(500, "it broke", "server_error"))).decode())
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    error, failed = found[-2:]
    assert (error["type"], error["code"], error["message"]) == ("error", "server_error", "it broke")
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "it broke"}
    assert shapes(failed["response"]["output"]) == [("message", "incomplete", "Half a")]


def test_calls_belong_to_the_turn_before_them() -> None:
    one = FunctionCall(type="function_call", call_id="1", name="a", arguments="{}")
    two = one.model_copy(update={"call_id": "2"})
    said, asked = Turn(role="assistant", content="Let me see."), Turn(role="user", content="Well?")
    came = [FunctionCallOutput(type="function_call_output", call_id=id, output=f"came {id}") for id in "12"]
    turns = turns_of("Be brief.", [asked, said, one, two, *came, one, asked])
    assert [(turn.role, turn.content, len(turn.tool_calls), turn.tool_call_id) for turn in turns] == [
        ("system", "Be brief.", 0, ""),
        ("user", "Well?", 0, ""),
        ("assistant", "Let me see.", 2, ""),
        ("tool", "came 1", 0, "1"),
        ("tool", "came 2", 0, "2"),
        ("assistant", "", 1, ""),
        ("user", "Well?", 0, ""),
    ]
