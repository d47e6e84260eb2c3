"""The real engine in its process: what it says is what it would have said undisturbed."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from llstore.runner import EngineSettings, InvalidSampling, LoadFailed, PromptTooLong, QueueFull, Sampling
from llstore.runner.engine.limits import Limits
from llstore.runner.engine.request import Request, Update
from llstore.runner.engine.restarts import Keeping
from llstore.runner.engine.stream import UpdateStream
from llstore.runner.engine.supervisor import EngineProcess
from llstore.runner.llama import Loading

SETTINGS = EngineSettings(512, parallel=8, threads=1, exact=True, flash_attention=True)
KINDS = [
    {"temperature": 0},
    {"temperature": 1.0, "seed": 7},
    {"temperature": 0.7, "seed": 8, "repeat_penalty": 1.3},
    {"temperature": 0, "stop": ("e e", "never said")},
]
REQUESTS = [
    Request(
        tuple(range(5 + number, 25 + 2 * number)),
        Sampling(max_tokens=90 + number, **({"ignore_eos": True} | KINDS[number % len(KINDS)])),
    )
    for number in range(16)
]


@pytest.fixture(scope="module")
def process(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    cores = tmp_path_factory.mktemp("cores")
    with EngineProcess([tiny], SETTINGS, limits=Limits(queue=16), keeping=Keeping(cores=cores)) as process:
        process.wait_ready(60)
        yield process


def said(updates: list[Update]) -> tuple[object, ...]:
    """All that was said, and how it ended."""
    end = updates[-1].end
    tokens = tuple(token for update in updates for token in update.tokens)
    assert [update.end for update in updates[:-1]] == [None] * (len(updates) - 1)
    assert end.completion_tokens == len(tokens)
    return tokens, "".join(update.text for update in updates), end.reason


def test_aborted_again_and_again_under_16_streams_every_one_says_the_same(process: EngineProcess) -> None:
    alone = [said(list(process.stream(request))) for request in REQUESTS]
    chance, before = random.Random(1), len(process.crashes)
    streams: list[list[Update]] = [[] for _ in REQUESTS]
    for request, got in zip(REQUESTS, streams, strict=True):
        process.submit(request, got.append)
    for kills in range(1, 4):
        seen = sum(map(len, streams))
        until(lambda seen=seen: sum(map(len, streams)) > seen + 160)
        time.sleep(chance.random() * 0.01)
        os.kill(process.pid, signal.SIGABRT)
        until(lambda kills=kills: len(process.crashes) == before + kills)
    until(lambda: all(got and got[-1].end for got in streams))
    assert [said(got) for got in streams] == alone


def test_it_says_what_it_refuses_and_goes_on(process: EngineProcess) -> None:
    with pytest.raises(PromptTooLong, match="512 tokens"):
        list(process.stream(Request((1,) * 512, Sampling())))
    with pytest.raises(InvalidSampling):
        list(process.stream(Request((1,), Sampling(logit_bias=((10**9, 1.0),)))))
    streams = [process.stream(Request((1, 2), Sampling(max_tokens=400, ignore_eos=True))) for _ in range(40)]
    waits = [retry_after(stream) for stream in streams]
    assert 0 < len(list(filter(None, waits))) <= 40 - 16
    assert said(list(process.stream(REQUESTS[0])))[2] == "length"


def retry_after(stream: UpdateStream) -> float:
    """When a refused request is to be tried again; 0 for one that was taken, and is not wanted any more."""
    with stream:
        try:
            next(stream)
        except QueueFull as error:
            return error.retry_after
    return 0


def test_it_counts_what_it_does(process: EngineProcess) -> None:
    before = process.stats()["decode_tokens"]
    list(process.stream(REQUESTS[0]))
    after = process.stats()
    assert after["decode_tokens"] - before == REQUESTS[0].sampling.max_tokens - 1
    assert after["running"] == 0
    assert (after["kv_tokens"], after["kv_room"]) == (0, 8 * 512)


def test_an_end_has_all_stages_also_after_a_crash(process: EngineProcess) -> None:
    heard: list[Update] = []
    process.submit(REQUESTS[0], heard.append)
    until(lambda: len(heard) > 30)
    before = len(process.crashes)
    os.kill(process.pid, signal.SIGABRT)
    until(lambda: heard[-1].end)
    end = heard[-1].end
    assert len(process.crashes) == before + 1
    # How they make up its time is in test_ledger.
    assert min(end.queue_seconds, end.prefill_seconds, end.decode_seconds) > 0


def test_what_it_is_loaded_with_reaches_it(tiny: Path) -> None:
    with EngineProcess([tiny], SETTINGS, loading=Loading(gpu_layers=0, repack=False)) as process:
        assert process.wait_ready(60).gpu_layers == 0
        assert said(list(process.stream(REQUESTS[0])))[2] == "length"


def test_a_file_that_is_no_model_is_said_once_and_as_llama_cpp_says_it(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 100)
    with (
        EngineProcess([file], SETTINGS) as process,
        pytest.raises(LoadFailed, match=r"llama\.cpp cannot load the model: .*GGUF"),
    ):
        process.wait_ready(60)


def test_a_model_file_that_was_replaced_is_not_what_is_loaded_again(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(tiny.read_bytes())
    with EngineProcess([file], SETTINGS) as process:
        before = said(list(process.stream(REQUESTS[0])))
        file.unlink()
        file.write_bytes(b"another file")
        os.kill(process.pid, signal.SIGABRT)
        assert said(list(process.stream(REQUESTS[0]))) == before
