"""What it costs that an engine is a process of its own, and what it saves that engines share the machine's cores.

Usage: python benchmarks/supervised.py; ROUNDS and BUSY_SECONDS (of each measurement) from the environment.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
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


def restart(path: Path) -> tuple[float, float, float]:
    """Seconds until an engine is ready, what loading took of them, and from SIGABRT until the next token."""
    began = time.perf_counter()
    with started(path, None) as engine:
        ready = engine.wait_ready(60)
        start = time.perf_counter() - began
        load = Load(engine)
        began, had = time.perf_counter(), load.tokens
        os.kill(engine.pid or 0, signal.SIGABRT)
        while not engine.crashes or load.tokens == had:
            had = load.tokens if not engine.crashes else had
            time.sleep(0.001)
        return start, ready.load_seconds, time.perf_counter() - began


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


def main() -> None:
    path = models.fetch("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        cores = Path(folder)
        print(f"SmolLM2-135M Q4_1, {ROUNDS} rounds, {machine()}, load {os.getloadavg()[0]:.1f}")
        starts, loads, again = zip(*(restart(path) for _ in range(ROUNDS)), strict=True)
        print(f"ready after {spread(starts, unit='s')}, of which loading {spread(loads, unit='s')}")
        print(f"from SIGABRT to the next token: {spread(again, unit='s')}")
        print(f"asking for cores and giving them back: {turn(cores):.0f} us a step")
        for engines, shared in ((1, False), (1, True), (2, False), (2, True), (3, True)):
            found = [rates(path, engines, cores if shared else None) for _ in range(ROUNDS)]
            print(f"{engines} busy, {'sharing cores' if shared else 'each on its own'}: {told(found)}")


def told(found: Iterable[list[float]]) -> str:
    """The median tokens a second of each engine, and of all together."""
    rounds = list(found)
    each = [median(column) for column in zip(*(sorted(rates) for rates in rounds), strict=True)]
    return f"{' + '.join(f'{rate:.1f}' for rate in each)} tok/s, together {median(map(sum, rounds)):.1f}"


if __name__ == "__main__":
    main()
