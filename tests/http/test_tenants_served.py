"""Several tenants on one server: each gets what its limits allow, and pays for what it got."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from raw_client import RawClient, neighbour, post
from serving import Server, llstore, serving
from waiting import until

from llstore.runner.http.errors import LIMITED, Problem
from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.tenants.tenant import Changes

ASK, CHAT = "/v1/completions", "/v1/chat/completions"
SLOTS = 4


@pytest.fixture(scope="module")
def shared(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four slots."""
    home = tmp_path_factory.mktemp("shared")
    with KeyFile(home / "data" / "keys.db") as file:
        file.create("somebody", now=time.time())
    with serving(home, wide, "--parallel", str(SLOTS), "--ctx", "8192", "--threads", "1") as found:
        yield found


@pytest.fixture
def tenant(shared: Server) -> Callable[..., str]:
    """Makes a key of a new tenant, which the server knows at once."""

    def made(name: str, changes: Changes = Changes()) -> str:  # noqa: B008
        with KeyFile(shared.home / "data" / "keys.db") as file:
            key = file.create(name, now=time.time(), changes=changes).text
        with shared.client(key) as client:
            until(lambda: client.get("/v1/models").status_code == 200)
        return key

    return made


def ask(client: httpx.Client, tokens: int, **more: Any) -> httpx.Response:
    return client.post(ASK, json={"prompt": "once", "max_tokens": tokens, "ignore_eos": True, **more})


def until_refused(client: httpx.Client, tokens: int) -> httpx.Response:
    """Asks again and again; the first answer that is none."""
    answers = (ask(client, tokens) for _ in range(200))
    return next(answer for answer in answers if answer.status_code != 200)


def used(answer: httpx.Response) -> int:
    return int(answer.json()["usage"]["total_tokens"])


def test_requests_a_minute_are_a_bucket_and_retry_after_suffices(shared: Server, tenant: Callable[..., str]) -> None:
    with shared.client(tenant("minute", Changes(requests_per_minute=60))) as client:
        answers = [ask(client, 1) for _ in range(60)]
        assert {answer.status_code for answer in answers} == {200}
        # Each second lets another one pass, which takes a few milliseconds.
        refused = until_refused(client, 1)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert refused.headers["retry-after"] == "1"
        time.sleep(1)
        assert ask(client, 1).status_code == 200


def test_tokens_a_minute_are_counted_to_the_token(shared: Server, tenant: Callable[..., str]) -> None:
    limit, each = 6000, 200
    with shared.client(tenant("tokens", Changes(tokens_per_minute=limit))) as client:
        total = used(ask(client, 1))
        prompt = total - 1
        # As much as fits is granted to the token, however long it takes.
        while total + each + prompt <= limit:
            answer = ask(client, each)
            assert answer.status_code == 200
            total += used(answer)
        if limit - total > prompt:
            assert ask(client, limit - total - prompt).status_code == 200
        # What flows in meanwhile is in test_limits, by a clock that is told; here it is less than is asked for.
        told = int(until_refused(client, each).headers["retry-after"])
        assert told <= (each + prompt) * 60 / limit + 1
        time.sleep(told)
        assert ask(client, each).status_code == 200


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1"), (118.5, "119"), (500.0, "119")])
def test_nobody_is_told_to_wait_longer_than_clients_do(seconds: float, told: str) -> None:
    assert Problem(429, "wait", LIMITED, retry_after=seconds).headers() == {"retry-after": told}


def test_what_can_never_pass_is_told_so(shared: Server, tenant: Callable[..., str]) -> None:
    with shared.client(tenant("little", Changes(tokens_per_minute=100))) as client:
        answer = ask(client, 100)
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"
    assert "can never pass" in answer.json()["error"]["message"]


def test_what_was_reserved_and_not_used_is_given_back(shared: Server, tenant: Callable[..., str]) -> None:
    key = tenant("back", Changes(tokens_per_minute=8000))
    asked = {"prompt": "once", "max_tokens": 7900}
    with shared.client(key) as client, RawClient(shared) as raw:
        raw.send(post(ASK, asked, headers=b"Authorization: Bearer %b\r\n" % key.encode()))
        until(lambda: ask(client, 200).status_code == 429)
        raw.close()
        until(lambda: ask(client, 4000, stop=["a", "e", "i", " "]).status_code == 200)
        assert ask(client, 4000, stop=["a", "e", "i", " "]).status_code == 200


def test_requests_at_once_are_bounded(shared: Server, tenant: Callable[..., str]) -> None:
    key = tenant("narrow", Changes(concurrency=2))
    with shared.client(key) as client, neighbour(shared, {"prompt": "a", "max_tokens": 3000}, key=key):
        with neighbour(shared, {"prompt": "b", "max_tokens": 3000}, key=key):
            answers = [ask(client, 1) for _ in range(10)]
            assert {answer.status_code for answer in answers} <= {429, 200}
            refused = [answer for answer in answers if answer.status_code == 429]
            assert len(refused) >= 8
            assert all(answer.headers["retry-after"] == "1" for answer in refused)
        until(lambda: ask(client, 1).status_code == 200)


def test_limits_that_change_hold_at_once(shared: Server, tenant: Callable[..., str]) -> None:
    with shared.client(tenant("changing")) as client:
        assert ask(client, 200).status_code == 200
        with KeyFile(shared.home / "data" / "keys.db") as file:
            file.set_tenant("changing", Changes(tokens_per_minute=100))
        until(lambda: ask(client, 200).status_code == 429)


def test_usage_is_the_sum_of_what_answers_said(shared: Server, tenant: Callable[..., str]) -> None:
    chat = {"messages": [{"role": "user", "content": "once"}], "max_tokens": 40}
    streamed = {"prompt": "once", "max_tokens": 30, "stream": True, "stream_options": {"include_usage": True}}
    wanted = {}
    for name in ("payer-a", "payer-b"):
        with shared.client(tenant(name)) as client:
            usages = [
                client.post(CHAT, json=chat).json()["usage"],
                client.post(CHAT, json={**chat, "n": 3, "temperature": 1}).json()["usage"],
                ask(client, 25, prompt=["once", "upon", "once"], n=2).json()["usage"],
                ask(client, 50, stop=["a", "e"]).json()["usage"],
                json.loads(client.post(ASK, json=streamed).text.split("data: ")[-2])["usage"],
            ]
            assert client.post(CHAT, json={"messages": []}).status_code == 400
        wanted[name] = [
            len(usages),
            sum(usage["prompt_tokens"] for usage in usages),
            sum(usage["completion_tokens"] for usage in usages),
        ]
    until(lambda: [paid(shared, name) for name in wanted] == list(wanted.values()))
    rows = json.loads(llstore(shared.home, "key", "usage", "--json").stdout)["usage"]
    assert wanted.keys() <= {row["tenant"] for row in rows}
    assert {row["model"] for row in rows} == {shared.digest}


def paid(server: Server, tenant: str) -> list[int]:
    with KeyFile(server.home / "data" / "keys.db") as file:
        rows = file.usage(tenant)
    return [sum(getattr(row, kind) for row in rows) for kind in ("requests", "prompt_tokens", "completion_tokens")]


def test_who_has_priority_goes_first(shared: Server, tenant: Callable[..., str]) -> None:
    low, high = tenant("low", Changes(priority=-10)), tenant("high", Changes(priority=10))
    order: list[str] = []

    def run(name: str, key: str) -> None:
        with shared.client(key) as client:
            assert ask(client, 400).status_code == 200
        order.append(name)

    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(run, "low", low) for _ in range(4 * SLOTS)]
        until(lambda: "low" in order)
        urgent = pool.submit(run, "high", high)
        urgent.result()
        assert order.index("high") < len(waiting) - SLOTS
        [each.result() for each in waiting]


def test_a_flood_of_long_prompts_leaves_anothers_stream_its_turns(shared: Server, tenant: Callable[..., str]) -> None:
    calm, wild = tenant("calm"), tenant("wild")
    with ThreadPoolExecutor(3) as pool:
        over = False

        def flood(number: int) -> int:
            with shared.client(wild) as client:
                while not over:
                    ask(client, 1, prompt=[(7 * number + len(read) + place) % 256 for place in range(4000)])
                    read.append(1)

        read: list[int] = []
        floods = [pool.submit(flood, number) for number in range(3)]
        until(lambda: len(read) >= 3)
        before, events = len(read), streamed(shared, calm, tokens=500)
        during = len(read) - before
        over = True
        [each.result() for each in floods]
    # Each prompt is read in eight steps or more, and the stream has a token of each step. What that is in
    # milliseconds is in benchmarks/promises.py.
    assert events > 300
    assert during <= events


def streamed(server: Server, key: str, *, tokens: int) -> int:
    """How many events a stream has."""
    asked = {"prompt": "once", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    with server.client(key) as client, client.stream("POST", ASK, json=asked) as answer:
        return sum(1 for line in answer.iter_lines() if line)
