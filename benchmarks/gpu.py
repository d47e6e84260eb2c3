"""The first measurement on a GPU: `llstore demo`, `run` with layers on the GPU, `serve` beside llama-server.

Usage: python benchmarks/gpu.py [--model smollm2 | --file MODEL.gguf] [--peers DIR] [--rounds 5] [--streams 1,8,16,32]
[--minutes 10] [--out FILE]
It builds nothing, and says which build of llama.cpp it ran with; docs/gpu.md says how to make one. --peers (or
LLSTORE_PEERS) names a folder with llama-server. A part that needs more than its share of the minutes makes fewer
rounds, or is left out, and a line says so. Without a GPU the same is measured on the processor.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
import serve
import servers
from budget import Budget, Turns, in_turns
from measure import machine
from report import Report, spread

from llstore.store import StoreError

QUESTION, TOKENS = "Write a long story about a lighthouse.", 128
DEMO, RUN = 0.15, 0.4  # of the time that is left; serve has the rest
ENDING = 25.0  # seconds in which the last server ends and the report is written
HEAD_RUN = ("layers on GPUs", "rounds", "load, s", "first token, s", "tokens/s")
HEAD_SERVE = ("streams", "server", "rounds", "tokens/s", "TTFT p95, ms", "ITL p95, ms", "tokens/s, of llama-server's")


class TimeIsUp(BaseException):
    """The minutes are over. No code on the way may take it for a failure of what it measures."""


@dataclass(frozen=True)
class Machine:
    """Where the commands run: a home of their own, and what `llstore doctor` says there."""

    home: Path
    facts: dict[str, Any]

    @classmethod
    def of(cls, home: Path) -> "Machine":
        """What is here; checks the build's kernels on the way."""
        return cls(home, json.loads(llstore(home, "doctor", "--json", "--offline", seconds=300)))

    @property
    def runner(self) -> dict[str, Any]:
        """The doctor's section about llama.cpp."""
        found: dict[str, Any] = self.facts["runner"]
        return found

    def layers(self, most: int) -> list[int]:
        """How many layers to put on GPUs: none, half and all where there is one."""
        return [0, most // 2, most] if self.gpus else [0]

    @property
    def gpus(self) -> list[str]:
        """Those that llama.cpp can use."""
        found = self.runner.get("gpu")
        return found if isinstance(found, list) else []


def llstore(home: Path, *words: str, seconds: float) -> str:
    """What a command prints. Raises RuntimeError with its last line when it fails or takes longer."""
    command = [sys.executable, "-m", "llstore.cli", *words]
    environment = {**os.environ, "LLSTORE_HOME": str(home)}
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"llstore {words[0]} was not done within {seconds:.0f} s") from error
    if ran.returncode:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
        raise RuntimeError(f"llstore {words[0]} ended with {ran.returncode}: {said[-1] if said else 'it said nothing'}")
    return ran.stdout


def build(report: Report, here: Machine, file: Path) -> None:
    """Which build and model it is."""
    versions, runner = here.facts["versions"], here.runner
    off = runner.get("switched_off", "nothing")
    report.say(
        f"{file.name}, {file.stat().st_size / 1e6:.0f} MB, {machine()}",
        f"llama-cpp-python {versions['llama-cpp-python']}, backends: {', '.join(runner.get('backends', ['none']))}",
        f"GPUs: {'; '.join(here.gpus) or 'none that llama.cpp can use. Only the CPU part is measured.'}",
        f"kernels that are switched off: {', '.join(off) if isinstance(off, list) else off}",
    )


def demo(report: Report, here: Machine, budget: Budget, *, file: Path) -> None:
    """Whether it answers, and what each step took. Of another model than the demo's, only the quick one: it fetches
    nothing."""
    is_the_demos = file.name == models.MODELS["smollm2"].file
    if is_the_demos:
        servers.stored(file, here.home)
    words = ("demo",) if is_the_demos else ("demo", "--quick", "--offline")
    report.part(f"llstore {' '.join(words)}")
    try:
        found = json.loads(llstore(here.home, *words, "--json", "--quiet", seconds=budget.left))
    except RuntimeError as error:
        report.say(f"FAILED: {error}")
        return
    report.table(("step", "outcome", "s"), [(s["name"], s["outcome"], f"{s['seconds']:.2f}") for s in found["steps"]])
    report.say(f"asked: {found['question']}", f"answered: {found['text']}", "the answer is right")


def runs(report: Report, here: Machine, file: Path, budget: Budget, *, rounds: int) -> None:
    """`llstore run` by layers on the GPU, in turns. A first time each is not counted: it checks kernels."""
    report.part(f"llstore run, {TOKENS} tokens, greedy")
    digest = servers.stored(file, here.home)

    def once(_: int, count: int) -> tuple[float, float, float]:
        made = ("--gpu-layers", str(count), "--temperature", "0", "--max-tokens", str(TOKENS), "--ignore-eos")
        words = ("run", digest, "-p", QUESTION, *made, "--json", "--quiet")
        found = json.loads(llstore(here.home, *words, seconds=budget.left))
        return found["load_seconds"], found["first_token_seconds"], found["tokens_per_second"]

    acts = {str(count): partial(once, count=count) for count in here.layers(serve.all_layers(file))}
    first = in_turns(acts, budget, rounds=1)
    works = {name: act for name, act in acts.items() if name not in first.failed}
    turns = in_turns(works, budget, rounds=rounds, expected=first.longest)
    counted = turns.found if any(turns.found.values()) else first.found
    report.table(HEAD_RUN, [(name, *_times(counted.get(name, []))) for name in acts])
    alone = ["run: only the first time of each fits, which also checks kernels"] if counted is first.found else []
    report.say(*_remarks("run", turns, first.failed), *alone)


def _times(found: list[tuple[float, float, float]]) -> tuple[str, ...]:
    columns = list(zip(*found, strict=True)) or [(), (), ()]
    return str(len(found)), *(spread(values, digits=digits) for values, digits in zip(columns, (2, 3, 1), strict=True))


def serving(report: Report, bench: serve.Bench, budget: Budget) -> None:
    """`llstore serve` beside llama-server, each number of streams in its part of the time."""
    numbers = [int(number) for number in bench.given.streams.split(",")]
    asked = f"{serve.PROMPT.most} prompt tokens, {serve.ANSWER.most} generated"
    report.part(f"llstore serve, {asked}, {bench.settings.gpu_layers} layers on GPUs")
    if not any(one.name == servers.LLAMA_SERVER for one in bench.contestants):
        report.say("llama-server is not measured: neither --peers nor LLSTORE_PEERS names a folder with it")
    rows: list[tuple[str, ...]] = []
    remarks: list[str] = []
    expected, before = 0.0, numbers[0]
    try:
        for place, number in enumerate(numbers):
            expected *= max(number, serve.LEAST) / max(before, serve.LEAST)  # it is asked so many more requests
            acts = {one.name: partial(_streamed, bench, one, number) for one in bench.contestants}
            share = budget.share(1 / (len(numbers) - place))
            turns = in_turns(acts, share, rounds=bench.given.rounds, expected=expected)
            expected, before = turns.longest or expected, number
            rows += [(str(number), *_served(name, turns)) for name in acts if turns.found[name]]
            remarks += _remarks(f"{number} streams", turns, {})
    finally:  # also when the time is up
        if rows:
            report.table(HEAD_SERVE, rows)
        report.say(*remarks)


def _streamed(bench: serve.Bench, one: servers.Server, number: int, turn: int) -> serve.Figures:
    print(f"  {number} streams, round {turn + 1}: {one.name}", file=sys.stderr, flush=True)
    found = serve.streamed(bench, one, number, turn + 1)
    if found.failed:
        raise RuntimeError(f"{found.failed} of {found.requests} requests failed: {found.reasons[0]}")
    return found


def _served(name: str, turns: Turns[serve.Figures]) -> tuple[str, ...]:
    found, theirs = turns.found[name], turns.found.get(servers.LLAMA_SERVER, [])
    pairs = zip(found, theirs, strict=False) if name != servers.LLAMA_SERVER else ()
    return (
        name,
        str(len(found)),
        spread([one.tokens_per_second for one in found], digits=1),
        spread([one.ttft_p95 for one in found], digits=0),
        spread([one.itl_p95 for one in found], digits=1),
        spread([ours.tokens_per_second / other.tokens_per_second for ours, other in pairs]),
    )


def _remarks(what: str, turns: Turns[Any], failed: dict[str, str]) -> list[str]:
    lines = [f"{what}, {name}: FAILED: {error}" for name, error in {**failed, **turns.failed}.items()]
    return lines + ([f"{what}: {turns.remark}"] if turns.remark else [])


def all_parts(report: Report, given: Namespace) -> None:
    """All parts, each in its share of the time."""
    total = Budget.of(60 * given.minutes - ENDING)
    asked = serve.arguments(["--rounds", str(given.rounds), "--streams", given.streams, "--turns", str(given.turns)])
    asked.peers = _peers(given.peers)
    file = given.file or models.fetch(given.model)
    with tempfile.TemporaryDirectory() as home:
        here = Machine.of(Path(home))
        build(report, here, file)
        demo(report, here, total.share(DEMO), file=file)
        runs(report, here, file, total.share(RUN), rounds=given.rounds)
    with serve.prepared(asked, file) as bench:
        serving(report, bench, total)


def _peers(folder: Path | None) -> Path | None:
    return folder if folder and (folder / servers.LLAMA_SERVER).is_file() else None


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeIsUp inside when the time is over: nothing that hangs makes it longer. SIGTERM does the same."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeIsUp

    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def arguments() -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(description="demo, run and serve on this machine's GPU, or on its processor.")
    parser.add_argument("--model", default="smollm2", choices=models.MODELS)
    parser.add_argument("--file", type=Path, metavar="MODEL.gguf", help="another model, in one file")
    peers = os.environ.get("LLSTORE_PEERS")
    parser.add_argument("--peers", type=Path, default=Path(peers) if peers else None, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="1,8,16,32")
    parser.add_argument("--turns", type=int, default=2, help="requests of each stream")
    parser.add_argument("--minutes", type=float, default=10.0, help="that all of it may take")
    parser.add_argument("--out", type=Path, metavar="FILE", help="for the report, besides stdout")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    report = Report("llstore on this machine")
    code = 0
    try:
        with limited(60 * given.minutes - ENDING):
            all_parts(report, given)
    except TimeIsUp:
        report.say("STOPPED here: the time was over; what is missing below was not measured")
    except (StoreError, RuntimeError, OSError) as error:
        report.say(f"FAILED here: {error}")
        code = 1
    print(report, end="")
    if given.out:
        given.out.write_text(str(report))
    return code


if __name__ == "__main__":
    sys.exit(main())
