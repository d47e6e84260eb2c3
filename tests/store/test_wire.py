"""Connections against servers that misbehave, each a few lines of socket."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from llstore.store.backends import wire
from llstore.store.backends.wire import PIECE, Answer, Declined, Wire, failure
from llstore.store.errors import InvalidUrl, KeyNotFound, NoSpace, Refused, Unreachable

BODY = bytes(range(256)) * 4000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Serve = Callable[["Peer"], None]


class Peer:
    """One connection, as the server sees it; `number` counts them from 1."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.connection, self.number = connection, number
        self.file = connection.makefile("rb")

    def request(self) -> bytes:
        """The head of the next request; nothing when the client has gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            if not line:
                return b""
            head += line
        return head

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)


class Server:
    """Calls `serve` for each connection, in a thread of its own; the connection ends when it returns."""

    def __init__(self, serve: Serve) -> None:
        self.serve, self.count = serve, 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/object"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A shutdown wakes the thread that waits in accept; closing alone would not.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._run, args=(Peer(connection, self.count),), daemon=True).start()

    def _run(self, peer: Peer) -> None:
        try:
            self.serve(peer)
        except OSError:
            pass
        finally:
            peer.file.close()
            peer.connection.close()


@contextmanager
def served(serve: Serve) -> Iterator[tuple[Wire, Server]]:
    with closing(Server(serve)) as server, Wire(server.url) as wire:
        yield wire, server


def saying(answer: bytes) -> Serve:
    def serve(peer: Peer) -> None:
        while peer.request():
            peer.say(answer)

    return serve


def closing_after(answer: bytes) -> Serve:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.say(answer)

    return serve


def head(status: str, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def read(wire: Wire, server: Server, **span: int) -> bytes:
    return b"".join(wire.read(server.url, **span))


def test_an_answer_is_whole_and_its_connection_used_again() -> None:
    with served(saying(OK)) as (wire, server):
        for _ in range(3):
            assert wire.ask("GET", server.url).body == b"hello"
            assert read(wire, server) == b"hello"
        assert server.count == 1


def test_a_status_is_no_error_to_ask_and_declines_a_read() -> None:
    answer = head("404 Not Found", Content_Length=4) + b"gone"
    with served(saying(answer)) as (wire, server):
        assert wire.ask("GET", server.url).status == 404
        with pytest.raises(Declined) as declined:
            read(wire, server)
        assert (declined.value.answer.status, declined.value.answer.body) == (404, b"gone")
        assert server.count == 1


@pytest.mark.parametrize("sent", [b"", b"he"])
def test_a_body_that_ends_early_is_unreachable(sent: bytes) -> None:
    with served(closing_after(head("200 OK", Content_Length=5) + sent)) as (wire, server):
        with pytest.raises(Unreachable):
            read(wire, server)
        with pytest.raises(Unreachable):
            wire.ask("GET", server.url)


def test_what_came_before_the_end_is_handed_out() -> None:
    answer = head("200 OK", Content_Length=2 * len(BODY)) + BODY
    with served(closing_after(answer)) as (wire, server):
        came: list[bytes] = []
        with pytest.raises(Unreachable):
            collect(wire.read(server.url), into=came)
        assert BODY.startswith(b"".join(came))
        assert len(b"".join(came)) > len(BODY) // 2


def collect(pieces: Iterator[bytes], *, into: list[bytes]) -> None:
    for piece in pieces:
        into.append(piece)


def test_a_range_without_a_length_is_held_to_what_it_says() -> None:
    answer = head("206 Partial Content", Content_Range="bytes 2-5/9", Connection="close") + b"23"
    with served(closing_after(answer)) as (wire, server), pytest.raises(Unreachable, match="after 2 of 4 bytes"):
        read(wire, server, start=2, length=4)


def test_a_range_is_read() -> None:
    def serve(peer: Peer) -> None:
        while request := peer.request():
            assert b"Range: bytes=2-4\r\n" in request
            peer.say(head("206 Partial Content", Content_Range="bytes 2-4/9", Content_Length=3) + b"234")

    with served(serve) as (wire, server):
        assert read(wire, server, start=2, length=3) == b"234"
        assert read(wire, server, start=2, length=3) == b"234"
        assert (wire.ranges, server.count) == (True, 1)


@pytest.mark.parametrize(
    ("said", "body"), [("bytes 2-4/9", b"234"), ("bytes 0-8/9", b"012345678"), ("bytes 1-9/*", BODY[1:10])]
)
def test_content_range_says_what_comes_whatever_the_status(said: str, body: bytes) -> None:
    for status in ("200 OK", "206 Partial Content"):
        answer = head(status, Content_Range=said, Content_Length=len(body)) + body
        with served(saying(answer)) as (wire, server):
            assert read(wire, server, start=2, length=3) == body[2 - int(said[6]) :][:3]
            assert wire.ranges


def test_a_range_may_end_with_the_object() -> None:
    answer = head("206 Partial Content", Content_Range="bytes 2-4/5", Content_Length=3) + b"234"
    with served(saying(answer)) as (wire, server):
        assert read(wire, server, start=2, length=90) == b"234"


@pytest.mark.parametrize(
    "said", ["bytes 0-1/9", "bytes 3-5/9", "bytes 22-24/99", "bytes 2-1/9", "bytes */9", "", "items 2-4/9"]
)
def test_another_range_is_unreachable(said: str) -> None:
    answer = head("206 Partial Content", Content_Range=said, Content_Length=3) + b"012"
    with served(saying(answer)) as (wire, server), pytest.raises(Unreachable, match="another range"):
        read(wire, server, start=2, length=3)


def test_a_range_that_is_ignored_is_cut_out_of_the_whole() -> None:
    answer = head("200 OK", Content_Length=len(BODY)) + BODY
    with served(saying(answer)) as (wire, server):
        assert read(wire, server) == BODY
        assert wire.ranges
        for start, length in ((0, 10), (300_001, 70_000), (len(BODY) - 3, 10)):
            assert read(wire, server, start=start, length=length) == BODY[start : start + length]
        assert b"".join(wire.read(server.url, start=5)) == BODY[5:]
        assert not wire.ranges


def test_a_range_after_the_end_is_empty() -> None:
    with served(saying(head("416 Range Not Satisfiable", Content_Length=0))) as (wire, server):
        assert read(wire, server, start=9) == b""


def test_a_chunked_body_is_read_and_its_connection_used_again() -> None:
    answer = head("200 OK", Transfer_Encoding="chunked") + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    with served(saying(answer)) as (wire, server):
        for _ in range(3):
            assert read(wire, server) == b"hello"
            assert wire.ask("GET", server.url).body == b"hello"
        assert server.count == 1


@pytest.mark.parametrize("cut", [b"3\r\nhel\r\n", b"3\r\nhe", b"3\r\nhel\r\nnonsense\r\n"])
def test_a_chunked_body_that_is_cut_is_unreachable(cut: bytes) -> None:
    with served(closing_after(head("200 OK", Transfer_Encoding="chunked") + cut)) as (wire, server):
        with pytest.raises(Unreachable):
            read(wire, server)
        with pytest.raises(Unreachable):
            wire.ask("GET", server.url)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_read_given_up_midway_drops_its_connection(chunked: bool) -> None:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    how = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": len(BODY)}
    with served(saying(head("200 OK", **how) + body)) as (wire, server):
        pieces = wire.read(server.url)
        next(pieces)
        pieces.close()
        assert read(wire, server) == BODY
        assert server.count == 2


def test_a_connection_whose_rest_has_not_come_yet_is_dropped_too() -> None:
    def serve(peer: Peer) -> None:
        while peer.request():
            peer.say(head("200 OK", Content_Length=len(BODY)) + (BODY[: 2 * PIECE] if peer.number == 1 else BODY))

    with served(serve) as (wire, server):
        pieces = wire.read(server.url)
        assert len(next(pieces)) + len(next(pieces)) == 2 * PIECE
        pieces.close()
        assert read(wire, server) == BODY
        assert server.count == 2


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00\xff\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 two OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n" * 200],
)
def test_garbage_is_unreachable(garbage: bytes) -> None:
    with served(closing_after(garbage)) as (wire, server):
        with pytest.raises(Unreachable):
            read(wire, server)
        with pytest.raises(Unreachable):
            wire.ask("PUT", server.url, body=b"x")


def test_an_answer_too_long_to_be_taken_whole_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LONGEST", 1000)
    answer = head("200 OK", Content_Length=1001) + bytes(1001)
    with served(saying(answer)) as (found, server), pytest.raises(Unreachable, match="more than 1000 bytes"):
        found.ask("GET", server.url)


def once_each(peer: Peer) -> None:
    # The next request is read, and the connection closed without an answer: what an idle time-out looks like
    # to a client whose request crossed it.
    peer.request()
    peer.say(OK)
    peer.request()


@pytest.mark.parametrize(
    "again",
    [
        lambda wire, url: b"".join(wire.read(url)),
        lambda wire, url: wire.ask("GET", url).body,
        lambda wire, url: wire.ask("PUT", url, body=b"x").body,
    ],
)
def test_a_connection_closed_while_idle_is_replaced(again: Callable[[Wire, str], bytes]) -> None:
    with served(once_each) as (wire, server):
        assert wire.ask("GET", server.url).body == b"hello"
        assert again(wire, server.url) == b"hello"
        assert server.count == 2


def test_all_idle_connections_may_be_closed_at_once() -> None:
    with served(once_each) as (wire, server):
        readers = [wire.read(server.url) for _ in range(4)]
        barrier = threading.Barrier(4)

        def run(reader: Iterator[bytes]) -> None:
            barrier.wait()
            list(reader)

        threads = [threading.Thread(target=run, args=(reader,)) for reader in readers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wire.ask("GET", server.url).body == b"hello"


def test_what_may_not_be_done_twice_is_not() -> None:
    asked = []

    def serve(peer: Peer) -> None:
        asked.append(peer.request())

    with served(serve) as (wire, server):
        for method, body in (("POST", b"x"), ("PUT", iter([b"x"]))):
            with pytest.raises(Unreachable):
                wire.ask(method, server.url, headers={"Content-Length": "1"}, body=body)
    assert len(asked) == 2


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALL_SECONDS", 0.2)
    done, ended = threading.Event(), []

    def serve(peer: Peer) -> None:
        peer.request()
        peer.say(head("200 OK", Content_Length=5) + b"he")
        ended.append(done.wait(60))

    with served(serve) as (found, server):
        with pytest.raises(Unreachable, match="timed out"):
            read(found, server)
        assert not ended, "the server is silent still"
        done.set()


def test_a_slow_reader_of_a_body_has_the_stall_time_not_the_connect_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT_SECONDS", 0.1)
    size = 16 << 20

    def serve(peer: Peer) -> None:
        peer.request()
        time.sleep(0.5)
        peer.file.read(size)
        peer.say(OK)

    with served(serve) as (found, server):
        assert found.ask("PUT", server.url, body=bytes(size)).status == 200


def test_a_body_may_take_longer_than_the_stall_time_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALL_SECONDS", 1.0)
    step, steps = 2 << 20, 16

    def serve(peer: Peer) -> None:
        peer.request()
        for _ in range(steps):
            time.sleep(0.1)
            peer.file.read(step)
        peer.say(OK)

    with served(serve) as (found, server):
        assert found.ask("PUT", server.url, body=bytes(step * steps)).status == 200


class _Broken(Exception):
    pass


@pytest.mark.parametrize(
    "error", [_Broken(), OSError("the file"), BrokenPipeError(), Unreachable("elsewhere"), KeyboardInterrupt()]
)
def test_what_the_source_of_a_body_raises_comes_out_and_cuts_the_connection(error: BaseException) -> None:
    left = []
    ended = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        left.append(peer.file.read(10))
        ended.set()

    def source() -> Iterator[bytes]:
        yield b"half"
        raise error

    with served(serve) as (wire, server):
        with pytest.raises(type(error)) as raised:
            wire.ask("PUT", server.url, headers={"Content-Length": "10"}, body=source())
        assert raised.value is error
        assert ended.wait(5)
    assert left == [b"half"]


def test_a_refusal_that_comes_before_the_body_was_taken_is_the_answer() -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.say(head("403 Forbidden", Content_Length=0, Connection="close"))
        peer.file.read(64 << 20)

    with served(serve) as (wire, server):
        assert wire.ask("PUT", server.url, body=bytes(8 << 20)).status == 403


def test_no_query_is_shown() -> None:
    with served(closing_after(b"")) as (wire, server):
        for verb in (lambda url: list(wire.read(url)), lambda url: wire.ask("GET", url)):
            with pytest.raises(Unreachable) as failed:
                verb(server.url + "?sig=secret")
            assert "secret" not in str(failed.value) + failed.value.hint
    with Wire("http://h") as wire, pytest.raises((InvalidUrl, Unreachable)) as failed:
        wire.ask("GET", "http://127.0.0.1:99999/x?sig=secret")
    assert "secret" not in str(failed.value) + failed.value.hint


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(404, {}), KeyNotFound),
        (Answer(410, {}), KeyNotFound),
        (Answer(401, {}), Refused),
        (Answer(403, {}), Refused),
        (Answer(405, {}), Refused),
        (Answer(429, {}), Unreachable),
        (Answer(500, {}), Unreachable),
        (Answer(503, {}), Unreachable),
        (Answer(507, {}), NoSpace),
        (Answer(500, {}, b'{"error":"No writable volumes and no free volumes left"}'), NoSpace),
        (Answer(500, {}, b'{"error":"write /data: no space left on device"}'), NoSpace),
    ],
)
def test_a_status_means_one_error(answer: Answer, error: type[Exception]) -> None:
    assert type(failure(answer, "http://h", key="k")) is error
