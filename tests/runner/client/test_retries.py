"""When a request is sent again, and when never."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import DONE, RESET, Script, Scripted, answer, completed, counted, event, scripted, streamed

from llstore.runner.client import ClientOptions
from llstore.runner.client.retry import LONGEST_PAUSE, pause, seconds_after
from llstore.runner.errors import (
    AnswerBroken,
    InvalidCall,
    Overloaded,
    RateLimited,
    Refusal,
    ServerRefused,
    ServerSilent,
    ServerUnreachable,
)

Made = Callable[..., Any]
NOON = "Sun, 06 Nov 1994 12:00:00 GMT"
NOON_SECONDS = 784123200.0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("wait", ["0", "7", "2.5", "60"])
def test_a_retry_after_is_kept_to_exactly(
    made: Made, server: Scripted, waits: list[float], status: int, wait: str
) -> None:
    server.says(answer({}, status=status, retry_after=wait), answer(completed()))
    assert made().infer("x").text == "ok"
    assert waits == [float(wait)]
    assert server.asked[0].body == server.asked[1].body


def test_a_date_to_retry_after_is_taken_by_the_servers_clock(made: Made, server: Scripted, waits: list[float]) -> None:
    until = "Sun, 06 Nov 1994 12:00:30 GMT"
    server.says(answer({}, status=429, retry_after=until, date=NOON), answer(completed()))
    made().infer("x")
    assert waits == [30.0]


def test_a_wait_that_is_too_long_is_said_at_once(made: Made, server: Scripted, waits: list[float]) -> None:
    server.says(answer({"error": {"message": "budget used up"}}, status=429, retry_after="120"))
    with pytest.raises(RateLimited, match="budget used up") as raised:
        made(most_wait=119).infer("x")
    assert raised.value.retry_after == 120
    assert "120 s" in raised.value.hint
    assert (waits, len(server.asked)) == ([], 1)


def test_without_a_retry_after_pauses_grow_and_end(made: Made, server: Scripted, waits: list[float]) -> None:
    server.says(*[answer({}, status=503)] * 4, answer(completed()))
    with pytest.raises(Overloaded):
        made().infer("x")
    assert len(server.asked) == 4
    assert all(least / 2 <= wait <= least for least, wait in zip([0.5, 1, 2], waits, strict=True))


@pytest.mark.parametrize("script", [Script((RESET,)), Script((), last=True)], ids=["reset", "closed"])
def test_a_connection_that_ends_before_an_answer_is_made_again(
    made: Made, server: Scripted, waits: list[float], script: Script
) -> None:
    server.says(script, answer(completed()))
    assert made().infer("x").text == "ok"
    assert len(waits) == 1
    server.says(script)
    with pytest.raises(ServerUnreachable, match="closed the connection"):
        made(retries=0).infer("x")


def test_where_nobody_listens_it_is_tried_as_often_as_asked(made: Made, waits: list[float]) -> None:
    client = made(url="http://127.0.0.1:1", retries=2)
    with pytest.raises(ServerUnreachable, match="no server answers at"):
        client.infer("x")
    assert len(waits) == 2


def test_a_host_that_can_be_none_is_no_host(made: Made) -> None:
    with pytest.raises((InvalidCall, ServerUnreachable)):
        made(url=f"http://{'a' * 70}.invalid", retries=0).infer("x")


def test_a_stream_is_asked_for_again_while_nothing_of_it_came(made: Made, server: Scripted, waits: list[float]) -> None:
    whole = streamed(event("a", reason="stop"), counted(), DONE)
    server.says(answer({}, status=429, retry_after="3"), Script((RESET,)), whole)
    stream = made().stream("x")
    assert list(stream) == ["a"]
    assert waits[0] == 3
    assert len(server.asked) == 3


@pytest.mark.parametrize("begun", [(), (event("a"),)], ids=["head", "piece"])
def test_a_stream_is_never_asked_for_again_once_it_has_begun(
    made: Made, server: Scripted, waits: list[float], begun: tuple[Any]
) -> None:
    server.says(streamed(*begun, RESET, last=True), streamed(event("a", reason="stop"), counted(), DONE))
    with pytest.raises(AnswerBroken):
        list(made().stream("x"))
    assert (waits, len(server.asked)) == ([], 1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs for itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *subject, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made


def test_a_certificate_is_checked_against_the_file_that_is_given(
    made: Made, waits: list[float], certificate: tuple[Path, Path]
) -> None:
    with scripted(answer(completed()), certificate=certificate) as server:
        url = f"https://127.0.0.1:{server.port}"
        with pytest.raises(ServerUnreachable, match="not trusted"):
            made(url=url).infer("x")
        assert waits == []
        assert made(url=url, ca=certificate[0]).infer("x").text == "ok"


# The decision alone


@given(st.integers(1, 1000), st.floats(0, 1))
def test_no_pause_is_longer_than_the_longest(attempt: int, chance: float) -> None:
    seconds = pause(ServerUnreachable("gone"), ClientOptions(retries=100), attempt=attempt, chance=chance)
    assert (seconds is None) == (attempt > 100)
    assert seconds is None or 0.25 <= seconds <= LONGEST_PAUSE


@pytest.mark.parametrize(
    "error",
    [
        AnswerBroken("garbage"),
        InvalidCall("nonsense"),
        ServerRefused(Refusal(400, "no", retry_after=1)),
        ServerSilent("silent", repeatable=False),
        ServerUnreachable("not trusted", repeatable=False),
    ],
)
def test_what_another_attempt_cannot_mend_is_not_repeated(error: Any) -> None:
    assert pause(error, ClientOptions(), attempt=1, chance=0) is None


def test_chance_spreads_the_pauses() -> None:
    pauses = [pause(ServerUnreachable("gone"), ClientOptions(), attempt=2, chance=chance) for chance in (0, 0.5, 1)]
    assert pauses == [0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("said", "date", "seconds"),
    [
        ("5", "", 5),
        ("0", "", 0),
        ("1.5", "", 1.5),
        ("", "", None),
        ("-5", "", None),
        ("nan", "", None),
        ("soon", "", None),
        ("٣", "", None),
        ("1e3", "", None),
        ("Sun, 06 Nov 1994 12:01:00 GMT", "", 60),
        ("Sun, 06 Nov 1994 12:01:00 GMT", "Sun, 06 Nov 1994 12:00:50 GMT", 10),
        ("Sun, 06 Nov 1994 12:01:00 GMT", "yesterday", 60),
        ("Sun, 06 Nov 1994 11:00:00 GMT", "", 0),
        ("Sun, 06 Nov 1994 12:01:00 -0000", "", 60),
        ("Sun, 99 Nov 1994 12:01:00 GMT", "", None),
    ],
)
def test_a_retry_after_is_read_as_http_has_it(said: str, date: str, seconds: float | None) -> None:
    assert seconds_after(said, date=date, now=NOON_SECONDS) == seconds


@given(st.text())
def test_any_retry_after_is_seconds_or_nothing(said: str) -> None:
    seconds = seconds_after(said, date=said, now=NOON_SECONDS)
    assert seconds is None or seconds >= 0
