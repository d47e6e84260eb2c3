"""What a server and commands promise in seconds, and what it takes here. The tests of tests/http count steps instead.

Usage: python benchmarks/served_promises.py [KIND…], as promises.py.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise, repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
import stand_in_engine as stand_in
import tiny as tiny_model
from promises import Promise, report, seconds
from raw_client import HEAD, RawClient, neighbour, post
from serving import Server, llstore, serving
from waiting import until

from llstore.runner import EngineSettings, Sampling
from llstore.runner.engine.request import Request, Update
from llstore.runner.engine.restarts import Keeping
from llstore.runner.engine.supervisor import EngineProcess

ASK = "/v1/completions"
LONG = {"prompt": "once", "max_tokens": 8000, "stream": True}
FLAGS = ("--parallel", "4", "--ctx", "8192", "--threads", "1")
RULES = """[serve]
max_body = "2MiB"
head_seconds = 1
body_seconds = 1
stall_seconds = 1
idle_seconds = 2
"""
MIB = 1 << 20


def hostile(folder: Path) -> Iterator[Promise]:
    """Clients that mean no good, beside another's stream."""
    model = tiny_model.write_tiny(folder / "wide.gguf", context=8192)
    (folder / "config").mkdir()
    (folder / "config" / "llstore.toml").write_text(RULES)
    with serving(folder, model, *FLAGS) as server, neighbour(server, {"prompt": "a", "max_tokens": 4000}) as other:
        for body in (b"[" * MIB, b'{"prompt":' * 100_000, b'{"prompt":[' + b"1.5," * 100_000 + b"1]}"):
            with RawClient(server) as client:
                client.send(post(ASK, body))
                client.answer()
        yield Promise("who never stops sending is cut off, of 1 s", seconds(lambda: _pour(server)), 10)
        yield Promise("a head that trickles is cut off, of 1 s", seconds(lambda: _trickle(server)), 8)
        yield Promise("an idle connection is closed, of 2 s", seconds(lambda: _idle(server)), 6, 1)
        yield Promise("the longest gap of another's stream meanwhile", other.longest, 1)
        clients = [RawClient(server) for _ in range(6)]
        for client in clients:
            client.send(post(ASK, LONG))
        time.sleep(0.5)
        for client in clients:
            client.close()
        with server.client() as http:
            freed = seconds(lambda: http.post(ASK, json={"prompt": "a", "max_tokens": 5}))
        yield Promise("clients that vanish free their slots", freed, 3)


def _pour(server: Server) -> None:
    with RawClient(server) as client:
        client.send(b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (ASK.encode(), HEAD, 1 << 40))
        client.pour(repeat(b"x" * 65536))


def _trickle(server: Server) -> None:
    def slowly() -> Iterator[bytes]:
        for byte in b"GET /health HTTP/1.1":
            time.sleep(0.1)
            yield bytes([byte])

    with RawClient(server) as client:
        client.pour(slowly())
        client.ends()


def _idle(server: Server) -> None:
    with RawClient(server) as client:
        client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.answer("GET")
        client.ends()


def keys(folder: Path) -> Iterator[Promise]:
    """Keys that change, and tenants that flood."""
    model = tiny_model.write_tiny(folder / "wide.gguf", context=8192)
    calm, wild = (llstore(folder, "key", "create", name).stdout.strip() for name in ("calm", "wild"))
    with serving(folder, model, *FLAGS) as server:
        with server.client(llstore(folder, "key", "create", "late").stdout.strip()) as late:
            known = seconds(lambda: until(lambda: late.get("/v1/models").status_code == 200))
            yield Promise("a key that was made opens", known, 2)
            llstore(folder, "key", "disable", late.headers["authorization"].split("-")[1])
            gone = seconds(lambda: until(lambda: late.get("/v1/models").status_code == 401))
            yield Promise("a key that was disabled opens nothing", gone, 2)
        alone = _p95(server, calm)
        with ThreadPoolExecutor(3) as pool:
            over: list[bool] = []
            floods = [pool.submit(_flood, server, wild, number, over) for number in range(3)]
            beside = _p95(server, calm)
            over.append(True)
            [flood.result() for flood in floods]
        yield Promise("a stream's p95 beside a flood of long prompts", beside * 1e3, 5 * alone * 1e3 + 20, unit="ms")


def _flood(server: Server, key: str, number: int, over: list[bool]) -> None:
    count = 0
    with server.client(key) as client:
        while not over:
            prompt = [(7 * number + count + place) % 256 for place in range(4000)]
            client.post(ASK, json={"prompt": prompt, "max_tokens": 1})
            count += 1


def _p95(server: Server, key: str) -> float:
    asked = {"prompt": "once", "max_tokens": 500, "stream": True}
    with server.client(key) as client, client.stream("POST", ASK, json=asked) as answer:
        times = [time.perf_counter() for line in answer.iter_lines() if line]
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    return gaps[len(gaps) * 95 // 100]


def ends(folder: Path) -> Iterator[Promise]:
    """A server that is to stop while it is busy."""
    model = tiny_model.write_tiny(folder / "wide.gguf", context=8192)
    for said, drain, signals, most, least in (
        ("what is not finished is told so, of 0.5 s", "0.5", 1, 8.0, 0.5),
        ("a second signal ends it", "600", 2, 5.0, 0.0),
    ):
        with serving(folder / drain, model, *FLAGS, "--drain", drain) as server, ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(_streamed, server)
            time.sleep(0.5)
            for _ in range(signals - 1):
                server.process.send_signal(signal.SIGTERM)
                until(lambda server=server: server.events("draining"))
            yield Promise(said, seconds(server.stop), most, least)


def _streamed(server: Server) -> None:
    with server.client() as client, suppress(Exception):
        client.post(ASK, json=LONG)


def crashes(folder: Path) -> Iterator[Promise]:
    """An engine whose process dies."""
    heard: list[Update] = []
    settings, keeping = EngineSettings(2048, parallel=1), Keeping(program=stand_in.PROGRAM)
    with EngineProcess([], settings, keeping=keeping) as process:

        def start() -> None:
            process.submit(Request((1, 2), Sampling(max_tokens=2000)), heard.append)
            until(lambda: heard)

        def again() -> None:
            before = len(heard)
            until(lambda: len(heard) > before)

        started = seconds(start)
        os.kill(process.pid or 0, signal.SIGABRT)
        until(lambda: process.crashes)
        yield Promise("an engine that died serves again", seconds(again), 2 + started)


def interrupts(folder: Path) -> Iterator[Promise]:
    """Ctrl-C in the middle of an answer, and of a transfer."""
    llstore(folder, "put", models.fetch("smollm2"), "--name", "t/t")
    asked = ("-p", "Count from one to ten thousand.", "--max-tokens", "4000", "--temperature", "0")
    yield Promise("an interrupted run ends", _interrupted(folder, "run", "t/t", *asked, ready=_said), 8)
    (folder / "store").mkdir()
    (folder / "big").write_bytes(os.urandom(20_000_000))
    store = ("--store", (folder / "store").as_uri())
    digest = llstore(folder, "put", folder / "big", "--role", "other", *store).stdout.strip()

    def under_way(process: subprocess.Popen[str]) -> None:
        until(lambda: list((folder / "cache").rglob("*.part")), process=process)

    got = _interrupted(folder, "get", digest, *store, ready=under_way, LLSTORE_TRANSFER_MAX_RATE="1MB")
    yield Promise("an interrupted get ends", got, 8)


def _said(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    process.stdout.read(1)


def _interrupted(home: Path, *words: str, ready: Callable[[subprocess.Popen[str]], None], **environment: str) -> float:
    process = subprocess.Popen(
        [sys.executable, "-m", "llstore.cli", *words],
        env={**os.environ, "LLSTORE_HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    ready(process)
    process.send_signal(signal.SIGINT)
    return seconds(process.communicate)


if __name__ == "__main__":
    sys.exit(report((hostile, keys, ends, crashes, interrupts), sys.argv[1:]))
