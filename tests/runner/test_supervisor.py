"""An engine's process dies at any moment, and whoever asked it for something gets it all the same.

Real processes; the engine in them is a double that makes tokens fast and makes trouble on demand.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stand_in_engine as stand_in
from waiting import until

from llstore.runner import EngineSettings, LoadFailed, PromptEmpty, PromptTooLong, Sampling
from llstore.runner.engine.limits import Limits
from llstore.runner.engine.request import Request, Update
from llstore.runner.engine.restarts import Keeping
from llstore.runner.engine.supervisor import EngineProcess
from llstore.runner.errors import EngineCrashed, EngineStopped, QueueFull, RunnerError

SOON = 20.0  # seconds in which anything here happens, on a busy machine too


def engine(*files: Path, parallel: int = 16, queue: int = 1024, **keeping: object) -> EngineProcess:
    return EngineProcess(
        files,
        EngineSettings(1000, parallel=parallel, threads=1),
        limits=Limits(queue=queue),
        keeping=Keeping(program=stand_in.PROGRAM, **keeping),
    )


def asked(*prompt: int, tokens: int = 20, **settings: object) -> Request:
    return Request(prompt, Sampling(max_tokens=tokens), **settings)


class Heard:
    """What a request got."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.over = threading.Event()

    def receive(self, update: Update) -> None:
        self.updates.append(update)
        if update.end:
            self.over.set()

    @property
    def tokens(self) -> list[int]:
        return [token for update in self.updates for token in update.tokens]

    @property
    def text(self) -> str:
        return "".join(update.text for update in self.updates)

    @property
    def end(self) -> object:
        assert self.over.wait(SOON), f"no end after {len(self.tokens)} tokens"
        return self.updates[-1].end

    def is_complete(self, request: Request) -> bool:
        """All tokens, each once and in order, the whole text, and one end, which says so."""
        count = request.sampling.max_tokens
        return (
            self.end.reason == "length"
            and self.end.completion_tokens == count
            and [update.end for update in self.updates].count(None) == len(self.updates) - 1
            and self.tokens == [stand_in.token(request.prompt, number) for number in range(count)]
            and self.text == stand_in.text(request.prompt, count)
        )


def submitted(process: EngineProcess, requests: list[Request]) -> list[Heard]:
    heard = [Heard() for _ in requests]
    for request, each in zip(requests, heard, strict=True):
        process.submit(request, each.receive)
    return heard


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_is_asked_for_comes() -> None:
    with engine() as process:
        assert process.wait_ready(SOON).vocabulary_size == stand_in.VOCABULARY
        requests = [asked(number, 7, tokens=5 + number) for number in range(16)]
        for request, heard in zip(requests, submitted(process, requests), strict=True):
            assert heard.is_complete(request)
        assert not process.crashes


def test_a_stream_yields_updates_and_ends() -> None:
    with engine() as process:
        updates = list(process.stream(asked(1, 2)))
        assert [update.end is None for update in updates] == [True] * (len(updates) - 1) + [False]
        assert "".join(update.text for update in updates) == stand_in.text((1, 2), 20)


def test_its_numbers_are_given_also_by_a_process_that_is_still_to_come(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("0.5")
    with engine(file) as process:
        with pytest.raises(EngineCrashed, match="gives no numbers within"):
            process.stats(0.01)
        assert process.stats(SOON) == {"running": 0, "turns": 0, "rows": 0}


def test_a_request_that_waits_for_the_model_to_load_waits(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("0.5")
    with engine(file) as process:
        (heard,) = submitted(process, [asked(1, 2)])
        end = heard.end
    assert end.reason == "length"
    assert min(end.queue_seconds, end.decode_seconds) > 0


def test_all_the_time_of_a_request_that_no_process_ended_is_waiting(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("600")
    with engine(file) as process:
        (heard,) = submitted(process, [asked(1, 2, seconds=0.2)])
        end = heard.end
    assert (end.reason, end.prefill_seconds, end.decode_seconds) == ("timeout", 0, 0)
    assert end.queue_seconds > 0


def test_closing_a_stream_cancels_its_request() -> None:
    with engine() as process:
        with process.stream(asked(1, tokens=100_000)) as stream:
            next(stream)
        assert list(stream) == []
        assert process.drain(SOON)
        assert process.stats()["running"] == 0


def test_a_cancelled_request_ends_as_cancelled() -> None:
    with engine() as process:
        heard = Heard()
        id = process.submit(asked(1, tokens=100_000), heard.receive)
        until(lambda: heard.tokens)
        process.cancel(id)
        assert heard.end.reason == "cancelled"
        process.cancel(id)
        process.cancel(4711)


@pytest.mark.parametrize(
    ("request_", "error", "facts"),
    [
        (asked(), PromptEmpty, {}),
        (asked(*range(1000)), PromptTooLong, {"prompt_tokens": 1000, "context_length": 1000}),
    ],
)
def test_a_refusal_is_the_engines_own(request_: Request, error: type[RunnerError], facts: dict[str, int]) -> None:
    with engine() as process:
        with pytest.raises(error) as caught:
            list(process.stream(request_))
        assert {name: getattr(caught.value, name) for name in facts} == facts
        heard = Heard()
        process.submit(request_, heard.receive)
        assert heard.end.reason == "error"
        assert heard.end.error == str(caught.value)


def test_a_full_queue_says_when_to_try_again() -> None:
    with engine(parallel=1, queue=1) as process:
        long = [asked(number, tokens=10_000) for number in range(2)]
        submitted(process, long)
        with pytest.raises(QueueFull) as caught:
            list(process.stream(asked(3)))
        assert caught.value.retry_after == 1.5


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL], ids=["ABRT", "KILL"])
def test_killed_at_random_moments_under_16_streams_every_stream_is_whole(number: signal.Signals) -> None:
    chance = random.Random(number)
    with engine() as process:
        requests = [asked(number, 5, tokens=700 + 10 * number) for number in range(16)]
        heard = submitted(process, requests)
        for kills in range(1, 6):
            seen = sum(len(each.tokens) for each in heard)
            until(lambda seen=seen: sum(len(each.tokens) for each in heard) > seen + 16 * 30)
            time.sleep(chance.random() * 0.02)
            os.kill(process.pid, number)
            until(lambda kills=kills: len(process.crashes) == kills)
        for request, each in zip(requests, heard, strict=True):
            assert each.is_complete(request)
        assert {crash.ended for crash in process.crashes} == {number.name}


def test_killed_while_it_loads_it_loads_again(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("0.3")
    with engine(file) as process:
        heard = submitted(process, [asked(1)])[0]
        until(lambda: process.pid)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
        assert heard.is_complete(asked(1))
        assert len(process.crashes) == 1


def test_one_crash_costs_one_start() -> None:
    with engine() as process:
        heard = submitted(process, [asked(1, tokens=100_000)])[0]
        until(lambda: heard.tokens)
        first = process.pid
        os.kill(first, signal.SIGABRT)
        until(lambda: process.crashes)
        seen = len(heard.tokens)
        until(lambda: len(heard.tokens) > seen)
        assert process.pid not in (None, first)
        assert len(process.crashes) == 1


def test_what_a_process_found_by_trying_the_next_one_is_told() -> None:
    with engine() as process:
        before = process.stats(SOON)["rows"]
        os.kill(process.pid, signal.SIGABRT)
        until(lambda: process.crashes)
        assert (before, process.stats(SOON)["rows"]) == (0, stand_in.COMPANY.rows)


@pytest.mark.parametrize("kind", ["ABORT", "RAISE", "LEAVE"])
def test_a_poisoned_request_is_quarantined_and_15_others_complete(kind: str) -> None:
    with engine() as process:
        poison = asked(getattr(stand_in, kind), 10, tokens=50)
        others = [asked(number, 3, tokens=100) for number in range(15)]
        *heard, ill = submitted(process, [*others, poison])
        for request, each in zip(others, heard, strict=True):
            assert each.is_complete(request)
        assert ill.end.reason == "error"
        assert "crashed the engine 2 times" in ill.end.error
        assert process.crashes[-1].summary in ill.end.error
        assert len(process.crashes) <= 4
        assert ill.tokens == [stand_in.token(poison.prompt, number) for number in range(len(ill.tokens))]
        assert submitted(process, [asked(4)])[0].is_complete(asked(4))


def test_the_report_has_what_llama_cpp_said_last() -> None:
    with engine() as process:
        ill = submitted(process, [asked(stand_in.ABORT, 0)])[0]
        assert "SIGABRT: stand_in.c:42: GGML_ASSERT(poison) failed" in ill.end.error
        assert process.crashes[-1].suspects == (1,)


def test_many_poisoned_requests_are_found_one_by_one() -> None:
    with engine() as process:
        poisons = [asked(stand_in.ABORT, number) for number in range(3)]
        others = [asked(number, tokens=60) for number in range(5)]
        heard = submitted(process, [*poisons, *others])
        assert [each.end.reason for each in heard] == ["error"] * 3 + ["length"] * 5


def test_who_hangs_the_engine_is_found_too() -> None:
    with engine(stuck=0.4) as process:
        ill, well = submitted(process, [asked(stand_in.HANG, 3, alone=True), asked(2, tokens=60)])
        assert well.is_complete(asked(2, tokens=60))
        assert ill.end.reason == "error"
        assert "stuck for 0.4 s" in ill.end.error


def test_an_engine_that_never_comes_up_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("abort")
    with engine(file, pause=0.01) as process:
        stream = process.stream(asked(1))
        with pytest.raises(EngineCrashed, match="again and again; the last time by SIGABRT"):
            next(stream)
        with pytest.raises(EngineCrashed):
            process.wait_ready(SOON)
        with pytest.raises(EngineCrashed):
            process.submit(asked(1), print)
        assert len(process.crashes) == 5


def test_a_model_that_cannot_be_loaded_is_tried_once(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("refuse")
    with engine(file) as process:
        heard = submitted(process, [asked(1)])[0]
        with pytest.raises(LoadFailed, match="the file says so"):
            process.wait_ready(SOON)
        assert heard.end.error == "stand-in: the file says so"
        assert len(process.crashes) == 1


def test_a_file_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="No such file"):
        engine(tmp_path / "missing")


def test_a_program_that_cannot_be_started_is_given_up() -> None:
    keeping = Keeping(program=("/does/not/exist",), pause=0.01)
    with (
        EngineProcess([], EngineSettings(10), keeping=keeping) as process,
        pytest.raises(EngineCrashed, match="cannot be started: No such file"),
    ):
        process.wait_ready(SOON)


def test_a_new_process_takes_all_that_the_old_one_had_whatever_its_queue() -> None:
    with engine(parallel=2, queue=2) as process:
        requests = [asked(number, tokens=150) for number in range(4)]
        heard = submitted(process, requests)
        until(lambda: heard[1].tokens)
        os.kill(process.pid, signal.SIGKILL)
        for request, each in zip(requests, heard, strict=True):
            assert each.is_complete(request)


def test_cancelled_or_late_while_no_process_is_there_it_ends_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("5")
    with engine(file) as process:
        late, unwanted = Heard(), Heard()
        process.submit(asked(1, seconds=0.2), late.receive)
        process.cancel(process.submit(asked(1), unwanted.receive))
        assert unwanted.end.reason == "cancelled"
        assert late.end.reason == "timeout"


def test_one_engines_crash_is_no_business_of_another() -> None:
    with engine() as sick, engine() as well:
        ill = submitted(sick, [asked(stand_in.ABORT, 5)])[0]
        good = submitted(well, [asked(1, tokens=300)])[0]
        assert ill.end.reason == "error"
        assert good.is_complete(asked(1, tokens=300))
        assert not well.crashes


def test_drained_it_finishes_what_it_has_and_takes_no_more() -> None:
    with engine() as process:
        heard = submitted(process, [asked(1, tokens=200)])[0]
        assert not process.drain(0.01)
        with pytest.raises(EngineStopped):
            process.submit(asked(2), print)
        assert process.drain(SOON)
        assert heard.is_complete(asked(1, tokens=200))


def test_closed_it_cancels_what_is_left() -> None:
    with engine() as process:
        heard = submitted(process, [asked(1, tokens=100_000)])[0]
        until(lambda: heard.tokens)
        pid = process.pid
    assert heard.end.reason == "cancelled"
    assert is_gone(pid)
    with pytest.raises(EngineStopped):
        process.submit(asked(1), print)
    process.cancel(1)
    process.close()


def test_closed_by_one_of_its_own_callbacks_it_ends() -> None:
    process = engine()
    heard = Heard()

    def receive(update: Update) -> None:
        heard.receive(update)
        process.close()

    process.submit(asked(1, tokens=100_000), receive)
    assert heard.end.reason == "cancelled"
    process.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises_harms_no_other_request() -> None:
    def receive(update: Update) -> None:
        raise ValueError("not my day")

    with engine() as process:
        process.submit(asked(2, tokens=100_000), receive)
        assert submitted(process, [asked(1, tokens=100)])[0].is_complete(asked(1, tokens=100))
        assert process.drain(SOON)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[str], int]]]:
    """A program that starts an engine which does what `trouble` says; it, and the engine's process id."""
    programs: list[subprocess.Popen[str]] = []

    def started(trouble: str) -> tuple[subprocess.Popen[str], int]:
        code = f"""
import sys, time
sys.path.insert(0, {str(Path(stand_in.__file__).parent)!r})
import stand_in_engine as stand_in
from llstore.runner import EngineSettings, Sampling
from llstore.runner.engine.request import Request
from llstore.runner.engine.restarts import Keeping
from llstore.runner.engine.supervisor import EngineProcess
process = EngineProcess([], EngineSettings(1000), keeping=Keeping(program=stand_in.PROGRAM))
stream = process.stream(Request((stand_in.{trouble}, 5), Sampling(max_tokens=10**6)))
for _ in range(4): next(stream)
print(process.pid, flush=True)
for _ in stream: pass
"""
        program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        programs.append(program)
        return program, int(program.stdout.readline())

    yield started
    for program in programs:
        program.kill()
        program.wait()
        program.stdout.close()


@pytest.mark.parametrize("trouble", ["VOCABULARY", "HANG"], ids=["busy", "stuck in C"])
def test_a_parent_that_is_killed_leaves_no_child(parent: Callable[..., tuple], trouble: str) -> None:
    program, child = parent(trouble)
    time.sleep(0.1)
    program.kill()
    until(lambda: is_gone(child))


def test_what_the_terminal_sends_does_not_reach_the_child(parent: Callable[..., tuple]) -> None:
    program, child = parent("VOCABULARY")
    assert os.getsid(child) == child != os.getsid(program.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child, number)
    time.sleep(0.1)
    assert not is_gone(child)


def open_files() -> int:
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    return len(list(Path(folder).iterdir()))


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.write_text("0")
    files, threads = open_files(), threading.active_count()
    for _ in range(3):
        with engine(file) as process:
            ill = submitted(process, [asked(stand_in.ABORT, 2)])[0]
            assert ill.end.reason == "error"
            pid = process.pid
        until(lambda pid=pid: pid is None or is_gone(pid))
    assert open_files() == files
    assert threading.active_count() == threads
