"""What a client of streamed completions sees: every token, when it came, and why an answer failed."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_http import After, Scripted, Step, chunk, head, scripted

from llstore.runner.bench.completion_events import CompletionEvents
from llstore.runner.bench.http_answer import HttpAnswer
from llstore.runner.bench.http_target import Answered, HttpTarget
from llstore.runner.bench.latencies import CUT, Load, Record
from llstore.runner.bench.load import Clients, closed, opened
from llstore.runner.bench.target import Arrival
from llstore.runner.bench.workload import Asked

SSE = "Content-Type: text/event-stream"
CHUNKED = head("200 OK", SSE, "Transfer-Encoding: chunked")
DONE = b"data: [DONE]\n\n"
WHOLE = chunk(b"")


def event(text: str, finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


LAST = event("", "length")


def ask(*steps: Step, tokens: int = 3, silence: float = 20.0) -> Record:
    with scripted(*steps) as server:
        return load(server, [Asked((7,), tokens)], silence=silence).records[0]


def load(server: Scripted, asks: list[Asked], *, silence: float = 20.0, cut: bool = False) -> Load:
    with HttpTarget(server.port, lambda asked: {"max_tokens": asked.max_tokens}, name="it", silence=silence) as target:
        return closed(target, [Clients(iter(asks), 1)], seconds=0.3 if cut else 30, cut=cut)


def last(*steps: Step, tokens: int = 3) -> Answered:
    """What the last arrival says."""
    arrivals: list[Arrival] = []
    with scripted(*steps) as server, HttpTarget(server.port, lambda _: {}, name="it") as target:

        class Watched:
            name = "it"

            def start(self, asked, arrived):
                return target.start(asked, lambda arrival: (arrivals.append(arrival), arrived(arrival)))

        opened(Watched(), [(0.0, Asked((7,), tokens))])
    assert isinstance(arrivals[-1], Answered)
    return arrivals[-1]


# Tokens


def test_every_token_of_a_chunked_answer_has_its_time() -> None:
    pieces = [part for text in "abc" for part in (0.05, chunk(event(text)))]
    found = ask(CHUNKED, *pieces, chunk(LAST), chunk(DONE), WHOLE, After.KEEP)
    assert not found.error
    assert len(found.times) == 3
    # On a busy machine two may be seen at once, but not all.
    assert sum(found.gaps) > 0.05


def test_tokens_that_come_in_one_read_come_at_one_time() -> None:
    found = ask(CHUNKED, chunk(event("a") + event("b") + event("c") + LAST + DONE), WHOLE)
    assert len(found.times) == 3
    assert found.gaps == ()


def test_an_event_that_is_cut_between_two_reads_is_one_token() -> None:
    whole = chunk(event("a")) + chunk(event("b"))
    found = ask(CHUNKED, whole[:40], 0.05, whole[40:-60], 0.05, whole[-60:], chunk(LAST + DONE) + WHOLE, tokens=2)
    assert not found.error
    assert len(found.times) == 2


def test_an_answer_may_end_with_its_connection() -> None:
    found = ask(head("200 OK", SSE, "Connection: close"), event("a"), event("b"), event("c"), LAST, DONE, After.CLOSE)
    assert not found.error
    assert len(found.times) == 3


def test_an_answer_may_tell_its_length() -> None:
    body = event("a") + event("b") + event("c") + LAST
    found = ask(head("200 OK", SSE, f"Content-Length: {len(body)}"), body, After.KEEP)
    assert not found.error
    assert len(found.times) == 3


def test_tokens_without_an_event_are_counted_at_the_end() -> None:
    assert len(ask(CHUNKED, chunk(event("a") + LAST + DONE) + WHOLE, tokens=5).times) == 5


def test_a_server_that_counts_its_tokens_is_believed() -> None:
    usage = {"completion_tokens": 4, "prompt_tokens": 60}
    answer = CHUNKED, chunk(event("ab") + event("", "stop", usage=usage) + DONE) + WHOLE
    found = last(*answer, tokens=9)
    assert (found.tokens, found.prompt_tokens, found.finish_reason) == (3, 60, "stop")
    assert len(ask(*answer, tokens=9).times) == 4


def test_usage_may_come_in_an_event_of_its_own() -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 3, "prompt_tokens": 8}}\n\n'
    found = last(CHUNKED, chunk(event("a") + event("", "stop") + usage + DONE) + WHOLE)
    assert (found.tokens, found.prompt_tokens) == (2, 8)


TEXTS = st.lists(st.text(min_size=1), max_size=5)


@given(TEXTS, st.lists(st.integers(1, 40), max_size=30), st.booleans())
def test_no_cut_between_reads_changes_what_is_counted(texts: list[str], cuts: list[int], chunked: bool) -> None:
    sent = [event(text) for text in texts] + [LAST, DONE]
    answer = CHUNKED + b"".join(map(chunk, sent)) + WHOLE if chunked else head("200 OK", SSE) + b"".join(sent)
    read, events, tokens = HttpAnswer(), CompletionEvents(len(texts)), 0
    for size in (*cuts, len(answer)):
        tokens += events.feed(read.feed(answer[:size]))
        answer = answer[size:]
    read.closed()
    assert (read.whole, read.reusable) == (True, chunked)
    assert (tokens, events.unseen, events.error) == (len(texts), 0, "")


def test_text_that_looks_like_an_event_is_text() -> None:
    text = 'data: {"text": "", "finish_reason": "stop"}\n\ndata: [DONE]'
    assert len(ask(CHUNKED, chunk(event(text) + event(text) + LAST) + WHOLE, tokens=2).times) == 2


# Failures


def test_a_refusal_says_its_status_its_reason_and_when_to_come_again() -> None:
    body = b'{"error": {"message": "the queue is full"}}'
    found = last(head("429 Too Many Requests", "Retry-After: 2.5", f"Content-Length: {len(body)}"), body)
    assert found.error == "HTTP 429: the queue is full"
    assert (found.status, found.retry_after, found.tokens) == (429, 2.5, 0)


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((CHUNKED, chunk(event("a")), After.CLOSE), "broke off"),
        ((CHUNKED, chunk(event("a")), After.RESET), "broke off|Reset"),
        ((CHUNKED, chunk(event("a") + DONE) + WHOLE), "broke off"),
        ((head("200 OK"), event("a"), After.CLOSE), "broke off"),
        ((After.CLOSE,), "cut before an answer"),
        ((CHUNKED, chunk(event("a") + b'data: {"error": {"message": "out of KV"}}\n\n')), "out of KV"),
        ((CHUNKED, chunk(b'error: {"code": 500}\n\n')), "code"),
        ((CHUNKED, chunk(b"data: nothing\n\n")), "no part of a completion"),
        ((CHUNKED, b"what\r\n"), "no size"),
        ((b"SSH-2.0\r\n\r\n",), "not HTTP"),
        ((head("503 Busy", "Connection: close"), b"later"), "HTTP 503: later"),
    ],
)
def test_what_went_wrong_is_told(steps: tuple[Step, ...], reason: str) -> None:
    with scripted(*steps) as server:
        found = load(server, [Asked((7,), 3)])
    assert len(found.failed) == 1
    assert re.search(reason, found.failed[0].error)


def test_a_server_that_falls_silent_is_given_up() -> None:
    found = ask(CHUNKED, chunk(event("a")), 60.0, silence=0.2)
    assert "nothing came for 0.2 s" in found.error


def test_a_server_that_is_gone_is_an_error_of_each_request() -> None:
    with scripted() as server:
        pass
    assert "refused" in load(server, [Asked((7,), 3)]).records[0].error.lower()


def test_what_is_under_way_can_be_taken_back() -> None:
    endless = [part for _ in range(500) for part in (chunk(event("a")), 0.01)]
    with scripted(CHUNKED, *endless) as server:
        found = load(server, [Asked((7,), 1000)], cut=True)
    assert [one.error for one in found.records] == [CUT]
    assert found.tokens > 2


# Connections

ANSWER = CHUNKED + chunk(event("a") + LAST + DONE) + WHOLE


def test_a_connection_that_is_kept_is_used_again() -> None:
    with scripted(ANSWER, After.KEEP) as server:
        assert len(load(server, [Asked((7,), 1)] * 5).whole) == 5
    assert server.connections == 1
    assert server.bodies == [{"max_tokens": 1, "stream": True}] * 5


def test_a_connection_that_the_server_closed_meanwhile_costs_no_request() -> None:
    with scripted(ANSWER, After.CLOSE) as server:
        assert len(load(server, [Asked((7,), 1)] * 5).whole) == 5
    assert server.connections == 5


def test_who_says_close_is_not_asked_twice_on_one_connection() -> None:
    closing = head("200 OK", "Transfer-Encoding: chunked", "Connection: close") + chunk(event("a") + LAST) + WHOLE
    with scripted(closing, After.KEEP) as server:
        assert len(load(server, [Asked((7,), 1)] * 3).whole) == 3
    assert server.connections == 3


def test_a_client_that_keeps_nothing_says_so_and_connects_anew() -> None:
    with (
        scripted(ANSWER, After.KEEP) as server,
        HttpTarget(server.port, lambda _: {}, name="it", keep=False) as target,
    ):
        found = closed(target, [Clients(iter([Asked((7,), 1)] * 3), 1)], seconds=30)
    assert len(found.whole) == 3
    assert server.connections == 3
    assert {one.get("connection") for one in server.heads} == {"close"}


def test_many_streams_are_read_by_one_thread() -> None:
    steps = [part for text in "abcd" for part in (chunk(event(text)), 0.02)]
    with (
        scripted(CHUNKED, *steps, chunk(LAST + DONE) + WHOLE) as server,
        HttpTarget(server.port, lambda _: {}, name="it") as target,
    ):
        found = closed(target, [Clients(iter([Asked((7,), 4)] * 50), 50)], seconds=30)
    assert len(found.whole) == 50
    assert {len(one.times) for one in found.records} == {4}
