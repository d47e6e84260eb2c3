"""Far more clients at once than a server can answer: each is answered or told when to come back."""

import asyncio
import json
import os
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from raw_client import post, resident
from serving import Server, serving
from waiting import until

CLIENTS = 1000 if os.environ.get("LLSTORE_SOAK") else 300
QUEUE, SLOTS, TOKENS = 100, 8, 20
MIB = 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def descriptors() -> Iterator[None]:
    """Enough for all sockets."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, min(most, 4 * CLIENTS)), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


@pytest.fixture(scope="module")
def crowded(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Eight slots, a hundred places to wait."""
    flags = ("--parallel", str(SLOTS), "--ctx", "512", "--threads", "1", "--queue", str(QUEUE))
    with serving(tmp_path_factory.mktemp("crowded"), wide, *flags) as found:
        yield found


@dataclass(frozen=True)
class Answered:
    """How it went; without Retry-After, `retry_after` is 0."""

    status: int
    retry_after: int
    whole: bool


async def ask(server: Server, number: int, *, stream: bool) -> Answered:
    """One request on a connection of its own."""
    host, _, port = server.url.rpartition("/")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = {"prompt": f"story {number}", "max_tokens": TOKENS, "ignore_eos": True, "stream": stream}
    writer.write(post("/v1/completions", asked, headers=b"Connection: close\r\n"))
    try:
        found = await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()
    head, _, body = found.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    whole = b"data: [DONE]\n\n" in body if stream else b'"finish_reason": "length"' in body
    return Answered(int(start.split()[1]), int(headers.get("retry-after", 0)), whole)


async def persist(server: Server, number: int) -> int:
    """Comes back when it is told to, until it is answered; how often that was."""
    for attempt in range(100):
        answered = await ask(server, number, stream=number % 2 == 0)
        if answered.status == 200:
            assert answered.whole
            return attempt
        assert answered.retry_after >= 1
        await asyncio.sleep(answered.retry_after)
    raise AssertionError("it was never answered")


async def all_of(server: Server) -> list[Answered]:
    return await asyncio.gather(*(ask(server, number, stream=number % 2 == 0) for number in range(CLIENTS)))


async def all_persist(server: Server) -> list[int]:
    return await asyncio.gather(*(persist(server, number) for number in range(CLIENTS)))


def test_who_is_admitted_is_answered_and_the_others_are_told_when_to_come_back(crowded: Server) -> None:
    before = resident(crowded.process.pid)
    found = asyncio.run(all_of(crowded))
    statuses = Counter(each.status for each in found)
    assert set(statuses) <= {200, 503}
    assert statuses[200] >= QUEUE
    assert all(each.whole for each in found if each.status == 200)
    assert all(each.retry_after >= 1 for each in found if each.status == 503)
    assert resident(crowded.process.pid) - before < 64 * MIB
    until(lambda: len(crowded.events("request")) >= CLIENTS)


def test_who_comes_back_when_told_is_answered_in_the_end(crowded: Server) -> None:
    attempts = asyncio.run(all_persist(crowded))
    assert len(attempts) == CLIENTS
    assert max(attempts) > 0


def test_many_idle_connections_cost_little(crowded: Server) -> None:
    before = resident(crowded.process.pid)

    async def idle() -> int:
        host, _, port = crowded.url.rpartition("/")[2].rpartition(":")
        pairs = [await asyncio.open_connection(host, int(port)) for _ in range(CLIENTS)]
        for reader, writer in pairs:
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        grown = resident(crowded.process.pid) - before
        answered = await ask(crowded, 0, stream=False)
        assert answered.whole
        for _, writer in pairs:
            writer.close()
        return grown

    assert asyncio.run(idle()) < CLIENTS * 64 * 1024
    events = json.dumps(crowded.events("refused"))
    assert "connections" not in events
