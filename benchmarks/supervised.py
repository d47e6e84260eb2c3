"""What it costs that an engine is a process of its own, and what it saves that engines share the machine's cores.

Usage: python benchmarks/supervised.py [--model smollm2] [SECTION…]; ROUNDS and BUSY_SECONDS (of each measurement of
cores) from the environment. Sections: crash (SIGABRT under 16 streams, until they go on) and cores; both without any.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
from measure import ROUNDS, machine, spread

from llstore.runner import EngineSettings, Sampling
from llstore.runner.cores import Cores
from llstore.runner.engine.request import Request, Update
from llstore.runner.engine.restarts import Keeping
from llstore.runner.engine.supervisor import EngineProcess

SECONDS = float(os.environ.get("BUSY_SECONDS", "5"))
STREAMS = 4  # of each engine
PROMPT = tuple(range(1000, 1064))
CRASHED, ANSWER = 16, 64  # streams, and tokens of each


class Load:
    """Streams that never end; `tokens` counts what came."""

    def __init__(self, engine: EngineProcess) -> None:
        self.tokens = 0
        self._first = threading.Event()
        request = Request(PROMPT, Sampling(temperature=0, max_tokens=100_000, ignore_eos=True))
        for _ in range(STREAMS):
            engine.submit(request, self._count)
        self._first.wait(60)

    def _count(self, update: Update) -> None:
        self.tokens += len(update.tokens)
        self._first.set()


def rates(path: Path, engines: int, cores: Path | None) -> list[float]:
    """Tokens a second of each of so many busy engines; `cores` is the folder in which they share, if they do."""
    with ExitStack() as held:
        running = [held.enter_context(started(path, cores)) for _ in range(engines)]
        for engine in running:
            engine.wait_ready(60)
        loads = [Load(engine) for engine in running]
        before = [load.tokens for load in loads]
        time.sleep(SECONDS)
        return [(load.tokens - had) / SECONDS for load, had in zip(loads, before, strict=True)]


def started(path: Path, cores: Path | None) -> EngineProcess:
    """An engine of as many threads as there are cores."""
    settings = EngineSettings(8192, parallel=STREAMS, flash_attention=True)
    return EngineProcess([path], settings, keeping=Keeping(cores=cores))


@dataclass(frozen=True)
class Crash:
    """Seconds until an engine was ready first, what loading took of them, and from SIGABRT until the `first` of its
    streams went on, and the `last`; whether all said the `same` as undisturbed, or were at least `whole`."""

    start: float
    loading: float
    first: float
    last: float
    same: bool
    whole: bool


def crash(path: Path, *, exact: bool) -> Crash:
    """An engine is aborted in the middle of CRASHED streams."""
    settings = EngineSettings(256, parallel=CRASHED, flash_attention=not exact, exact=exact)
    began = time.perf_counter()
    with EngineProcess([path], settings) as engine:
        loading = engine.wait_ready(60).load_seconds
        start = time.perf_counter() - began
        undisturbed = Streams(engine)
        undisturbed.wait(lambda stream: stream.ended)
        streams = Streams(engine)
        streams.wait(lambda stream: len(stream.tokens) >= ANSWER // 4)
        began = time.perf_counter()
        os.kill(engine.pid or 0, signal.SIGABRT)
        while not engine.crashes:
            time.sleep(0.001)
        # All that the dead process had sent has been taken by now.
        for stream in streams.all:
            stream.again = 0.0
        streams.wait(lambda stream: stream.ended)
    again = [stream.again - began for stream in streams.all]
    whole = all(len(stream.tokens) == ANSWER for stream in streams.all)
    same = [stream.tokens for stream in streams.all] == [stream.tokens for stream in undisturbed.all]
    return Crash(start, loading, min(again), max(again), same, whole)


class Streams:
    """Requests that each make ANSWER tokens."""

    def __init__(self, engine: EngineProcess) -> None:
        self.all = [Stream() for _ in range(CRASHED)]
        sampling = Sampling(temperature=0, max_tokens=ANSWER, ignore_eos=True)
        for number, stream in enumerate(self.all):
            engine.submit(Request((*PROMPT[number:], *PROMPT[:number]), sampling), stream.take)

    def wait(self, until: Callable[["Stream"], bool]) -> None:
        """Until that is true of each."""
        while not all(map(until, self.all)):
            time.sleep(0.001)


class Stream:
    """What one of them has said; `again` is when its first token after that was set to 0 came."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.again = 1.0
        self.ended = False

    def take(self, update: Update) -> None:
        """The next."""
        self.tokens += update.tokens
        self.again = self.again or time.perf_counter()
        self.ended = update.end is not None


def tell_crashes(path: Path) -> None:
    """The figures of each round."""
    for exact in (False, True):
        found = [crash(path, exact=exact) for _ in range(ROUNDS)]
        start, loading, first, last = (
            spread([getattr(one, name) for one in found], unit="s") for name in ("start", "loading", "first", "last")
        )
        print(f"{'exact: ' if exact else ''}ready after {start}, of which loading {loading}")
        print(f"  SIGABRT under {CRASHED} streams: the first goes on after {first}, the last after {last}")
        whole, same = (sum(getattr(one, name) for one in found) for name in ("whole", "same"))
        print(f"  every stream whole {whole} times, the very same text {same} times")


def turn(folder: Path) -> float:
    """Microseconds that it takes to ask for cores and give them back, another engine being busy too."""
    with Cores(folder) as one, Cores(folder) as other, other.taken(1):
        times = []
        for _ in range(200):
            began = time.perf_counter()
            for _ in range(50):
                with one.taken(1):
                    pass
            times.append((time.perf_counter() - began) / 50 * 1e6)
        return median(times)


def tell_cores(path: Path) -> None:
    """What engines get that share cores, and that do not."""
    with tempfile.TemporaryDirectory() as folder:
        cores = Path(folder)
        print(f"asking for cores and giving them back: {turn(cores):.0f} us a step")
        for engines, shared in ((1, False), (1, True), (2, False), (2, True), (3, True)):
            found = [rates(path, engines, cores if shared else None) for _ in range(ROUNDS)]
            print(f"{engines} busy, {'sharing cores' if shared else 'each on its own'}: {told(found)}")


SECTIONS = {"crash": tell_crashes, "cores": tell_cores}


def main() -> None:
    parser = ArgumentParser(description="What it costs that an engine is a process, and what sharing cores saves.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=" ".join(SECTIONS))
    parser.add_argument("--model", default="smollm2", choices=models.MODELS)
    given = parser.parse_args()
    if unknown := {*given.sections} - {*SECTIONS}:
        parser.error(f"there is no section {' '.join(unknown)}")
    path = models.fetch(given.model)
    print(f"{path.name}, {ROUNDS} rounds, {machine()}, load {os.getloadavg()[0]:.1f}")
    for section in given.sections or SECTIONS:
        SECTIONS[section](path)


def told(found: Iterable[list[float]]) -> str:
    """The median tokens a second of each engine, and of all together."""
    rounds = list(found)
    each = [median(column) for column in zip(*(sorted(rates) for rates in rounds), strict=True)]
    return f"{' + '.join(f'{rate:.1f}' for rate in each)} tok/s, together {median(map(sum, rounds)):.1f}"


if __name__ == "__main__":
    main()
