"""Answers come in any order, and are written in that of their lines."""

import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from llstore.runner import Sampling
from llstore.runner.batch.batch import Batch, Bounds, Means
from llstore.runner.batch.reader import Line, read_lines
from llstore.runner.batch.results import PipeResults
from llstore.runner.batch.settings import BatchSettings
from llstore.runner.batch.tally import Tally
from llstore.runner.engine.request import End, Request, Update
from llstore.runner.errors import InvalidSampling, LoadFailed, RunnerError
from llstore.runner.llama.model import LlamaModel, Loading
from llstore.store import Digest

Receive = Callable[[Update], None]
Fail = Callable[[RunnerError], None]
USUAL = BatchSettings(Digest("ab" * 32), sampling=Sampling(max_tokens=4))


class Parrot:
    """An engine's stand-in: it answers with its prompt's text, whoever of `most` waiting comes first by lot."""

    def __init__(self, model: LlamaModel, *, most: int = 4) -> None:
        self._model = model
        self._most = most
        self._random = random.Random(0)
        self._waiting: SimpleQueue[tuple[int, Request, Receive] | None] = SimpleQueue()
        self.requests: list[Request] = []
        self.largest = 0
        self._count = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, request: Request, receive: Receive, *, fail: Fail) -> int:
        if request.sampling.top_k == 13:
            fail(InvalidSampling("top_k is unlucky"))
            return 0
        with self._lock:
            self._count += 1
            self.largest = max(self.largest, self._count)
        self.requests.append(request)
        self._waiting.put((len(self.requests), request, receive))
        return len(self.requests)

    def _work(self) -> None:
        held: list[tuple[int, Request, Receive]] = []
        while True:
            while not held or (len(held) < self._most and not self._waiting.empty()):
                item = self._waiting.get()
                if item is None:
                    return
                held.append(item)
            self._answer(*held.pop(self._random.randrange(len(held))))

    def _answer(self, id: int, request: Request, receive: Receive) -> None:
        text = b"".join(map(self._model.piece, request.prompt)).decode()
        with self._lock:
            self._count -= 1
        if "die" in text:
            receive(Update(id, text="par", end=End("error", len(request.prompt), 0, 1, error="it crashed twice")))
            return
        for letter in text:
            receive(Update(id, tokens=(1,), text=letter))
        receive(Update(id, end=End("stop", len(request.prompt), 0, len(text))))


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[LlamaModel]:
    with LlamaModel(tiny, Loading(vocabulary_only=True)) as found:
        yield found


def batch(
    model: LlamaModel, results: PipeResults, *, engine: Parrot | None = None, bounds: Bounds | None = None
) -> Batch:
    return Batch(Means(engine or Parrot(model), model, USUAL, bounds or Bounds(200, requests=8, trained=512)), results)


def run(
    model: LlamaModel, data: bytes, *, engine: Parrot | None = None, bounds: Bounds | None = None
) -> tuple[list[dict[str, Any]], Tally]:
    out = io.BytesIO()
    tally = batch(model, PipeResults(out), engine=engine, bounds=bounds).run(read_lines(io.BytesIO(data)))
    return [json.loads(row) for row in out.getvalue().splitlines()], tally


def completions(*prompts: str, **body: Any) -> bytes:
    rows = (
        {"custom_id": str(n), "url": "/v1/completions", "body": {"prompt": prompt, **body}}
        for n, prompt in enumerate(prompts)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def texts(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [[choice["text"] for choice in row["response"]["body"]["choices"]] for row in rows]


def test_output_lines_are_in_the_order_of_input_lines(model: LlamaModel) -> None:
    prompts = [f"prompt {n}" for n in range(200)]
    rows, tally = run(model, completions(*prompts))
    assert [row["custom_id"] for row in rows] == [str(n) for n in range(200)]
    assert texts(rows) == [[prompt] for prompt in prompts]
    assert (tally.lines, tally.done, tally.failed) == (200, 200, 0)
    assert tally.completion_tokens == tally.streamed == sum(map(len, prompts))


def test_bad_lines_are_reported_and_the_rest_is_done(model: LlamaModel) -> None:
    bad = b'{"prompt": "a"\n\n' + completions("x" * 500, "die", "b") + b'{"prompt": "a", "top_k": 13}\n\xff\n[]'
    rows, tally = run(model, bad)
    assert [row.get("id") for row in rows if "error" in row and "custom_id" not in row] == [0, 4, 5, 6]
    assert rows[0]["error"].startswith("line 1: not JSON")
    too_long = rows[1]["response"]["body"]["error"]
    assert (
        too_long["message"]
        == "line 3: the prompt has 501 tokens, the context holds 200 (--ctx gives each slot more of it)"
    )
    assert rows[1]["response"]["status_code"] == 400
    assert rows[2]["response"]["status_code"] == 500
    assert rows[2]["response"]["body"]["error"]["message"] == "line 4: it crashed twice"
    assert texts([rows[3]]) == [["b"]]
    assert rows[4]["error"] == "line 6: top_k is unlucky"
    assert rows[5]["error"].startswith("line 7: not UTF-8")
    assert (tally.lines, tally.failed, tally.done) == (7, 6, 1)


def test_no_more_is_asked_at_once_than_allowed(model: LlamaModel) -> None:
    engine = Parrot(model)
    run(model, completions(*map(str, range(100))), engine=engine, bounds=Bounds(context=200, requests=3))
    assert engine.largest <= 3


class Slow(Parrot):
    """Answers the first request when all others that it will get are answered."""

    def __init__(self, model: LlamaModel, before: int) -> None:
        super().__init__(model, most=1)
        self._before = before
        self._first: tuple[int, Request, Receive] | None = None

    def _answer(self, id: int, request: Request, receive: Receive) -> None:
        if self._first is None:
            self._first = (id, request, receive)
            return
        super()._answer(id, request, receive)
        self._before -= 1
        if self._before == 0:
            super()._answer(*self._first)


def test_a_long_answer_holds_up_no_more_than_the_window(model: LlamaModel) -> None:
    engine = Slow(model, before=19)
    bounds = Bounds(context=200, requests=4, window_lines=20)
    rows, _ = run(model, completions(*map(str, range(60))), engine=engine, bounds=bounds)
    assert texts(rows) == [[str(n)] for n in range(60)]


def test_several_answers_to_one_line_have_seeds_of_their_own(model: LlamaModel) -> None:
    engine = Parrot(model)
    rows, tally = run(model, completions("a", n=3, seed=2**32 - 2) + completions("b"), engine=engine)
    assert texts(rows) == [["a"] * 3, ["b"]]
    assert [request.sampling.seed for request in engine.requests[:3]] == [2**32 - 2, 0, 1]
    assert tally.prompt_tokens == 4
    assert tally.completion_tokens == 4


def test_lines_without_a_seed_get_different_ones(model: LlamaModel) -> None:
    engine = Parrot(model)
    run(model, completions("a", "a"), engine=engine)
    assert len({request.sampling.seed for request in engine.requests} - {None}) == 2


def test_answers_are_written_while_a_pipe_brings_no_more(model: LlamaModel) -> None:
    written = threading.Event()

    class Out(io.BytesIO):
        def flush(self) -> None:
            written.set()

    def pipe() -> Iterator[Line]:
        lines = read_lines(io.BytesIO(completions("a", "b")))
        yield next(lines)
        assert written.wait(10)
        yield from lines

    out = Out()
    assert batch(model, PipeResults(out)).run(pipe()).lines == 2


def test_an_input_that_cannot_be_read_ends_the_batch(model: LlamaModel) -> None:
    def broken() -> Iterator[Line]:
        yield from read_lines(io.BytesIO(completions("a")))
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        batch(model, PipeResults(io.BytesIO())).run(broken())


@pytest.mark.parametrize("later", [False, True])
def test_an_engine_that_cannot_go_on_ends_the_batch(model: LlamaModel, later: bool) -> None:
    class Dead(Parrot):
        def submit(self, request: Request, receive: Receive, *, fail: Fail) -> int:
            if not later:
                raise LoadFailed("no memory")
            fail(LoadFailed("no memory"))
            return 1

    with pytest.raises(LoadFailed):
        run(model, completions("a"), engine=Dead(model))


def test_no_more_lines_are_in_memory_than_the_window_holds(model: LlamaModel) -> None:
    begun = 0

    def many() -> Iterator[Line]:
        nonlocal begun
        for line in read_lines(io.BytesIO(completions(*map(str, range(2000))))):
            begun = line.number
            yield line

    class Out(io.BytesIO):
        ahead = 0

        def write(self, data: Any) -> int:
            count = super().write(data)
            self.ahead = max(self.ahead, begun - self.getvalue().count(b"\n"))
            return count

    out = Out()
    bounds = Bounds(context=200, requests=8, window_lines=50)
    batch(model, PipeResults(out), bounds=bounds).run(many())
    assert out.getvalue().count(b"\n") == 2000
    assert out.ahead <= 51
