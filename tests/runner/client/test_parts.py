"""The parts that need no server: what is sent, how a stream is read, who may ask."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import DIGEST, DONE, counted, delta

from llstore.runner.client import ClientOptions, asked
from llstore.runner.client.answers import Head
from llstore.runner.client.events import MAX_EVENT, Events
from llstore.runner.client.growing import Growing
from llstore.runner.client.options import address, checked
from llstore.runner.client.refusals import LONGEST, one_line
from llstore.runner.errors import AnswerBroken, InvalidCall

ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.one_of(
    st.sampled_from([b"", b":", b": alive", b"data", b"data:", b"data: a", b"data:  b", b"event: x", b"id", b"dat: c"]),
    st.binary(max_size=8).map(lambda data: b"data:" + data.replace(b"\r", b"").replace(b"\n", b"")),
)


def read(*pieces: bytes) -> list[bytes]:
    events = Events()
    return [event for piece in pieces for event in events.feed(piece)]


def told(lines: list[bytes]) -> list[bytes]:
    """The events of lines, as the standard tells it, without cutting anything."""
    found, data = [], []
    for line in lines:
        if not line and data:
            found.append(b"\n".join(data))
            data = []
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value[1:] if value[:1] == b" " else value)
    return found


@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_events_are_the_same_however_the_bytes_are_cut(lines: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    # A return and a newline of the next, empty line would be one end.
    whole = b"".join(line + end for line, end in lines)
    expected = told(whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1])
    pieces, at, turn = [], 0, 0
    while at < len(whole):
        size = sizes[turn % len(sizes)] or turn % 2
        pieces.append(whole[at : at + size])
        at, turn = at + size, turn + 1
    assert read(*pieces) == read(whole) == expected


def test_data_of_several_lines_is_joined_and_the_rest_passed_over() -> None:
    assert read(b"\xef\xbb\xbfdata: a\nid: 1\n: no\ndata:b\n\nevent: x\n\ndata: c") == [b"a\nb"]


def test_a_return_at_the_end_of_a_piece_ends_the_line_once() -> None:
    assert read(b"data: a\r", b"\n\r", b"\n", b"data: b\r", b"\r", b"data: c\n\n") == [b"a", b"b", b"c"]


@pytest.mark.parametrize("line", [b"data: ", b": ", b""])
def test_an_event_that_does_not_end_is_broken_before_it_fills_the_memory(line: bytes) -> None:
    piece = b"x" * (1024 * 1024)
    with pytest.raises(AnswerBroken, match="more than"):
        read(line, *[piece] * (MAX_EVENT // len(piece) + 1))


def test_many_short_lines_of_one_event_are_counted_together() -> None:
    with pytest.raises(AnswerBroken):
        read(*[(b"data: " + b"x" * 1000 + b"\n") * 1000] * 20)


def test_events_one_after_another_may_be_more() -> None:
    assert len(read(*[(b"data: " + b"x" * 1000 + b"\n\n") * 1000] * 20)) == 20_000


def test_times_are_those_of_the_first_piece_and_of_the_end() -> None:
    head = Head(200, {"content-type": "text/event-stream; charset=utf-8", "llstore-model": DIGEST})
    growing = Growing(head, chat=True, began=10.0, key=None)
    chunks = [delta(role="assistant", content=""), delta(content="a"), delta(content="b", reason="stop"), counted()]
    sent = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    for seconds, data in enumerate([*sent, DONE], start=1):
        list(growing.feed(data, 10.0 + seconds))
    said = growing.ended()
    assert (said.first_token_ms, said.latency_ms) == (2000, 5000)


@pytest.mark.parametrize(
    ("prompt", "given"),
    [
        (b"bytes", {}),
        (["tokens"], {}),
        ("\ud83d", {}),
        ("x", {"temperature": float("nan")}),
        ("x", {"stop": {"a"}}),
        ("x", {"settings": {"stream": True}}),
        ("x", {"settings": {"n": 2}}),
        ("x", {"settings": {"seed": 1}, "seed": 2}),
        ("x", {"settings": "min_p"}),
    ],
)
def test_what_cannot_be_sent_is_refused_here(prompt: Any, given: Any) -> None:
    with pytest.raises(InvalidCall) as raised:
        asked.completion(prompt, given, model=None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("messages", ["Hello", {"role": "user"}, ["Hello"], b"x"])
def test_messages_are_a_list_of_objects(messages: Any) -> None:
    with pytest.raises(InvalidCall, match="list of objects"):
        asked.conversation(messages, {}, model=None)


def test_a_keyword_that_is_none_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="max_token"):
        asked.completion("x", {"max_token": 5}, model=None)  # type: ignore[typeddict-unknown-key]
    with pytest.raises(TypeError, match="tools"):
        asked.streamed("x", {"tools": []}, model=None)


def test_mappings_and_sequences_of_any_kind_are_sent() -> None:
    class Turn(Mapping[str, str]):
        def __getitem__(self, name: str) -> str:
            return {"role": "user", "content": "é"}[name]

        def __iter__(self) -> Any:
            return iter(("role", "content"))

        def __len__(self) -> int:
            return 2

    body = asked.conversation((Turn(),), {"stop": range(2)}, model=None).body  # type: ignore[typeddict-item]
    assert json.loads(body or b"") == {"messages": [{"role": "user", "content": "é"}], "stop": [0, 1]}


@pytest.mark.parametrize(
    "options",
    [
        {"key": ""},
        {"key": "sk-1\n"},
        {"key": "sk-é"},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"connect_timeout": -1},
        {"retries": -1},
        {"retries": True},
        {"most_wait": "60"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidCall) as raised:
        ClientOptions(**options)
    assert "sk-" not in str(raised.value)


def test_an_address_is_a_host_and_a_port_or_a_url() -> None:
    assert address("::1", 8080) == "http://[::1]:8080"
    assert address("models.lan", 80) == "http://models.lan:80"
    assert checked("https://h/v1/") == checked("https://h/") == "https://h"
    assert checked("http://h:1/llm/v1") == "http://h:1/llm"


@pytest.mark.parametrize(
    "url", ["h:8080", "ftp://h", "http://", "http://u:secret@h", "http://h?key=secret", "http://h:99999", "http://a b"]
)
def test_what_is_no_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidCall) as raised:
        checked(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("host", "port"), [("", 80), ("h/x?y", 80), ("a@h", 80), ("h", 0), ("h", 65536), ("h", "80")])
def test_what_is_no_host_or_port_is_refused(host: str, port: Any) -> None:
    with pytest.raises(InvalidCall):
        address(host, port)


@given(st.text())
def test_what_a_server_says_becomes_one_short_line(text: str) -> None:
    line = one_line(text, key="k")
    assert line.isprintable()
    assert "k" not in line.replace("[key]", "")
    assert len(line) <= LONGEST + 1
