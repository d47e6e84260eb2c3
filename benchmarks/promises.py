"""What is promised in seconds, and what it takes here: the tests count steps, and a busy machine does not fail them.

Usage: python benchmarks/promises.py [KIND…], which measures the promises of the kinds named, or all.
Exits with 1 when one is not kept. What a server promises is in served_promises.py.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import flaky
import hostile_templates
import models
import shared_cores
import tiny as tiny_model
from flaky import BLOCK_SIZE, Flaky, check_whole, content, downloading, silent, truth
from measure import machine
from worst_headers import WORST

from llstore.runner import EngineSettings, Sampling, TemplateFailed
from llstore.runner.chat.lint import lint
from llstore.runner.chat.template import MAX_SOURCE, Template
from llstore.runner.cores import Cores
from llstore.runner.engine.engine import Engine
from llstore.runner.engine.request import Request
from llstore.runner.llama import LlamaModel
from llstore.runner.llama.sampler import Sampler
from llstore.runner.observe import events
from llstore.runner.observe.log import EventLog
from llstore.runner.placement.choose import choose
from llstore.runner.placement.facts import ModelFacts
from llstore.runner.placement.machine import Machine
from llstore.runner.placement.tuning import tune
from llstore.runner.placement.wanted import Wanted
from llstore.runner.tenants.keyfile import KeyFile
from llstore.runner.text import TextStream
from llstore.store.errors import StoreError, Unreachable, Unsafe
from llstore.store.gguf import read_header
from llstore.store.transfer.download import Pace

NOW = 1_760_000_000.0


@dataclass(frozen=True, slots=True)
class Promise:
    """That a figure is between `least` and `most`."""

    said: str
    found: float
    most: float
    least: float = 0.0
    unit: str = "s"

    @property
    def kept(self) -> bool:
        """Whether it is."""
        return self.least <= self.found <= self.most


Measured = Callable[[Path], Iterator[Promise]]


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """How long `work` takes, by that clock."""
    began = clock()
    work()
    return clock() - began


def processor(work: Callable[[], object]) -> float:
    """How many seconds of the processor `work` takes."""
    return seconds(work, time.process_time)


def headers(folder: Path) -> Iterator[Promise]:
    """The gate reads headers that strangers wrote."""
    for name, made in WORST.items():
        data = made()

        def read(data: bytes = data) -> None:
            with suppress(Unsafe):
                read_header(io.BytesIO(data), len(data))

        yield Promise(f"a header with the most {name} is read", processor(read), 1)


def templates(folder: Path) -> Iterator[Promise]:
    """Templates that strangers wrote are linted and rendered."""
    for piece in ("{{a|e}}", "{{a~a}}\n", "{%if a%}{%endif%}", "{{[[["):
        source = piece * (MAX_SOURCE // len(piece))
        yield Promise(f"the longest template of {piece.strip()} is linted", processor(lambda s=source: lint(s)), 4)

    def render(source: str, most: float) -> None:
        with suppress(TemplateFailed):
            Template(source, bos="", eos="", max_seconds=most).render([{"role": "user", "content": "x"}])

    slowest = max(seconds(lambda s=source: render(s, 2.0)) for source in hostile_templates.HOSTILE)
    yield Promise("the slowest hostile template is ended, of 2 s", slowest, 4)
    yield Promise("a template's loop is ended, of 0.2 s", seconds(lambda: render(hostile_templates.LOOP, 0.2)), 1)


def texts(folder: Path) -> Iterator[Promise]:
    """What looks at every text."""
    odd = ("bearer ", "llstore-", "bearer%20", "llstore-%20:=", "bearer:", "bearer llstore-", "=" * 20)

    def log(text: str) -> None:
        with EventLog(io.StringIO()) as lines:
            lines.write(events.Refused(reason=text * 100, status=400))

    slowest = max(processor(lambda t=text: log(t)) for text in odd)
    yield Promise("a value of 2,000 characters is looked at for keys", slowest, 0.5)

    def push() -> None:
        stream = TextStream(tuple("a" * 10_000 + character for character in "bcdef"))
        for _ in range(20_000):
            stream.push(b"a")

    yield Promise("20,000 pieces beside stop strings of 10,000 characters", processor(push), 2)


def keys(folder: Path) -> Iterator[Promise]:
    """What each request costs."""
    with KeyFile(folder / "keys.db") as file:
        texts = [file.create("t", now=NOW).text for _ in range(20)]
        ring = file.load()
        asked = seconds(lambda: [file.changed() for _ in range(200)]) / 200
        yield Promise("a file of keys is asked whether it changed", asked * 1e3, 5, unit="ms")
        found = seconds(lambda: [ring.find(text, NOW) for _ in range(50) for text in texts]) / 1000
        yield Promise("a key is found", found * 1e3, 1, unit="ms")


def cores(folder: Path) -> Iterator[Promise]:
    """Engines that share cores."""
    with Cores(folder / "a", cores=2) as one, Cores(folder / "a", cores=2) as other, other.taken(1):

        def turns() -> None:
            for _ in range(50):
                with one.taken(1):
                    pass

        yield Promise("a turn", min(seconds(turns) / 50 for _ in range(20)) * 1e6, 50, unit="µs")
    used = shared_cores.used(folder / "b", steps=(0.002, 0.002, 0.02), seconds=2.0)
    yield Promise("who has least of a core, of who has most, with other steps", min(used) / max(used), 1, 0.5, unit="x")


def transfers(folder: Path) -> Iterator[Promise]:
    """Downloads from stores that fail."""
    size, pace = 3 * BLOCK_SIZE, Pace(connections=2, timeout=0.5)
    for fault in (flaky.refuse, flaky.cut, flaky.shorten, flaky.stall, flaky.drip):

        def fail(fault: flaky.Fault = fault) -> None:
            part = flaky.PartFile(folder / "part", size=size)
            with (
                suppress(Unreachable),
                downloading(Flaky(content(size), fault), part, truth(size).blocks, pace) as download,
            ):
                download.run(silent)

        yield Promise(f"a store that does not cease to {fault.__name__} is given up, of 0.5 s", seconds(fail), 4, 0.4)

    def hedge() -> None:
        stalled = Flaky(content(BLOCK_SIZE), lambda f, p, s: flaky.stall(f, p, s) if len(f.asked) == 1 else p)
        check_whole(stalled, flaky.PartFile(folder / "hedged", size=BLOCK_SIZE), truth(BLOCK_SIZE).blocks)

    yield Promise("a range that stalls is hedged, after 3 s", seconds(hedge), 6, 3)

    def interrupt() -> None:
        def strike(done: int) -> None:
            raise KeyboardInterrupt

        part = flaky.PartFile(folder / "interrupted", size=size)
        with (
            suppress(KeyboardInterrupt, StoreError),
            downloading(Flaky(content(size), flaky.stall), part, None) as download,
        ):
            download.run(strike)

    yield Promise("an interrupt ends a download from a store that hangs", seconds(interrupt), 1.5)


def engines(folder: Path) -> Iterator[Promise]:
    """The engine's own part of a step, and grammars that cost ever more."""
    with LlamaModel(models.fetch("smollm2")) as model:
        settings = EngineSettings(512, parallel=16, batch_size=64, threads=1, flash_attention=True)
        with Engine(model, settings) as engine:
            for id in range(16):
                prompt = tuple(model.tokenize(f"{id} and", add_special=True, parse_special=False))
                engine.submit(id, Request(prompt, Sampling(temperature=0, max_tokens=40)))
            while not engine.idle:
                engine.step()
            share = engine.stats.own_seconds / engine.stats.computed_seconds
            yield Promise("the engine's own part, of what the model computes", share, 0.1, unit="x")
        (a,) = model.tokenize("a", add_special=False, parse_special=False)
        text = 'root ::= s\ns ::= "a" s "b" | "a" s "c" | "a"'

        def accept() -> None:
            with Sampler(model, Sampling(grammar=text), 1) as sampler, suppress(Exception):
                list(map(sampler.accept, [a] * 40))

        yield Promise("a grammar that can be read in ever more ways is given up", seconds(accept), 30)


def tuning(folder: Path) -> Iterator[Promise]:
    """`llstore tune --seconds 2`, without the command."""
    path = tiny_model.write_tiny(folder / "tiny.gguf")
    with path.open("rb") as file:
        facts = ModelFacts.of([read_header(file, path.stat().st_size)])
    wanted = Wanted(parallel=4, context=256)
    placement = choose(facts, Machine(free=8 << 30, cores=2, most_threads=2), wanted)
    tuned = seconds(lambda: tune([path], placement, wanted, seconds=2.0, say=lambda line: None))
    yield Promise("a model is tuned, of 2 s", tuned, 30)


MEASURED: tuple[Measured, ...] = (headers, templates, texts, keys, cores, transfers, engines, tuning)


def report(measured: tuple[Measured, ...], words: list[str]) -> int:
    """Prints each promise and whether it is kept; returns the exit code."""
    broken = 0
    print(f"{machine()}; limits in brackets")
    for each in measured:
        if words and not any(word in each.__name__ for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for promise in each(Path(folder)):
                broken += not promise.kept
                limits = f"{promise.least:g}-{promise.most:g}" if promise.least else f"{promise.most:g}"
                state = "" if promise.kept else "  NOT KEPT"
                print(f"{promise.said}: {promise.found:.3g} {promise.unit} [{limits}]{state}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(report(MEASURED, sys.argv[1:]))
