"""Many small objects at once: each whole, or left to be read by itself; never another's bytes, never an error."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from seaweed import SeaweedFS

from llstore.store.backends import open_backend
from llstore.store.backends.pipeline import LARGEST, Asked, fetch, usable

BODIES = [f"body {number}".encode() * (number + 1) for number in range(70)]


def answer(body: bytes, *, status: str = "200 OK", length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{more}\r\n".encode() + body


@pytest.fixture
def served() -> Iterator[object]:
    """Serves what it is told, whatever is asked, and then hangs up; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = []

        def serve(data: bytes) -> str:
            def run() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

            threads.append(threading.Thread(target=run, daemon=True))
            threads[-1].start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/x"

        yield serve
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("kind", ["s3", "filer"])
def test_a_bucket_gives_many_objects_in_order_and_leaves_out_what_is_gone_or_large(
    kind: str, seaweed: SeaweedFS, bucket: str
) -> None:
    name = urlsplit(bucket).netloc
    with closing(open_backend(bucket if kind == "s3" else seaweed.filer_url(name))) as backend:
        for number, body in enumerate(BODIES):
            backend.write(f"f/{number:03}", [body], size=len(body))
        large = os.urandom(LARGEST + 1)
        backend.write("f/999", [large], size=len(large))
        stats = list(backend.list("f/"))
        backend.delete("f/010")
        found = backend.read_together(stats)  # type: ignore[attr-defined]
    assert found[:10] == BODIES[:10]
    assert (found[10], found[-1]) == (None, None)
    assert found[11:-1] == BODIES[11:]


@pytest.mark.parametrize(
    ("second", "after"),
    [
        (answer(b"no", status="404 Not Found"), True),
        (answer(b"other length"), True),
        (answer(b"abc", status="500 Oops"), True),
        (answer(b"ab", length=30), False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", False),
        (b"junk\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", False),
        (b"A: b\r\n" * 500, False),
        (b"", False),
    ],
)
def test_what_does_not_come_as_it_should_is_left_out(served: object, second: bytes, after: bool) -> None:
    third = answer(b"ghi") if after or second else b""
    url = served(answer(b"abc") + second + third)  # type: ignore[operator]
    found = fetch([Asked(url, 3)] * 3)
    assert found[:2] == [b"abc", None]
    assert found[2] == (b"ghi" if after else None)


def test_a_server_that_is_not_there_gives_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert fetch([Asked(f"http://127.0.0.1:{port}/x", 3)] * 3) == [None] * 3


def test_only_plain_http_without_a_proxy_is_asked_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable("http://127.0.0.1:8333")
    assert not usable("https://127.0.0.1:8333")
    assert not usable("")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost")
    assert not usable("http://models.example.com")
    assert usable("http://localhost:8333")
