"""An engine that is listened to in an event loop."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import stand_in_engine as stand_in

from llstore.runner import EngineSettings, Sampling
from llstore.runner.engine.request import Request, Update
from llstore.runner.engine.restarts import Keeping
from llstore.runner.engine.supervisor import EngineProcess
from llstore.runner.errors import RunnerError
from llstore.runner.serve.ear import LoopEar

PROMPT = (3, 5, 8)


class Heard:
    """What came for one request, and in which threads."""

    def __init__(self, tokens: int) -> None:
        self.request = Request(PROMPT, Sampling(temperature=0, max_tokens=tokens))
        self.text = ""
        self.threads: set[int] = set()
        self.reason = ""
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def take(self, item: Update | RunnerError) -> None:
        assert isinstance(item, Update)
        self.text += item.text
        self.threads.add(threading.get_ident())
        if item.end:
            self.reason = item.end.reason
            self._loop.call_soon_threadsafe(self.over.set)


def engine() -> EngineProcess:
    return EngineProcess([], EngineSettings(100_000, parallel=4), keeping=Keeping(program=stand_in.PROGRAM))


async def true(said: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not said():
            await asyncio.sleep(0.001)


async def answered(process: EngineProcess, heard: Heard) -> None:
    process.submit(heard.request, heard.take, fail=heard.take)
    await asyncio.wait_for(heard.over.wait(), 30)


def test_updates_come_in_the_loops_own_thread() -> None:
    async def ask(process: EngineProcess) -> Heard:
        process.hear_in(LoopEar(asyncio.get_running_loop()))
        heard = Heard(20)
        await answered(process, heard)
        return heard

    with engine() as process:
        heard = asyncio.run(ask(process))
        assert (heard.text, heard.reason) == (stand_in.text(PROMPT, 20), "length")
        assert heard.threads == {threading.get_ident()}


def test_a_process_that_dies_is_started_again_and_no_token_is_lost() -> None:
    async def ask(process: EngineProcess) -> Heard:
        process.hear_in(LoopEar(asyncio.get_running_loop()))
        heard = Heard(600)
        process.submit(heard.request, heard.take, fail=heard.take)
        for kills in range(1, 3):
            # Who dies twice with fewer than 16 tokens between has the request to blame.
            seen = heard.text.count(" ")
            await true(lambda seen=seen: heard.text.count(" ") > seen + 20)
            os.kill(process.pid, signal.SIGKILL)
            await true(lambda kills=kills: len(process.crashes) == kills)
        await asyncio.wait_for(heard.over.wait(), 30)
        return heard

    with engine() as process:
        heard = asyncio.run(ask(process))
        assert (heard.text, heard.reason) == (stand_in.text(PROMPT, 600), "length")
        assert len(process.crashes) == 2


def test_a_request_goes_on_when_it_is_listened_to_elsewhere() -> None:
    async def ask(process: EngineProcess) -> Heard:
        heard = Heard(800)
        process.submit(heard.request, heard.take, fail=heard.take)
        for turn in range(6):
            seen = len(heard.text)
            await true(lambda seen=seen: len(heard.text) > seen or heard.over.is_set())
            process.hear_in(None if turn % 2 else LoopEar(asyncio.get_running_loop()))
        await asyncio.wait_for(heard.over.wait(), 30)
        return heard

    with engine() as process:
        heard = asyncio.run(ask(process))
        assert (heard.text, heard.reason) == (stand_in.text(PROMPT, 800), "length")
        assert len(heard.threads) == 2


def test_an_engine_outlives_the_loop_that_listened_to_it() -> None:
    async def ask(process: EngineProcess, *, elsewhere: bool) -> str:
        if elsewhere:
            process.hear_in(LoopEar(asyncio.get_running_loop()))
        heard = Heard(20)
        await answered(process, heard)
        process.hear_in(None)
        return heard.text

    with engine() as process:
        texts = {asyncio.run(ask(process, elsewhere=elsewhere)) for elsewhere in (True, False, True)}
        assert texts == {stand_in.text(PROMPT, 20)}
