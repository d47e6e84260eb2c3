"""Calls are found in an answer however it is cut, and what is no call comes out as text."""

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner.tools.families import (
    DEEPSEEK,
    DEEPSEEK_FENCED,
    GENERIC,
    GRANITE,
    HERMES,
    LLAMA3,
    MISTRAL,
    MISTRAL_NAMED,
    Family,
)
from llstore.runner.tools.json_text import JsonString, is_object
from llstore.runner.tools.parser import CallParser, Expected
from llstore.runner.tools.pieces import CallArguments, CallBegun, CallBroken, CallEnded, Piece, Said
from llstore.runner.tools.tool import MAX_DEPTH, ToolCall

FAMILIES = [HERMES, LLAMA3, MISTRAL, MISTRAL_NAMED, DEEPSEEK, DEEPSEEK_FENCED, GRANITE, GENERIC]
OFFERED = ("weather", "time-of_day")
CALLS = [("weather", '{"city": "Paris", "days": 3}'), ("time-of_day", "{}")]


@dataclass(slots=True)
class Outcome:
    """What a client has in the end."""

    text: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)

    def take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Said(text):
                    self.text += text
                case CallBegun(index, id, name):
                    assert index == len(self.calls)
                    self.calls[index] = [id, name, ""]
                case CallArguments(index, text):
                    assert index == len(self.calls) - 1
                    self.calls[index][2] += text
                case CallBroken(index):
                    self.broken.add(index)
                case CallEnded(index):
                    assert index not in self.broken

    @property
    def whole(self) -> list[tuple[str, str]]:
        return [(name, arguments) for n, (_, name, arguments) in self.calls.items() if n not in self.broken]


def parser(family: Family, *, offered: tuple[str, ...] = OFFERED, most: int | None = None) -> CallParser:
    return CallParser(Expected(family.form, offered, most), random.Random(7))


def read(reader: CallParser, *pieces: str) -> Outcome:
    outcome = Outcome()
    for piece in pieces:
        outcome.take(reader.push(piece))
    outcome.take(reader.finish())
    return outcome


def written(family: Family, calls: list[tuple[str, str]]) -> str:
    style = family.style
    if not family.several or (len(calls) == 1 and not style.end):
        style = replace(style, start="", end="")
    each = (style.before + name + style.middle + arguments + style.after for name, arguments in calls)
    return style.start + style.between.join(each) + style.end


FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.name}-{family.style.middle}")


@FAMILY
def test_a_call_as_the_family_writes_it_is_found(family: Family) -> None:
    outcome = read(parser(family), written(family, CALLS[:1]))
    assert outcome.whole == CALLS[:1]
    assert outcome.text == ""


@FAMILY
def test_several_calls_are_found(family: Family) -> None:
    if family.several:
        outcome = read(parser(family), *written(family, CALLS))
        assert (outcome.whole, outcome.text) == (CALLS, "")


@FAMILY
def test_text_before_and_behind_a_call_is_text(family: Family) -> None:
    before = "" if family.form.bare else "I look < it [ up."
    outcome = read(parser(family), before + written(family, CALLS[:1]) + "\n And \n")
    assert outcome.whole == CALLS[:1]
    assert outcome.text == before + "\n And \n"


@FAMILY
def test_plain_text_passes_at_once(family: Family) -> None:
    reader = parser(family)
    assert reader.push("Hi <there") == [Said("Hi <there")]
    assert reader.push(" and so on. \n") == [Said(" and so on. \n")]


def test_a_call_is_announced_with_its_name_and_its_arguments_stream() -> None:
    reader = parser(HERMES)
    assert reader.push('Well. <tool_call>\n{"name": "weather') == [Said("Well. ")]
    (begun,) = reader.push('", "argu')
    assert isinstance(begun, CallBegun)
    assert (begun.index, begun.name) == (0, "weather")
    assert reader.push('ments": {"city": "Pa') == [CallArguments(0, '{"city": "Pa')]
    assert reader.push('ris"}') == [CallArguments(0, 'ris"}')]
    assert reader.push("}\n</tool_") == [CallEnded(0)]
    assert reader.push("call>") == []
    assert reader.finish() == []


def test_text_waits_no_longer_than_it_may_become_a_mark() -> None:
    reader = parser(HERMES)
    assert reader.push("a <tool") == [Said("a ")]
    assert reader.push("s> b") == [Said("<tools> b")]


def test_ids_come_from_the_source_that_is_given() -> None:
    texts = [read(parser(HERMES), written(HERMES, CALLS)).calls for _ in range(2)]
    assert texts[0] == texts[1]
    ids = [id for id, _, _ in texts[0].values()]
    assert len(set(ids)) == 2
    assert all(id.startswith("call_") and len(id) == 29 and id[5:].isalnum() for id in ids)


@pytest.mark.parametrize(
    ("family", "text", "calls"),
    [
        (HERMES, '<tool_call>{"arguments": {"a": [1]}, "name": "weather"}</tool_call>', [("weather", '{"a": [1]}')]),
        (HERMES, '<tool_call>{"name":"weather","arguments":"{\\"a\\": 1}"}', [("weather", '{"a": 1}')]),
        (HERMES, '<tool_call>{"name":"weather","arguments":{}}', [("weather", "{}")]),
        (LLAMA3, '<|python_tag|>{"name": "weather", "parameters": {}}', [("weather", "{}")]),
        (LLAMA3, ' \n{"type": "function", "name": "weather", "parameters": {}}', [("weather", "{}")]),
        (
            LLAMA3,
            '{"name": "weather", "parameters": {}}; {"name": "weather", "parameters": {}}',
            [("weather", "{}")] * 2,
        ),
        (MISTRAL, '[TOOL_CALLS] [{"name": "weather", "arguments": {}, "id": "123456789"}]', [("weather", "{}")]),
        (MISTRAL, '[TOOL_CALLS]{"name": "weather", "arguments": {}}', [("weather", "{}")]),
        (MISTRAL_NAMED, "[TOOL_CALLS]weather[CALL_ID]123456789[ARGS] {}", [("weather", "{}")]),
        (GENERIC, '{"name": "weather", "arguments": {}}', [("weather", "{}")]),
    ],
)
def test_other_ways_of_writing_a_call_are_understood(family: Family, text: str, calls: list[tuple[str, str]]) -> None:
    for pieces in ([text], list(text)):
        outcome = read(parser(family), *pieces)
        assert (outcome.whole, outcome.text.strip()) == (calls, "")


@pytest.mark.parametrize(
    ("family", "text"),
    [
        (HERMES, '<tool_call>{"name": "hammer", "arguments": {}}</tool_call>'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"a": nope}}</tool_call>'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"a": 1'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"a": 01}}'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"a": NaN}}'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": [1]}'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": "soon"}'),
        (HERMES, '<tool_call>{"name": "weather"}</tool_call>'),
        (HERMES, '<tool_call>{"name": "weather", "name": "weather", "arguments": {}}'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {}, "arguments": {}}'),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {}, "mood": "good"}'),
        (HERMES, '<tool_call>[{"name": "weather", "arguments": {}}]'),
        (HERMES, "<tool_call>\n"),
        (HERMES, "<tool_call"),
        (HERMES, '<tool_call>{"name": "weather", "arguments": {"a": ' + '{"a": ' * MAX_DEPTH + "1" + "}" * 99),
        (LLAMA3, '{"city": "Paris"}'),
        (LLAMA3, 'Say {"name": "weather", "parameters": {}}'),
        (MISTRAL, "[TOOL_CALLS][]"),
        (MISTRAL, "[TOOL_CALLS] weather is fine"),
        (MISTRAL_NAMED, "[TOOL_CALLS]weather[NO]{}"),
        (MISTRAL_NAMED, "[TOOL_CALLS]hammer[ARGS]{}"),
        (DEEPSEEK, f"{DEEPSEEK.form.lead} so what"),
        (GENERIC, '[1, {"reply": "x"}]'),
        (GENERIC, '{"reply": 7}'),
    ],
)
def test_what_looks_like_a_call_and_is_none_comes_out_as_text(family: Family, text: str) -> None:
    for pieces in ([text], list(text)):
        outcome = read(parser(family), *pieces)
        assert (outcome.whole, outcome.text) == ([], text)


def test_behind_what_was_no_call_another_is_found() -> None:
    text = "<tool_call>no<tool_call>" + written(HERMES, CALLS[:1])
    outcome = read(parser(HERMES), text)
    assert (outcome.whole, outcome.text) == (CALLS[:1], "<tool_call>no<tool_call>")


def test_of_a_list_that_breaks_the_calls_before_count() -> None:
    outcome = read(parser(MISTRAL), '[TOOL_CALLS][{"name": "weather", "arguments": {}}, {"name": "hammer"}]')
    assert outcome.whole == [("weather", "{}")]
    assert outcome.text == ', {"name": "hammer"}]'


@FAMILY
def test_one_call_too_many_is_text(family: Family) -> None:
    if family.several:
        outcome = read(parser(family, most=1), *written(family, CALLS))
        assert outcome.whole == CALLS[:1]
        assert "time-of_day" in outcome.text


def test_without_a_form_everything_is_text() -> None:
    reader = CallParser(Expected(None, ()), random.Random(1))
    text = written(HERMES, CALLS)
    assert reader.push(text) == [Said(text)]
    assert reader.finish() == []


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r'{"reply": "Grüße"}', "Grüße"),
        (' {"reply": "a\\n\\"b\\" \\u00e9\\ud83d\\ude00"} ', 'a\n"b" é😀'),
        (r'{"reply": "\ud83d and \ude00"}', "\ufffd and \ufffd"),
        (r'{"reply": "cut of', "cut of"),
    ],
)
def test_a_generic_reply_is_its_text(written: str, text: str) -> None:
    for pieces in ([written], list(written)):
        assert read(parser(GENERIC), *pieces).text == text


def test_a_generic_reply_streams() -> None:
    reader = parser(GENERIC)
    assert reader.push('{"reply": "Hel') == [Said("Hel")]
    assert reader.push('lo"}') == [Said("lo")]


def fragments(family: Family) -> st.SearchStrategy[str]:
    form, style = family.form, family.style
    marks = [form.opening, form.lead, form.separator, *form.closing, style.before, style.middle, style.after]
    some = ["", " ", "\n", "{", "}", "[", "]", '"', "\\", ",", ":", ";", "<", "a", "weather", '{"name": "weather"']
    more = [
        '"name": ',
        '"arguments": ',
        '{"a": 1}',
        '{"a": [true, "é"]}',
        '{"reply": "',
        "\\u00e9",
        "\\ud83d",
        '{"a": 1,}',
    ]
    whole = [written(family, CALLS), written(family, CALLS[:1]), written(family, [("hammer", "{}")])]
    return st.sampled_from([*marks, *some, *more, *whole]) | st.text(max_size=5)


TEXTS = st.sampled_from(FAMILIES).flatmap(
    lambda family: st.tuples(st.just(family), st.lists(fragments(family), max_size=12).map("".join))
)


@given(TEXTS, st.data())
def test_the_outcome_does_not_depend_on_how_the_text_is_cut(found: tuple[Family, str], data: st.DataObject) -> None:
    family, text = found
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = read(parser(family), text)
    assert read(parser(family), *pieces) == whole
    assert read(parser(family), *text) == whole


@given(TEXTS)
def test_every_call_is_of_an_offered_tool_and_its_arguments_are_an_object(found: tuple[Family, str]) -> None:
    family, text = found
    outcome = read(parser(family), text)
    for n, (id, name, arguments) in outcome.calls.items():
        assert name in OFFERED
        if n not in outcome.broken:
            ToolCall(id, name, arguments)


@given(TEXTS)
def test_where_no_tool_is_offered_nothing_is_lost(found: tuple[Family, str]) -> None:
    family, text = found
    silent = replace(family, form=replace(family.form, replies=False))
    outcome = read(parser(silent, offered=()), text)
    assert (outcome.text, outcome.calls) == (text, {})


@given(TEXTS)
def test_where_no_call_is_whole_nothing_is_lost_and_else_nothing_is_doubled(found: tuple[Family, str]) -> None:
    family, text = found
    silent = replace(family, form=replace(family.form, replies=False))
    outcome = read(parser(silent), text)
    if not outcome.whole:
        assert outcome.text == text
    for letter in set(text) - set(" \n"):
        said = outcome.text.count(letter) + sum(arguments.count(letter) for _, arguments in outcome.whole)
        assert said <= text.count(letter)


def calls_made(act: Callable[[], Any]) -> int:
    """How many Python functions `act` calls."""
    count = 0

    def tally(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(tally)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


@FAMILY
@pytest.mark.parametrize(
    "unit",
    [
        " ",
        "<tool_call>",
        '<tool_call>{"name":"',
        "[TOOL_CALLS][",
        "[TOOL_CALLS]weather[",
        '{"reply": "\\',
        '[{"name": "weather", "arguments": {"a":',
        '<tool_call>{"name": "weather", "arguments": {"<tool_call>":',
        f"{DEEPSEEK.form.lead} ",
        '{"name": "weather", "arguments": {}} ',
        "<|python_tag|> \n",
    ],
)
def test_hostile_text_takes_steps_in_proportion_to_its_length(family: Family, unit: str) -> None:
    short, long = (calls_made(lambda n=n: read(parser(family), *(unit * n))) for n in (100, 400))
    assert long <= 4.2 * short + 100


@given(st.text(alphabet='{}[]",:\\ \n019.-+eEtruefalsn/ué\x00', max_size=30) | st.text(max_size=20))
def test_what_is_a_json_object_is_what_python_takes_for_one(text: str) -> None:
    for one in (text, "{" + text + "}", '{"a":' + text + "}"):
        assert is_object(one) == isinstance(loaded(one), dict)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_json_of_any_kind_is_read(value: dict[str, Any]) -> None:
    for indent in (None, 2):
        assert is_object(json.dumps(value, indent=indent))


@given(st.text())
def test_a_json_string_is_read_as_it_was_meant(text: str) -> None:
    for ascii_only in (True, False):
        string = JsonString()
        assert "".join(map(string.push, json.dumps(text, ensure_ascii=ascii_only)[1:])) == text
        assert string.done


def loaded(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return None
