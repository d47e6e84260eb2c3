"""Between an engine and its process: what is said arrives as it was said, and nothing else comes out."""

import json
import socket
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner import (
    EngineSettings,
    InvalidSampling,
    LoadFailed,
    PromptEmpty,
    PromptTooLong,
    RunnerError,
    Sampling,
)
from llstore.runner.engine.black_box import MOST, BlackBox
from llstore.runner.engine.channel import MAX_UNSENT, Channel
from llstore.runner.engine.codec import plain, restored
from llstore.runner.engine.crash_report import CrashReport, ending
from llstore.runner.engine.limits import Limits
from llstore.runner.engine.protocol import (
    MAX_FRAME,
    Ask,
    Cancel,
    Counts,
    Failed,
    Frames,
    Message,
    Ready,
    Refused,
    Start,
    Stop,
    Submit,
    Updates,
    decode,
    encode,
)
from llstore.runner.engine.request import End, Logprob, Request, TokenLogprobs, Update
from llstore.runner.errors import InvalidMessage, QueueFull

ids = st.integers(0, 2**63 - 1)
tokens = st.lists(st.integers(0, 2**31 - 1), max_size=8).map(tuple)
# Every character that Python's strings can hold, halves of surrogate pairs too.
texts = st.text(st.characters(), max_size=20)
numbers = st.floats(allow_nan=False)
samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 100),
    seed=st.none() | st.integers(0, 2**32 - 2),
    max_tokens=st.integers(1, 2**31 - 1),
    stop=st.lists(st.text(st.characters(), min_size=1), max_size=3).map(tuple),
)
requests = st.builds(
    Request, tokens, samplings, share=texts, weight=numbers, priority=ids, domain=texts, public=ids,
    seconds=st.none() | numbers, generated=tokens, alone=st.booleans(),
)  # fmt: skip
logprobs = st.builds(Logprob, token=ids, logprob=st.floats(allow_nan=False, max_value=0))
token_logprobs = st.builds(TokenLogprobs, chosen=logprobs, top=st.lists(logprobs, max_size=3).map(tuple))
reasons = st.sampled_from(["stop", "length", "cancelled", "timeout", "error"])
ends = st.builds(End, reasons, ids, ids, ids, texts, numbers, numbers, numbers)
updates = st.builds(Update, ids, tokens, texts, st.lists(token_logprobs, max_size=2).map(tuple), end=st.none() | ends)
starts = st.builds(
    Start, tokens, st.builds(EngineSettings, context_size=st.integers(1, 2**20)), st.builds(Limits, queue=ids),
    loading=st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none(), max_size=3),
    cores=st.none() | texts, lifeline=ids, box=ids,
)  # fmt: skip
messages = st.one_of(
    starts,
    st.builds(Submit, ids, requests),
    st.builds(Cancel, ids),
    st.just(Ask()),
    st.just(Stop()),
    st.builds(Ready, numbers, ids, ids, ids),
    st.builds(Updates, st.lists(updates, max_size=5).map(tuple)),
    st.builds(Counts, st.dictionaries(texts, numbers, max_size=3)),
)
ERRORS = [
    QueueFull(7, 2.5),
    PromptTooLong(900, 512),
    PromptEmpty("the prompt is empty"),
    InvalidSampling("top_p is 2; it must be a number from 0 to 1"),
    LoadFailed("model: not a GGUF file", hint="llstore fsck"),
    RunnerError("something else", hint="ünïcode"),
]


@given(messages)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    (payload,) = Frames().feed(encode(message))
    assert decode(payload) == message


@given(st.lists(messages, max_size=4), st.lists(st.integers(1, 50), min_size=1))
def test_messages_arrive_whole_and_in_order_however_the_bytes_are_cut(sent: list[Message], cuts: list[int]) -> None:
    data, frames, received = b"".join(map(encode, sent)), Frames(), []
    while data:
        cut = cuts[len(data) % len(cuts)]
        received += map(decode, frames.feed(data[:cut]))
        data = data[cut:]
    assert received == sent


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("wrap", [lambda error: Refused(3, error), Failed], ids=["refused", "failed"])
def test_an_error_is_the_same_error_on_the_other_side(error: RunnerError, wrap: type) -> None:
    (payload,) = Frames().feed(encode(wrap(error)))
    received = decode(payload).error
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert vars(received) == vars(error)


def test_an_error_of_a_class_that_is_not_known_is_an_error_of_ours() -> None:
    class Odd(RunnerError):
        """Not among the errors of the room."""

    (payload,) = Frames().feed(encode(Failed(Odd("what?"))))
    assert type(decode(payload).error) is RunnerError
    assert type(decode(b'["Failed",["SystemExit","gone",{}]]').error) is RunnerError


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KINDS = ["Start", "Submit", "Cancel", "Ready", "Updates", "Refused", "Failed", "Counts", "Other"]


@given(st.sampled_from(KINDS), json_values)
def test_a_message_of_the_wrong_shape_is_refused_or_is_right(kind: str, body: object) -> None:
    try:
        message = decode(json.dumps([kind, body]).encode())
    except RunnerError:
        return
    (payload,) = Frames().feed(encode(message))
    assert decode(payload) == message or kind in ("Refused", "Failed")


@pytest.mark.parametrize(
    "body",
    [
        [[1, ["a"], ""]],
        [[1, [True], ""]],
        [["1", [], ""]],
        [[1, [], 5]],
        [[1, [], "", ["gone", 1, 1, 1, "", 0.0, 0.0, 0.0], []]],
        [[1, [], "", ["stop", 1.5, 1, 1, "", 0.0, 0.0, 0.0], []]],
        [[1, [], "", ["stop", 1, 1, 1, "", 0.0, "0", 0.0], []]],
        [[1, [], "", ["stop", 1, 1, 1, "", 0.0, 0.0], []]],
        [[1, [], "", None, [[[1]]]]],
        [[1, []]],
    ],
)
def test_an_update_of_wrong_types_is_refused(body: list[object]) -> None:
    with pytest.raises(InvalidMessage):
        decode(json.dumps(["Updates", body]).encode())


def test_a_frame_that_says_it_is_huge_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidMessage, match="there are none of more than"):
        list(Frames().feed(struct.pack("!I", MAX_FRAME + 1)))


def test_a_message_that_would_be_huge_is_not_sent() -> None:
    with pytest.raises(InvalidMessage, match="an engine takes"):
        encode(Updates((Update(1, text="x" * (MAX_FRAME + 1)),)))


@dataclass(frozen=True)
class Odd:
    """What no message has."""

    pairs: dict[int, float]
    row: tuple[int, str]
    many: frozenset[str]
    choice: tuple[str, ...] | dict[str, int] | None


def test_values_of_every_kind_of_type_survive() -> None:
    for choice in (("a", "b"), {"a": 1}, None):
        odd = Odd({1: 0.5}, (1, "x"), frozenset("ab"), choice)
        assert restored(Odd, json.loads(json.dumps(plain(odd)))) == odd


@pytest.mark.parametrize("value", [b"bytes", object(), {"a": {1: b""}}])
def test_what_json_has_no_word_for_is_not_sent(value: object) -> None:
    with pytest.raises(InvalidMessage):
        plain(value)


def test_a_setting_out_of_range_is_named_also_on_the_other_side() -> None:
    body = plain(Submit(1, Request((1,), Sampling())))
    body["request"]["sampling"]["top_p"] = 7
    with pytest.raises(InvalidSampling, match="top_p is 7"):
        decode(json.dumps(["Submit", body]).encode())


def channels() -> tuple[Channel, Channel]:
    left, right = socket.socketpair()
    return Channel(left), Channel(right)


def received(channel: Channel, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        channel.wait(5)
        found += channel.receive() or ()
    return found


def test_a_reader_that_does_not_read_does_not_stop_the_sender() -> None:
    ours, theirs = channels()
    with ours, theirs:
        sent = [Updates((Update(number, text="x" * 100_000),)) for number in range(50)]
        for message in sent:
            ours.send(message)
        assert 0 < ours.unsent < MAX_UNSENT
        found: list[Message] = []
        while len(found) < len(sent):
            ours.flush()
            found += theirs.receive() or ()
        assert found == sent
        assert ours.unsent == 0


def test_what_was_said_before_the_end_is_still_heard() -> None:
    ours, theirs = channels()
    with theirs:
        ours.send(Cancel(1))
        ours.close()
        assert received(theirs, 1) == [Cancel(1)]
        assert theirs.receive() is None


def test_to_send_to_one_who_is_gone_does_nothing() -> None:
    ours, theirs = channels()
    with ours:
        theirs.close()
        for _ in range(3):
            ours.send(Cancel(1))
        ours.drain()
        assert ours.unsent == 0


def test_the_black_box_shows_the_same_to_both() -> None:
    with BlackBox() as ours, BlackBox(ours.fd) as theirs:
        assert (ours.suspects, ours.seconds) == ((), 0.0)
        theirs.note([3, 2**40, 5])
        assert ours.suspects == (3, 2**40, 5)
        assert ours.seconds > 0
        theirs.note(())
        assert ours.suspects == ()
        assert ours.seconds > 0
        theirs.note(range(1000))
        assert ours.suspects == tuple(range(MOST))
        theirs.clear()
        assert (ours.suspects, ours.seconds) == ((), 0.0)
        theirs.fd = -1  # it is one descriptor in this test


def test_a_crash_is_told_by_the_line_that_says_most() -> None:
    dump = ("loading", "ggml.c:3: GGML_ASSERT(x) failed", "Fatal Python error: Aborted", "", "Thread 0x1:", "  File")
    assert CrashReport("SIGABRT", (1,), dump).summary == "SIGABRT: ggml.c:3: GGML_ASSERT(x) failed"
    assert CrashReport("SIGSEGV", None, dump[2:]).summary == "SIGSEGV: Fatal Python error: Aborted"
    assert CrashReport("SIGKILL", ()).summary == "SIGKILL"
    assert [ending(code) for code in (-6, -9, 3, -4242)] == ["SIGABRT", "SIGKILL", "exit code 3", "signal 4242"]
