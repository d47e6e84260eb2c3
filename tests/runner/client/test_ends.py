"""How streams end before their end, and what the package needs."""

import asyncio
import gc
import subprocess
import sys
import threading
import time

import pytest
from scripted import HANG, Script, Scripted, answer, completed, event, streamed

from llstore.runner.client import AsyncInferenceClient, InferenceClient


def test_a_stream_is_closed_from_another_thread_while_one_waits_for_it(server: Scripted) -> None:
    server.says(streamed(event("a"), HANG))
    pieces: list[str] = []
    with InferenceClient("127.0.0.1", server.port) as client:
        stream = client.stream("x")
        reader = threading.Thread(target=lambda: pieces.extend(stream))
        reader.start()
        while stream.text != "a":
            time.sleep(0.005)
        stream.close()
        reader.join(10)
        assert not reader.is_alive()
    assert pieces == ["a"]
    assert server.gone.wait(10)


def test_a_stream_that_is_closed_before_its_answer_begins_ends_when_it_does(server: Scripted) -> None:
    server.says(Script((0.2, *streamed(event("a"), HANG).steps)))
    with InferenceClient("127.0.0.1", server.port) as client:
        stream = client.stream("x")
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        while not server.asked:
            time.sleep(0.005)
        stream.close()
        reader.join(10)
        assert not reader.is_alive()
    assert server.gone.wait(10)


def test_a_stream_that_nobody_holds_any_more_is_closed(server: Scripted) -> None:
    server.says(streamed(event("a"), HANG))
    gc.disable()  # that it is not even garbage for long
    try:
        with InferenceClient("127.0.0.1", server.port) as client:
            for _ in client.stream("x"):
                break
            assert server.gone.wait(10)
    finally:
        gc.enable()


def test_a_client_that_nobody_closes_leaves_nothing_open(server: Scripted) -> None:
    server.says(answer(completed()))
    # An open socket would be a ResourceWarning, which is an error here.
    assert InferenceClient("127.0.0.1", server.port).infer(prompt="x", max_tokens=64, temperature=0).text == "ok"
    gc.collect()


@pytest.mark.parametrize("script", [Script((HANG,)), streamed(event("a"), HANG)], ids=["before", "amid"])
def test_a_task_that_is_cancelled_cancels_its_request(server: Scripted, script: Script) -> None:
    server.says(script)

    async def cancelled() -> None:
        async with AsyncInferenceClient("127.0.0.1", server.port) as client, client.stream("x") as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_all(stream), 0.3)
            assert await asyncio.to_thread(server.gone.wait, 10)

    asyncio.run(cancelled())


def test_a_stream_is_closed_by_another_task_while_one_waits_for_it(server: Scripted) -> None:
    server.says(streamed(event("a"), HANG))

    async def read_and_close() -> list[str]:
        async with AsyncInferenceClient("127.0.0.1", server.port) as client:
            stream = client.stream("x")
            reader = asyncio.create_task(_all(stream))
            while stream.text != "a":
                await asyncio.sleep(0.005)
            await stream.aclose()
            return await asyncio.wait_for(reader, 10)

    assert asyncio.run(read_and_close()) == ["a"]
    assert server.gone.wait(10)


async def _all(stream: object) -> list[str]:
    return [piece async for piece in stream]


def test_streams_run_beside_each_other(server: Scripted) -> None:
    # None is answered before all are there.
    server.says(*[Script((threading.Barrier(8), *answer(completed()).steps))] * 8)

    async def together() -> list[str]:
        async with AsyncInferenceClient("127.0.0.1", server.port) as client:
            return [said.text for said in await asyncio.gather(*(client.infer("x") for _ in range(8)))]

    assert asyncio.run(together()) == ["ok"] * 8


def modules(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_client_needs_nothing_that_runs_or_serves_models() -> None:
    code = "from llstore.runner.client import *; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(modules(code).stdout.split())
    assert "httpx" in loaded
    assert not loaded & {"llama_cpp", "jinja2", "numpy", "fastapi", "starlette", "boto3", "sqlalchemy", "urllib3"}


def test_without_httpx_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "from llstore.runner.errors import ExtraMissing\n"
        "try:\n    from llstore.runner.client import InferenceClient\n"
        "except ExtraMissing as error:\n    print(error, error.hint)"
    )
    assert modules(code).stdout.strip() == "httpx is not installed pip install 'llstore[client]'"
