"""Models are told of tools, made to call them, and understood, each family in its own way."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llstore.runner import Generator, InvalidSampling, InvalidTool, Message, Sampling, chat_prompt
from llstore.runner.chat.ask import Chat
from llstore.runner.engine.answer import Answer
from llstore.runner.engine.protocol import Submit, encode
from llstore.runner.engine.protocol import decode as decode_frame
from llstore.runner.engine.request import Request
from llstore.runner.grammar import check_grammar
from llstore.runner.llama import LlamaModel
from llstore.runner.llama.grammar import Grammar
from llstore.runner.receipts.build_facts import BuildFacts
from llstore.runner.receipts.reading import decode
from llstore.runner.receipts.receipt import Receipt, UsedModel
from llstore.runner.receipts.replay import replay
from llstore.runner.tools.families import family_of
from llstore.runner.tools.parser import CallParser
from llstore.runner.tools.pieces import CallArguments, CallBegun, CallBroken, Said
from llstore.runner.tools.plan import ToolPlan, plan
from llstore.runner.tools.tool import MAX_TOOLS, Tool, ToolCall
from llstore.store import Digest

TEMPLATES = {
    path.stem: path.read_text() for path in (Path(__file__).parents[2] / "fixtures" / "templates").glob("*.jinja")
}
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "pattern": "^[A-Z][a-z]{1,8}$"},
        "days": {"$ref": "#/$defs/days"},
        "rule-1 [": {"enum": ["a", "rule-2"]},
    },
    "required": ["city", "days"],
    "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 7}},
}
WEATHER = Tool("weather", "What the weather will be", CITY)
TIME = Tool("time-of_day", "What time it is")
PARSED = [Tool("f", "", {"type": "object", "properties": {"x": {"multipleOf": 3, "type": "integer"}}})]
BUILD = BuildFacts("0", "0", "", (), (), "x86_64")


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[LlamaModel]:
    with LlamaModel(smollm2) as model:
        yield model


@pytest.fixture(scope="module")
def bytes_model(tiny: Path) -> Iterator[LlamaModel]:
    """A vocabulary of single bytes: a text can go wherever its grammar does."""
    with LlamaModel(tiny) as model:
        yield model


def read(parser: CallParser, text: str) -> tuple[str, list[ToolCall]]:
    """What an answer says, and the calls in it."""
    said, calls = "", []
    for piece in [*parser.push(text), *parser.finish()]:
        match piece:
            case Said(text):
                said += text
            case CallBegun(_, id, name):
                calls.append([id, name, ""])
            case CallArguments(index, text):
                calls[index][2] += text
            case CallBroken():
                pytest.fail("a call is broken")
    return said, [ToolCall(*call) for call in calls]


def fits(call: ToolCall) -> bool:
    """Whether a call of one of the tools above has arguments that fit."""
    arguments = call.parsed()
    if call.name == TIME.name:
        return arguments == {}
    kinds = {"city": str, "days": int, "rule-1 [": str}
    kept = all(isinstance(value, kinds[name]) for name, value in arguments.items())
    return kept and set(CITY["required"]) <= set(arguments) and 1 <= arguments["days"] <= 7


def wander(model: LlamaModel, grammar: str, rng: random.Random) -> str | None:
    """A text that follows the grammar, or None when it gets long."""
    end = model.end_tokens[0]
    tokens = np.array([*range(256), end])
    data = b""
    with Grammar(model, grammar) as follows:
        for _ in range(900):
            admitted = follows.admitted(tokens, np.ones(len(tokens), np.float32)).tolist()
            closing = [token for token in admitted if token == end or chr(token) in '"}]']
            plain = [token for token in admitted if token < 128] or admitted
            token = rng.choice(closing if closing and rng.random() < 0.6 else plain)
            if token == end:
                return data.decode()
            follows.accept(token)
            data += bytes([token])
    return None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"},
        {"name": ""},
        {"name": "a" * 65},
        {"name": "<|im_end|>"},
        {"name": 7},
        {"name": "a", "description": None},
        {"name": "a", "description": "\ud800"},
        {"name": "a", "parameters": []},
        {"name": "a", "parameters": {"type": "array"}},
        {"name": "a", "parameters": {"a": float("nan")}},
        {"name": "a", "parameters": {"a": "\ud800"}},
        {"name": "a", "parameters": {1: 2}},
        {"name": "a", "parameters": {"a": b""}},
        {"name": "a", "parameters": {"a": "x" * 300_000}},
        {"name": "a", "parameters": json.loads('{"a":' * 65 + "1" + "}" * 65)},
    ],
)
def test_what_is_no_tool_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidTool) as refused:
        Tool(**wrong)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "wrong",
    [
        ("a b", "f", "{}"),
        ("", "f", "{}"),
        ("<|im_end|>", "f", "{}"),
        ("a", "f g", "{}"),
        ("a", "f", "[]"),
        ("a", "f", "{"),
        ("a", "f", "[" * 100_000),
        ("a", "f", '{"a": NaN}'),
        ("a", "f", '{"a":' * 65 + "1" + "}" * 65),
        ("a", "f", '{"a": "\ud800"}'),
        ("a", "f", '{"a": ' + "1" * 5000 + "}"),
    ],
)
def test_what_is_no_call_is_refused(wrong: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidTool):
        ToolCall(*wrong)


def test_what_is_nested_as_deep_as_allowed_is_taken() -> None:
    text = '{"a":' * 64 + "1" + "}" * 64
    assert ToolCall("a", "f", text).parsed() == Tool("f", "", json.loads(text)).parameters


def test_a_call_without_arguments_is_of_an_empty_object() -> None:
    assert ToolCall("a", "f", "").parsed() == {}


@pytest.mark.parametrize(
    ("tools", "choice", "words"),
    [
        ([Tool(f"t{n}") for n in range(MAX_TOOLS + 1)], "auto", "128 are the most"),
        ([Tool("a"), Tool("a")], "auto", "two tools a"),
        ([Tool("a")], "b", "'b', which is none of them"),
        ([], "required", "there are none"),
        ([], "a", "there are none"),
        (PARSED, "required", "the tool f cannot be forced: the JSON Schema at #/properties/x asks for multipleOf"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(tools: list[Tool], choice: str, words: str) -> None:
    with pytest.raises(InvalidTool) as refused:
        plan(tools, choice, template_source=None)
    assert words in str(refused.value)


def test_a_schema_that_no_grammar_keeps_is_no_hindrance_where_nothing_is_forced() -> None:
    assert plan(PARSED, template_source=TEMPLATES["hermes"]).grammar is None
    check_grammar(plan(PARSED, template_source=None).grammar)


def test_the_family_is_told_by_the_template() -> None:
    found = {name: family_of(source).name for name, source in TEMPLATES.items()}
    assert found == {**{name: name for name in TEMPLATES}, "mistral_named": "mistral"}


@pytest.mark.parametrize(
    "source",
    [
        None,
        "{{ messages }}<tool_call>arguments",
        "{{ tools }}",
        "{{ tools }}<tool_call><function=name><parameter=arguments>",
        "{{ tools }}<tool_call>name<arg_key>arguments</arg_key>",
    ],
)
def test_a_template_that_knows_no_tools_or_others_is_generic(source: str | None) -> None:
    assert family_of(source).name == "generic"


@pytest.mark.parametrize("tools", [(), (WEATHER,)])
def test_with_no_tools_or_none_to_be_called_nothing_changes(tools: tuple[Tool, ...]) -> None:
    for source in (None, TEMPLATES["hermes"]):
        found = plan(tools, "none", template_source=source)
        assert (found.tools, found.instruction, found.grammar, found.marks) == ((), "", None, ())
        text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
        assert read(found.parser(), text) == (text, [])
        messages = (Message("user", "Hi"),)
        assert found.chat(messages).messages == messages
        assert found.chat(messages).tools == ()


def test_no_tools_is_a_plain_answer_by_default() -> None:
    assert plan([], template_source=None).grammar is None


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_family_that_knows_tools_is_told_of_them_and_left_free(name: str) -> None:
    found = plan([WEATHER, TIME], template_source=TEMPLATES[name])
    assert (found.tools, found.instruction, found.grammar) == ((WEATHER, TIME), "", None)
    assert found.chat([Message("user", "Hi")]).tools == (WEATHER, TIME)


ANY = [*TEMPLATES, "generic"]


def planned(name: str, choice: str, *, parallel: bool = True) -> ToolPlan:
    return plan([WEATHER, TIME], choice, parallel=parallel, template_source=TEMPLATES.get(name))


@pytest.mark.parametrize("choice", ["required", "weather"])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("name", ANY)
def test_every_text_of_a_forced_answer_is_a_call_that_fits(
    bytes_model: LlamaModel, name: str, parallel: bool, choice: str
) -> None:
    found = planned(name, choice, parallel=parallel)
    rng = random.Random(5)
    texts = [text for text in (wander(bytes_model, found.grammar, rng) for _ in range(6)) if text is not None]
    assert len(texts) >= 3
    for text in texts:
        said, calls = read(found.parser(), text)
        assert (said, bool(calls)) == ("", True), text
        assert all(fits(call) for call in calls)
        assert choice == "required" or [call.name for call in calls] == [choice]
        assert parallel or len(calls) == 1


def test_a_forced_answer_may_call_several_tools(bytes_model: LlamaModel) -> None:
    call = '<tool_call>\n{"name": "time-of_day", "arguments": {}}\n</tool_call>'
    with Grammar(bytes_model, planned("hermes", "required").grammar) as follows:
        for byte in f"{call}\n{call}".encode():
            follows.accept(byte)
        assert follows.admits(bytes_model.end_tokens[0])


def test_a_generic_answer_is_a_reply_or_a_call(bytes_model: LlamaModel) -> None:
    found = planned("generic", "auto")
    rng = random.Random(11)
    outcomes = [read(found.parser(), wander(bytes_model, found.grammar, rng) or "") for _ in range(16)]
    assert any(calls for _, calls in outcomes)
    assert any(said and not calls for said, calls in outcomes)
    assert all(fits(call) for _, calls in outcomes for call in calls)
    assert not any("reply" in said for said, _ in outcomes)


def test_a_generic_model_reads_calls_and_results_as_text() -> None:
    call = ToolCall("call_a", "weather", '{"city": "Rome", "days": 1}')
    messages = [
        Message("system", "Be kind."),
        Message("user", "And in Rome?"),
        Message("assistant", "", (call, ToolCall("call_b", "time-of_day", ""))),
        Message("tool", "sunny", tool_call_id="call_a"),
        Message("tool", "noon", tool_call_id="call_b"),
        Message("user", "So?"),
    ]
    chat = planned("generic", "auto").chat(messages)
    assert chat.tools == ()
    system, *rest = chat.messages
    assert system.content.startswith("Be kind.\n\n")
    assert WEATHER.description in system.content
    assert [(turn.role, turn.content, turn.tool_calls) for turn in rest] == [
        ("user", "And in Rome?", ()),
        (
            "assistant",
            '[{"name": "weather", "arguments": {"city": "Rome", "days": 1}}, {"name": "time-of_day", "arguments": {}}]',
            (),
        ),
        ("user", "Result of weather:\nsunny\n\nResult of time-of_day:\nnoon\n\nSo?", ()),
    ]
    assert planned("generic", "auto").chat(messages[1:]).messages[0].role == "system"


def test_special_tokens_are_shown_when_they_are_asked_for(model: LlamaModel) -> None:
    (mark,) = model.tokenize("<|im_start|>", add_special=False, parse_special=True)
    tokens = [mark, *model.tokenize("Hi", add_special=False, parse_special=False), mark]
    for shown, wanted in (((), "Hi"), ((mark,), "<|im_start|>Hi<|im_start|>")):
        request = Request((1,), Sampling(shown_tokens=shown, max_tokens=9))
        with Answer(model, request, most=9) as answer:
            assert "".join(answer.take(token).text for token in tokens) + answer.finish() == wanted
        again = Request((1,), request.sampling, generated=tuple(tokens[:1]))
        with Answer(model, again, most=9) as answer:
            said = "".join(answer.take(token).text for token in tokens[1:])
            assert said + answer.finish() == wanted.removeprefix("<|im_start|>" if shown else "")


@pytest.mark.parametrize("shown", [(-1,), [1], (True,)])
def test_shown_tokens_are_token_ids(shown: object) -> None:
    with pytest.raises(InvalidSampling, match="shown_tokens"):
        Sampling(shown_tokens=shown)


def test_a_plan_shows_the_marks_that_are_special_tokens(model: LlamaModel) -> None:
    class Marked:
        """A vocabulary in which a mark is a special token."""

        piece = model.piece

        def tokenize(self, text: str, **how: bool) -> list[int]:
            return model.tokenize(text.replace("[TOOL_CALLS]", "<|im_start|>"), **how)

    (mark,) = model.tokenize("<|im_start|>", add_special=False, parse_special=True)
    found = planned("mistral", "required")
    assert found.sampling(Sampling(shown_tokens=(7,)), Marked()).shown_tokens == (mark, 7)
    assert found.sampling(Sampling(), model).shown_tokens == ()
    assert found.sampling(Sampling(), model).grammar == found.grammar
    with pytest.raises(InvalidTool, match="cannot both decide"):
        found.sampling(Sampling(grammar="root ::= [a]"), model)
    free = planned("mistral", "auto").sampling(Sampling(grammar="root ::= [a]"), model)
    assert free.grammar == "root ::= [a]"


def test_what_is_shown_reaches_an_engine_in_its_process() -> None:
    submit = Submit(1, Request((1, 2), Sampling(shown_tokens=(3, 4))))
    assert decode_frame(encode(submit)[4:]) == submit


QUESTION = (Message("user", "What will the weather be in Paris for 3 days?"),)


def asked(model: LlamaModel, found: ToolPlan, *messages: Message) -> tuple[Chat, Generator]:
    chat = found.chat(messages)
    sampling = found.sampling(Sampling(temperature=0, max_tokens=120), model)
    return chat, Generator(model, chat.tokens(model), sampling)


@pytest.mark.parametrize("choice", ["required", "weather", "time-of_day"])
def test_a_real_model_that_must_call_calls(model: LlamaModel, choice: str) -> None:
    found = plan([WEATHER, TIME], choice, parallel=False, template_source=model.chat_template)
    assert found.family.name == "generic"
    _, answer = asked(model, found, *QUESTION)
    said, (call,) = read(found.parser(), "".join(answer))
    assert said == ""
    assert fits(call)
    assert choice in ("required", call.name)


def test_a_real_model_that_is_left_free_says_something_or_calls(model: LlamaModel) -> None:
    found = plan([WEATHER, TIME], template_source=model.chat_template)
    _, answer = asked(model, found, Message("user", "Hello, who are you?"))
    text = "".join(answer)
    said, calls = read(found.parser(), text)
    assert text.startswith(("{", "["))
    assert said or calls
    assert all(fits(call) for call in calls)


def test_an_answer_with_tools_is_replayed(model: LlamaModel) -> None:
    found = plan([WEATHER, TIME], TIME.name, template_source=model.chat_template)
    chat, answer = asked(model, found, *QUESTION)
    used = UsedModel(Digest.of(b"model"), Digest.of(b"manifest"), ())
    for _ in answer:
        pass
    receipt = Receipt.of(used, chat, model=model, made=answer.result, build=BUILD)
    assert replay(decode(receipt.encode()), model).same


def test_tools_reach_the_template_and_come_back_from_a_receipt(model: LlamaModel) -> None:
    class Hermes:
        """The model with a template that knows tools."""

        chat_template = TEMPLATES["hermes"]
        add_bos, bos, eos = False, model.bos, model.eos
        tokenize = model.tokenize

    found = plan([WEATHER, TIME], template_source=Hermes.chat_template)
    chat = found.chat(QUESTION)
    tokens = chat.tokens(Hermes())
    assert tokens == chat_prompt(Hermes(), QUESTION, now=chat.clock, tools=[WEATHER, TIME])
    text = b"".join(map(model.piece, tokens)).decode()
    assert WEATHER.description in text
    assert text.index('"city"') < text.index('"days"') < text.index('"rule-1 ["')
