"""How a server stops: what it has taken on is finished, what is new is sent away, its exit code says how it went."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Server, serving
from waiting import until

ASK = "/v1/completions"
SLOTS = 4


@contextmanager
def busy(home: Path, model: Path, tokens: int, *flags: str) -> Iterator[tuple[Server, list[Future[list[str]]]]]:
    """A server with streams in all slots, and two that wait."""
    slots = ("--parallel", str(SLOTS), "--ctx", "8192", "--threads", "1")
    with serving(home, model, *slots, *flags) as server, ThreadPoolExecutor(SLOTS + 2) as pool:
        streams = [pool.submit(events, server, tokens) for _ in range(SLOTS + 2)]
        until(lambda: waiting(server) == 2)
        yield server, streams


def events(server: Server, tokens: int) -> list[str]:
    """The data of a stream's events, or the document that came instead."""
    asked = {"prompt": "once", "max_tokens": tokens, "stream": True}
    with server.client() as client, client.stream("POST", ASK, json=asked) as answer:
        return [line.removeprefix("data: ") for line in answer.iter_lines() if line]


def waiting(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("llstore:num_requests_waiting{"))


def error_of(event: str) -> Any:
    return json.loads(event)["error"]["code"]


def test_what_was_taken_on_is_finished_and_what_is_new_is_sent_away(wide: Path, tmp_path: Path) -> None:
    with busy(tmp_path, wide, 1200, "--drain", "120") as (server, streams):
        kept = server.client()
        kept.get("/health")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.events("draining"))
        ready = httpx.get(f"{server.url}/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        for client in (kept, server.client()):
            answer = client.post(ASK, json={"prompt": "a", "max_tokens": 1})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
            assert int(answer.headers["retry-after"]) >= 1
            client.close()
        assert not all(stream.done() for stream in streams)
        assert all(stream.result()[-1] == "[DONE]" for stream in streams)
        assert all(len(stream.result()) > 300 for stream in streams)
        assert server.process.wait(120) == 0
        assert server.events("stopped")[-1]["cut_off"] == 0


def test_what_is_not_finished_in_time_is_told_so(wide: Path, tmp_path: Path) -> None:
    with busy(tmp_path, wide, 8000, "--drain", "0.5") as (server, streams):
        assert server.stop() == 1
        assert [error_of(stream.result()[-1]) for stream in streams] == ["draining"] * len(streams)
        assert server.events("stopped")[-1]["cut_off"] == len(streams)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hastens_the_end(wide: Path, tmp_path: Path, number: int) -> None:
    with busy(tmp_path, wide, 8000, "--drain", "600") as (server, streams):
        server.process.send_signal(number)
        until(lambda: server.events("draining"))
        assert not any(stream.done() for stream in streams)
        assert server.stop(number) == 1
        assert [error_of(stream.result()[-1]) for stream in streams] == ["draining"] * len(streams)


def test_settings_and_keys_are_read_again_and_streams_go_on(wide: Path, tmp_path: Path) -> None:
    config = tmp_path / "config" / "llstore.toml"
    config.parent.mkdir()
    with busy(tmp_path, wide, 1200) as (server, streams):
        for text, error in (("[serve]\nqueue = 1\n", False), ("[serve]\nqueue = 'many'\n", True)):
            config.write_text(text)
            before = len(server.events("reloaded"))
            server.process.send_signal(signal.SIGHUP)
            until(lambda seen=before: len(server.events("reloaded")) > seen)
            assert ("error" in server.events("reloaded")[-1]) is error
            with server.client() as client:
                answer = client.post(ASK, json={"prompt": "a"})
            # The rules that can be read hold, also after those that cannot.
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert not all(stream.done() for stream in streams)
        assert all(stream.result()[-1] == "[DONE]" for stream in streams)
