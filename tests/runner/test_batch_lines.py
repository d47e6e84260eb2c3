"""A line of a batch asks for something that can be answered, or it is said what is wrong with it."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner import Message, Sampling
from llstore.runner.batch.job import Job, Refusal
from llstore.runner.batch.lines import read
from llstore.runner.batch.reader import Line, read_lines
from llstore.runner.batch.settings import BatchSettings
from llstore.runner.batch.shape import Answer, is_failure
from llstore.runner.chat.ask import Chat, Raw
from llstore.store import Digest, Name

MODEL = Digest("ab" * 32)
USUAL = BatchSettings(MODEL, Name("team/chat"), Sampling(max_tokens=64))


def line_of(data: bytes, number: int = 4, place: int = 9) -> Line:
    return Line(number, place, data, "0" * 32)


def asked(document: Any, settings: BatchSettings = USUAL) -> Job | Refusal:
    return read(line_of(json.dumps(document).encode()), settings)


def job(document: Any, settings: BatchSettings = USUAL) -> Job:
    found = asked(document, settings)
    assert isinstance(found, Job), found
    return found


def why(document: Any, settings: BatchSettings = USUAL) -> str:
    found = asked(document, settings)
    assert isinstance(found, Refusal), found
    assert found.message.startswith("line 9: ")
    return found.message.removeprefix("line 9: ")


def chat(body: Any, **others: Any) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body, **others}


def turns(found: Job) -> list[tuple[str, str]]:
    assert isinstance(found.ask, Chat)
    return [(message.role, message.content) for message in found.ask.messages]


USER = [{"role": "user", "content": "Hi"}]
ANSWER = Answer("Hello", "stop", prompt_tokens=5, completion_tokens=2, reused_tokens=1)


def test_a_prompt_becomes_a_conversation_with_the_batch_s_settings() -> None:
    found = job({"prompt": "Hi"})
    assert turns(found) == [("user", "Hi")]
    assert found.samplings[0] == USUAL.sampling
    assert found.shape.answer([ANSWER]) == {
        "id": 4,
        "text": "Hello",
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "completion_tokens": 2,
    }


def test_a_line_s_own_settings_rule() -> None:
    found = job({"id": "x", "prompt": "Hi", "max_tokens": 3, "temperature": 0, "seed": 7, "stop": "END", "top_k": None})
    assert found.samplings[0] == Sampling(
        max_tokens=3, temperature=0, seed=7, stop=("END",), top_k=USUAL.sampling.top_k
    )
    assert found.shape.error("why", ours=False) == {"id": "x", "error": "why"}
    assert job({"prompt": "Hi", "stop": ["A", "B"]}).samplings[0].stop == ("A", "B")


def test_every_setting_of_a_generation_may_stand_on_a_line() -> None:
    given = {
        "typical_p": 0.9,
        "repeat_penalty": 1.1,
        "repeat_last_n": 8,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"5": -100, "7": 1.5},
        "stop_tokens": [3, 4],
        "ignore_eos": True,
    }
    (sampling,) = job({"prompt": "Hi", **given}).samplings
    assert sampling.logit_bias == ((5, -100), (7, 1.5))
    assert sampling.stop_tokens == (3, 4)
    assert (sampling.typical_p, sampling.repeat_last_n, sampling.ignore_eos) == (0.9, 8, True)
    assert job({"prompt": "Hi", "logit_bias": [[5, -1]]}).samplings[0].logit_bias == ((5, -1),)


def test_a_schema_becomes_a_grammar_in_both_forms() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    grammar = job({"prompt": "Hi", "json_schema": schema}).samplings[0].grammar
    assert grammar
    assert "root ::=" in grammar
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    assert job(chat({"messages": USER, "response_format": form})).samplings[0].grammar == grammar
    assert job(chat({"messages": USER, "response_format": {"type": "json_object"}})).samplings[0].grammar
    assert job(chat({"messages": USER, "response_format": {"type": "text"}})).samplings[0].grammar is None


def test_a_system_message_goes_before_what_has_none() -> None:
    told = BatchSettings(MODEL, system="Be brief.")
    assert turns(job({"prompt": "Hi"}, told)) == [("system", "Be brief."), ("user", "Hi")]
    assert turns(job({"messages": USER}, told)) == [("system", "Be brief."), ("user", "Hi")]
    own = [{"role": "system", "content": "Rhyme."}, *USER]
    assert turns(job({"messages": own}, told)) == [("system", "Rhyme."), ("user", "Hi")]
    assert turns(job(chat({"messages": USER}), told)) == [("user", "Hi")]


def test_raw_sends_prompts_as_they_are_and_takes_no_conversation() -> None:
    raw = BatchSettings(MODEL, raw=True)
    assert job({"prompt": "Hi"}, raw).ask == Raw("Hi")
    assert "--raw" in why({"messages": USER}, raw)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "not a JSON object"),
        ({}, "needs a prompt, or messages"),
        ({"prompt": "a", "messages": USER}, "not both"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": 3}, "prompt is not a string"),
        ({"prompt": "\ud800"}, "surrogate"),
        ({"prompt": "a", "id": 1.5}, "id is not a string or a whole number"),
        ({"prompt": "a", "id": True}, "id is not"),
        ({"prompt": "a", "temprature": 1, "topk": 2}, "unknown keys 'temprature', 'topk'"),
        ({"prompt": "a", "temperature": "hot"}, "temperature is 'hot'"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens is 0"),
        ({"prompt": "a", "seed": 2**32}, "seed is 4294967296"),
        ({"prompt": "a", "seed": True}, "seed is True"),
        ({"prompt": "a", "stop": ""}, "stop is empty"),
        ({"prompt": "a", "stop": [1]}, "stop is not a string"),
        ({"messages": []}, "messages is not a list of at least one"),
        ({"messages": "Hi"}, "messages is not a list"),
        ({"messages": ["Hi"]}, "messages[0] is not an object"),
        ({"messages": [{"role": "user"}]}, "messages[0].content is not a string"),
        ({"messages": [{"role": "a b", "content": "x"}]}, "'a b' is not a role"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "'name'"),
        (chat({"messages": USER}, url="/v1/embeddings"), "url is not"),
        (chat({"messages": USER}, method="GET"), "method is not POST"),
        (chat({"messages": USER}, custom_id=None), "custom_id is not a string"),
        (chat(None), "body is not an object"),
        (chat({}), "messages is not a list"),
        (chat({"messages": USER, "tools": []}), "unknown key 'tools' in body"),
        (chat({"messages": USER, "model": "gpt-4o"}), "body.model is 'gpt-4o', this batch runs team/chat:latest"),
        (chat({"messages": USER, "stream": True}), "body.stream"),
        (chat({"messages": USER, "n": 0}), "n is 0"),
        (chat({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "content[0] is not text"),
        (chat({"prompt": "a"}), "'prompt'"),
        (chat({"messages": USER, "response_format": {"type": "xml"}}), "response_format.type is not"),
        (chat({"messages": USER, "response_format": {"type": "json_schema"}}), "json_schema is not an object"),
        ({"prompt": "a", "logprobs": 2}, "unknown key 'logprobs'"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias is not of token ids"),
        ({"prompt": "a", "logit_bias": [[1, "x"]]}, "logit_bias is ((1, 'x'),)"),
        ({"prompt": "a", "logit_bias": 3}, "logit_bias is not an object"),
        ({"prompt": "a", "stop_tokens": 3}, "stop_tokens is 3"),
        ({"prompt": "a", "ignore_eos": 1}, "ignore_eos is 1"),
        ({"prompt": "a", "grammar": "root ::= ("}, "grammar"),
        ({"prompt": "a", "grammar": 'root ::= "a"', "json_schema": {}}, "exclude each other"),
        ({"prompt": "a", "json_schema": {"type": "colour"}}, "colour"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(document: Any, said: str) -> None:
    assert said in why(document)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not JSON"),
        (b'{"prompt": "a", "prompt": "b"}', "'prompt' is there twice"),
        (b'{"prompt": "a", "temperature": 1e999}', "temperature is inf"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "a", "temperature": NaN}', "NaN"),
        (b'{"prompt": "a", "seed": ' + b"1" * 5000 + b"}", "too long a number"),
        (b'{"prompt": ' + b"[" * 200_000, "nested too deep"),
        (b'{"prompt": "a", "stop": [' + b"1," * 100_000 + b"2]}", "stop"),
    ],
)
def test_bytes_that_are_no_object_are_an_error_line_with_its_number(data: bytes, said: str) -> None:
    found = read(line_of(data), USUAL)
    assert isinstance(found, Refusal)
    document = found.shape.error(found.message, ours=False)
    assert document["id"] == 4
    assert document["error"].startswith("line 9: ")
    assert said in document["error"]
    assert len(document["error"]) < 600


def test_openai_s_form_is_answered_in_openai_s_shape() -> None:
    body = {"model": str(MODEL), "messages": USER, "max_completion_tokens": 9, "user": "u", "temperature": 0.5}
    found = job(chat(body))
    assert found.samplings[0] == Sampling(max_tokens=9, temperature=0.5)
    document = found.shape.answer([ANSWER])
    assert document["custom_id"] == "a"
    assert document["error"] is None
    assert document["response"]["status_code"] == 200
    completion = document["response"]["body"]
    assert completion["object"] == "chat.completion"
    assert completion["model"] == str(MODEL)
    assert completion["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert completion["usage"]["total_tokens"] == 7
    assert not is_failure(document)


def test_openai_s_completions_send_the_prompt_as_it_is() -> None:
    found = job({"custom_id": "b", "url": "/v1/completions", "body": {"prompt": "Once", "n": 2}})
    assert found.ask == Raw("Once")
    assert len(found.samplings) == 2
    body = found.shape.answer([ANSWER, ANSWER])["response"]["body"]
    assert [choice["text"] for choice in body["choices"]] == ["Hello", "Hello"]
    assert body["usage"]["prompt_tokens"] == 5
    assert body["usage"]["completion_tokens"] == 4


def test_openai_s_messages_may_come_in_parts_and_from_a_developer() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    body = {"messages": [{"role": "developer", "content": "Brief."}, {"role": "user", "content": parts}]}
    assert turns(job(chat(body))) == [("system", "Brief."), ("user", "Hello")]


def test_a_bad_line_of_openai_s_has_its_status_and_its_id() -> None:
    found = asked(chat({"messages": USER, "n": -1}))
    assert isinstance(found, Refusal)
    document = found.shape.error(found.message, ours=False)
    assert document["custom_id"] == "a"
    assert document["response"]["status_code"] == 400
    assert "line 9" in document["response"]["body"]["error"]["message"]
    assert is_failure(document)
    assert found.shape.error("died", ours=True)["response"]["status_code"] == 500


@pytest.mark.parametrize("name", ["team/chat", "team/chat:latest", str(MODEL), MODEL.hex, "abababab"])
def test_a_model_may_be_named_in_every_way_that_means_this_one(name: str) -> None:
    assert job(chat({"messages": USER, "model": name})).ask


def read_all(data: bytes, most: int = 100) -> list[Line]:
    return list(read_lines(io.BytesIO(data), most=most))


def test_blank_lines_count_as_places_and_not_as_numbers() -> None:
    lines = read_all(b'\xef\xbb\xbf{"a"}\n\n  \r\n{"b"}')
    assert [(line.number, line.place, line.data) for line in lines] == [(0, 1, b'{"a"}'), (1, 4, b'{"b"}')]


def test_a_line_too_long_is_passed_over_in_pieces() -> None:
    lines = read_all(b"a" * 100 + b"\n" + b"b" * 101 + b"\n" + b"c" * 1000 + b"\nd\n" + b"e" * 5000)
    assert [line.data for line in lines] == [b"a" * 100, None, None, b"d", None]
    assert len({line.digest for line in lines}) == 5
    found = read(lines[1], USUAL)
    assert isinstance(found, Refusal)
    assert "longer than" in found.message


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_a_line_has_one_digest_however_it_is_read(parts: list[bytes], most: int) -> None:
    data = b"\n".join(parts)
    short, whole = read_all(data, most), read_all(data, 10_000)
    by_place = {line.place: line for line in whole}
    for line in short:
        # What is too long to be looked at may be blank.
        if line.data is not None or line.place in by_place:
            assert line.digest == by_place[line.place].digest


@given(st.binary(max_size=200))
def test_no_bytes_are_a_surprise(data: bytes) -> None:
    assert isinstance(read(line_of(data), USUAL), Job | Refusal)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["id", "prompt", "messages", "custom_id", "url", "body", "stop", "seed", "temperature", "model"])


@given(st.dictionaries(keys, json_values | st.dictionaries(keys, json_values)))
def test_no_json_is_a_surprise(document: dict[str, Any]) -> None:
    found = asked(document)
    if isinstance(found, Refusal):
        text = json.dumps(found.shape.error(found.message, ours=False), ensure_ascii=False)
        assert text.encode()
    else:
        assert Message("user", "x")
