"""What clients send who mean no good, or do not know better: it is refused, it is logged, and nobody else notices."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from raw_client import HEAD, RawClient, neighbour, post, resident
from serving import Server, serving
from waiting import until

MIB = 1024 * 1024
RULES = """[serve]
max_body = "2MiB"
max_head = "16KiB"
head_seconds = 1
body_seconds = 1
stall_seconds = 1
idle_seconds = 2
"""
ASK = "/v1/completions"
LONG = {"prompt": "once", "max_tokens": 4000}
ENDLESS = 1 << 40  # bytes that nobody sends within an hour
MOST_PIECES = 1 << 19  # of 64 KiB: whoever takes so many of them takes all


@pytest.fixture(scope="module")
def strict(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with small limits."""
    home = tmp_path_factory.mktemp("strict")
    (home / "config").mkdir()
    (home / "config" / "llstore.toml").write_text(RULES)
    with serving(home, wide, "--parallel", "4", "--ctx", "8192", "--threads", "1") as found:
        yield found


@pytest.fixture(autouse=True)
def unmoved(strict: Server) -> Iterator[None]:
    """All the while, another's stream goes on, memory stays, and the log has nothing but lines of its own."""
    before = resident(strict.process.pid)
    with neighbour(strict, LONG) as other:
        yield
        assert strict.process.poll() is None
        before_end = other.events
        until(lambda: other.events > before_end)
    assert not other.broken
    assert resident(strict.process.pid) - before < 48 * MIB
    assert all(line.startswith("{") for line in strict.log.read_text().splitlines())


@pytest.fixture
def refusals(strict: Server) -> Callable[[], list[str]]:
    """The reasons that the log gives since; the log is written in a thread, so it is to be waited for."""
    before = len(strict.events())

    def since() -> list[str]:
        lines = [line for line in strict.events()[before:] if line["event"] in ("refused", "request")]
        return [line.get("reason") or str(line.get("error")) for line in lines if line["status"] != 200]

    return since


def test_a_body_too_large_is_refused_before_it_was_sent(strict: Server, refusals: Callable[[], list[str]]) -> None:
    with RawClient(strict) as client:
        client.send(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (ASK.encode(), HEAD, 1 << 40))
        answer = client.answer()
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    until(lambda: refusals() == [f"the body has more than {2 * MIB} bytes"])


@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_a_body_too_large_to_its_end_reads_the_answer(strict: Server, chunked: bool) -> None:
    piece = b"x" * 65536
    with RawClient(strict) as client:
        if chunked:
            client.send(b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (ASK.encode(), HEAD))
            for _ in range(256):
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            client.send(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (ASK.encode(), HEAD, 256 * len(piece)))
            for _ in range(256):
                client.send(piece)
        answer = client.answer()
        assert answer.status == 413
        assert client.ends() == b""


def test_who_never_stops_sending_is_cut_off(strict: Server) -> None:
    with RawClient(strict) as client:
        client.send(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (ASK.encode(), HEAD, ENDLESS))
        assert client.pour(repeat(b"x" * 65536, MOST_PIECES)) < MOST_PIECES * 65536


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MIB,
        b'{"prompt":' * 100_000,
        b'{"prompt":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"prompt":[' + b"1," * (MIB // 2) + b"1]}",
        b'{"prompt":[' + b"[]," * (MIB // 2) + b"1]}",
        b'{"prompt":[' + b'{"a":1},' * 100_000 + b"1]}",
        b'{"prompt":[' + b"1.5," * 100_000 + b"1]}",
        b'{"messages":[' + b'{"role":"user","content":0},' * 40_000 + b"1]}",
        b'{"metadata":{' + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}}",
        b'{"' + b'":1,"'.join(b"a%d" % n for n in range(100_000)) + b'":1}',
        b'{"prompt":"a","max_tokens":' + b"9" * MIB + b"}",
        b'{"prompt":"a","temperature":NaN}',
        b'{"prompt":"\xff\xfe"}',
        '{"prompt":"a"}'.encode("utf-16"),
        b'"' + b"\\" * MIB + b'"',
        b"",
        b"null",
        b"{" * 10,
    ],
    ids=range(18),
)
def test_json_that_makes_trouble_is_a_request_that_makes_no_sense(strict: Server, body: bytes) -> None:
    for path in (ASK, "/v1/chat/completions", "/tokenize"):
        with RawClient(strict) as client:
            client.send(post(path, body))
            answer = client.answer()
        assert answer.status == 400, answer.body[:300]
        assert len(answer.body) < 4096
        assert answer.error["type"] == "invalid_request_error"


def test_a_head_of_many_headers_is_too_large(strict: Server, refusals: Callable[[], list[str]]) -> None:
    with RawClient(strict) as client:
        client.send(b"GET /health HTTP/1.1\r\n" + HEAD + b"X-A: b\r\n" * 4000 + b"\r\n")
        assert client.answer("GET").status == 431
    until(lambda: refusals() == ["head too large"])


@pytest.mark.parametrize("start", [b"GET /health HTTP/1.1\r\nX-A: ", b"GET /", b"G", b"GET / HTTP/1.1\r\nX-"])
def test_a_head_that_never_ends_is_too_large(strict: Server, refusals: Callable[[], list[str]], start: bytes) -> None:
    with RawClient(strict) as client:
        client.send(start)
        client.pour(repeat(b"x" * 65536, 64))
        assert client.ends().startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    until(lambda: refusals() in (["head too large"], ["not HTTP"]))


def test_trailers_without_end_take_no_memory(strict: Server) -> None:
    before = resident(strict.process.pid)
    with RawClient(strict) as client:
        client.send(b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n0\r\n" % (ASK.encode(), HEAD))
        client.pour(repeat(b"X-A: b\r\n" * 8192, 4096))
    assert resident(strict.process.pid) - before < 32 * MIB


def test_a_body_that_nobody_reads_ends_the_connection(strict: Server) -> None:
    chunks = b"1\r\nx\r\n" * 8192
    with RawClient(strict) as client:
        client.send(b"GET /health HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert client.pour(repeat(chunks, MOST_PIECES)) < MOST_PIECES * len(chunks)


def test_a_head_that_trickles_is_too_late(strict: Server, refusals: Callable[[], list[str]]) -> None:
    with RawClient(strict) as client:
        client.pour(_slowly(b"GET /health HTTP/1.1"))
        assert b" 408 " in client.ends()
    until(lambda: refusals() == ["head too late"])


def test_who_says_nothing_at_all_is_too_late(strict: Server, refusals: Callable[[], list[str]]) -> None:
    with RawClient(strict) as client:
        assert client.answer().status == 408
    until(lambda: refusals() == ["head too late"])


def test_a_body_that_trickles_is_too_late(strict: Server, refusals: Callable[[], list[str]]) -> None:
    with RawClient(strict) as client:
        client.send(b"POST %b HTTP/1.1\r\n%bContent-Length: 100\r\n\r\n" % (ASK.encode(), HEAD))
        client.pour(_slowly(b" " * 25))
        assert client.answer().status == 408
    until(lambda: refusals() == ["the body was not there within 1 s"])


def _slowly(data: bytes) -> Iterator[bytes]:
    for byte in data:
        time.sleep(0.1)
        yield bytes([byte])


@pytest.mark.parametrize(
    "head",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n folded: yes\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Content-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Content-Length: 2, 3\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding\r\n : chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=range(20),
)
def test_what_is_no_http_or_may_be_read_in_two_ways_is_refused(
    strict: Server, refusals: Callable[[], list[str]], head: bytes
) -> None:
    with RawClient(strict) as client:
        client.send(head)
        found = client.ends()
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.count(b"HTTP/1.1") == 1
    until(lambda: "not HTTP" in refusals())


def test_what_is_asked_before_the_last_answer_is_not_looked_at(
    strict: Server, refusals: Callable[[], list[str]]
) -> None:
    with RawClient(strict) as client:
        client.send(
            post(ASK, {"prompt": "a", "max_tokens": 5}) + b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 9
        )
        assert client.answer().status == 200
        assert client.ends() == b""
    until(lambda: refusals() == ["pipelined"])


def test_noise_behind_a_request_does_not_get_into_its_answer(strict: Server) -> None:
    with RawClient(strict) as client:
        client.send(post(ASK, {"prompt": "a", "max_tokens": 500, "stream": True}) + b"noise\r\n\r\n")
        answer = client.answer()
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b"HTTP/1.1" not in answer.body


def test_requests_on_one_connection_are_answered_one_after_the_other(strict: Server) -> None:
    with RawClient(strict) as client:
        for _ in range(20):
            client.send(post(ASK, {"prompt": "a", "max_tokens": 1}))
            assert client.answer().status == 200
            client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.answer("GET").status == 200


def test_an_idle_connection_is_closed_in_time(strict: Server) -> None:
    with RawClient(strict) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.answer("GET").status == 200
        assert client.ends() == b""


def test_http_1_0_is_answered_and_closed(strict: Server) -> None:
    with RawClient(strict) as client:
        client.send(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert client.answer("GET").headers["connection"] == "close"
        assert client.ends() == b""


def test_the_host_counts_and_not_the_url(strict: Server) -> None:
    with RawClient(strict) as client:
        client.send(b"GET http://elsewhere.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.answer("GET").status == 200
        client.send(b"GET http://localhost/health HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
        assert client.answer("GET").error["code"] == "wrong_host"


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_an_upgrade_is_passed_over_and_the_request_answered(strict: Server, protocol: bytes) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMA\r\n" % protocol
    with RawClient(strict) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
        assert client.answer("GET").status == 200
    with RawClient(strict) as client:
        client.send(post(ASK, {"prompt": "a", "max_tokens": 1}, headers=upgrade))
        assert client.answer().status == 200


def test_who_closes_one_side_has_left(strict: Server) -> None:
    with RawClient(strict) as client:
        client.send(post(ASK, {**LONG, "stream": True}))
        assert client.socket.recv(10)
        client.socket.shutdown(1)
        client.ends()
    until(lambda: any(0 < each["completion_tokens"] < 4000 for each in cancelled(strict)))


def test_a_client_that_expects_to_be_told_so_is_asked_for_its_body(strict: Server) -> None:
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    head = b"POST %b HTTP/1.1\r\n%bExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with RawClient(strict) as client:
        client.send(head % (ASK.encode(), HEAD, len(body)))
        assert client.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        client.send(body)
        assert client.answer().status == 200
    with RawClient(strict) as client:
        client.send(head % (ASK.encode(), HEAD, 1 << 30))
        assert client.answer().status == 413


def test_more_connections_than_there_may_be_are_sent_away(strict: Server) -> None:
    config = strict.home / "config" / "llstore.toml"
    config.write_text(RULES + "connections = 8\n")
    try:
        _reread(strict)
        clients = [RawClient(strict) for _ in range(30)]
        answers = [client.ends() for client in clients]
        for client in clients:
            client.close()
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert 20 <= len(refused) < 30
        assert all(b"retry-after: 1\r\n" in answer for answer in refused)
    finally:
        config.write_text(RULES)
        _reread(strict)


def cancelled(server: Server) -> list[dict[str, Any]]:
    return [line for line in server.events("request") if line.get("finish_reason") == "cancelled"]


def _reread(server: Server) -> None:
    before = len(server.events("reloaded"))
    server.process.send_signal(1)
    until(lambda: len(server.events("reloaded")) > before)
