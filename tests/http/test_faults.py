"""Clients that vanish, and an engine whose process dies: whoever is left notices nothing but time."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from raw_client import RawClient, post
from serving import Server, await_ready, children, serving
from waiting import until

ASK = "/v1/completions"
SLOTS = 4
LONG = 800  # tokens: a second or so


@pytest.fixture(scope="module")
def exact(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four slots, in exact mode."""
    home = tmp_path_factory.mktemp("exact")
    (home / "config").mkdir()
    (home / "config" / "llstore.toml").write_text("[serve]\nstall_seconds = 1\n")
    flags = ("--parallel", str(SLOTS), "--ctx", "8192", "--threads", "1", "--exact")
    with serving(home, wide, *flags) as found:
        yield found


def body(number: int = 0, tokens: int = LONG, **more: Any) -> dict[str, Any]:
    return {"prompt": f"story {number}", "max_tokens": tokens, "seed": number, "temperature": 1, **more}


def told(server: Server, asked: dict[str, Any]) -> str:
    """The text of a stream that ends whole."""
    text, last = "", ""
    with server.client() as client, client.stream("POST", ASK, json={**asked, "stream": True}) as answer:
        for line in answer.iter_lines():
            last = line or last
            if line.startswith("data: {"):
                document = json.loads(line[6:])
                assert "error" not in document, document
                text += document["choices"][0]["text"]
    assert last == "data: [DONE]"
    return text


def running(server: Server, name: str = "num_requests_running") -> float:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"llstore:{name}")), -1.0)


def requests(server: Server, since: int) -> list[dict[str, Any]]:
    return server.events("request")[since:]


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_vanish_free_their_slots_at_once(exact: Server, stream: bool) -> None:
    before = len(exact.events("request"))
    clients = [RawClient(exact) for _ in range(SLOTS + 2)]
    for number, client in enumerate(clients):
        client.send(post(ASK, body(number, 8000, stream=stream)))
    until(lambda: running(exact) == SLOTS and running(exact, "num_requests_waiting") == 2)
    for client in clients:
        client.close()
    assert len(told(exact, body(tokens=5))) >= 1
    until(lambda: len(requests(exact, before)) == SLOTS + 3)
    ends = [line for line in requests(exact, before) if line.get("finish_reason") == "cancelled"]
    assert len(ends) == SLOTS + 2
    assert all(line["completion_tokens"] < 8000 for line in ends)
    assert running(exact) == 0


def test_one_that_waits_and_leaves_is_never_begun(exact: Server) -> None:
    before = len(exact.events("request"))
    with ThreadPoolExecutor(SLOTS) as pool:
        others = [pool.submit(told, exact, body(number, 500)) for number in range(SLOTS)]
        until(lambda: running(exact) == SLOTS)
        with RawClient(exact) as client:
            client.send(post(ASK, body(9, 8000)))
        [other.result() for other in others]
    until(lambda: len(requests(exact, before)) == SLOTS + 1)
    (left,) = [line for line in requests(exact, before) if line.get("finish_reason") != "length"]
    assert left["finish_reason"] == "cancelled"
    assert left["completion_tokens"] == 0


def test_who_reads_nothing_holds_up_nobody_and_is_cut_off(exact: Server) -> None:
    before = len(exact.events("refused"))
    asked = post(ASK, body(1, 3000, stream=True, logprobs=20, n=3))
    with RawClient(exact, receive_buffer=4096) as client:
        client.send(asked)
        assert told(exact, body(2, 300))
        until(lambda: len(exact.events("refused")) > before)
    assert exact.events("refused")[-1]["reason"] == "takes nothing"
    until(lambda: running(exact) == 0)


def test_a_connection_serves_many_requests(exact: Server) -> None:
    with exact.client() as client:
        ports = set()
        for _ in range(5):
            with client.stream("POST", ASK, json=body(tokens=3, stream=True)) as answer:
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
                answer.read()
    assert len(ports) == 1


@pytest.fixture(scope="module")
def undisturbed(exact: Server) -> list[str]:
    return [told(exact, body(each)) for each in range(SLOTS)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_streams_go_on_to_the_same_end_when_the_engine_dies(exact: Server, undisturbed: list[str], number: int) -> None:
    before = len(exact.events("engine_crashed"))
    with ThreadPoolExecutor(SLOTS) as pool:
        streams = [pool.submit(told, exact, body(each)) for each in range(SLOTS)]
        until(lambda: running(exact) == SLOTS)
        os.kill(exact.engine, number)
        assert [stream.result() for stream in streams] == undisturbed
    until(lambda: len(exact.events("engine_crashed")) == before + 1)
    with exact.client() as client:
        assert client.get("/health").status_code == 200


def test_a_stream_that_crashed_the_engine_twice_ends_with_an_error(exact: Server) -> None:
    with exact.client() as client, client.stream("POST", ASK, json=body(1, 8000, stream=True)) as answer:
        _convict(exact)
        last = [line for line in answer.iter_lines() if line][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "engine_failed")
    assert told(exact, body(tokens=5))


def test_a_whole_answer_that_crashed_the_engine_twice_is_an_error(exact: Server) -> None:
    with ThreadPoolExecutor(1) as pool, exact.client() as client:
        asked = pool.submit(client.post, ASK, json=body(1, 8000))
        _convict(exact)
        answer = asked.result()
    assert answer.status_code == 500
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == "engine_failed"
    assert told(exact, body(tokens=5))


def _convict(server: Server) -> None:
    """Kills the engine while it answers one request, again while it reads anew what it had made; or eight times."""
    until(lambda: running(server) == 1)
    time.sleep(0.5)
    failed = len(server.events("request")) + 1
    for _ in range(8):
        pid = server.engine
        os.kill(pid, signal.SIGKILL)
        until(lambda gone=pid: children(server.process.pid) not in ([], [gone]) or _over(server, failed))
        until(lambda: running(server) == 1 or _over(server, failed))
        if _over(server, failed):
            return


def _over(server: Server, requests: int) -> bool:
    return len(server.events("request")) >= requests


def test_an_engine_that_is_given_up_leaves_a_server_that_says_so(wide: Path, tmp_path: Path) -> None:
    with serving(tmp_path, wide, "--parallel", "2", "--ctx", "512", "--threads", "1") as server:
        while httpx.get(f"{server.url}/health").status_code == 200:
            for pid in children(server.process.pid):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        assert len(server.events("engine_crashed")) <= 20
        with server.client() as client:
            for stream in (False, True):
                answer = client.post(ASK, json=body(tokens=1, stream=stream))
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_crashed")
            ready = client.get("/ready")
            assert (ready.status_code, ready.json()) == (503, {"status": "failed"})
            assert client.get("/metrics").status_code == 200
            assert client.get("/v1/models").status_code == 200
        assert server.process.poll() is None
        assert server.stop() == 0


def test_a_server_that_is_killed_leaves_no_engine(wide: Path, tmp_path: Path) -> None:
    with serving(tmp_path, wide, "--ctx", "512", "--threads", "1") as server:
        await_ready(server)
        engine = server.engine
        server.stop(signal.SIGKILL)
        until(lambda: not Path(f"/proc/{engine}").exists() or _is_zombie(engine))


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
