"""`llstore serve` beside llama-server and llama-cpp-python's two servers: one and the same client, alternating rounds.

Usage: python benchmarks/serve.py [--model smollm2] [--peers DIR] [--python-server PYTHON] [--example-server FILE]
[--only NAME,…] [--streams 1,8,16,32] [--turns 2] [--rounds 5] [--gpu-layers N] [--json FILE] [SECTION…]
Sections: streams arrivals connect flood; all of them without any. Every turn starts its server anew and ends it: none
idles beside another. docs/bench.md says what the others need. Times mean something on an idle machine only.
"""

import json
import math
import os
import signal
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
import servers
from connections import Outcome, connect, open_files
from measure import machine
from servers import Running, Server, running

from llstore.runner.bench.contestants import room
from llstore.runner.bench.http_target import HttpTarget
from llstore.runner.bench.latencies import Load, percentile
from llstore.runner.bench.load import Clients, closed, opened
from llstore.runner.bench.words import words
from llstore.runner.bench.workload import Asked, Lengths, Workload
from llstore.runner.engine_settings import EngineSettings
from llstore.runner.llama.model import LlamaModel, Loading
from llstore.runner.placement.facts import ModelFacts
from llstore.runner.placement.layout import most_layers
from llstore.runner.placement.machine import measured
from llstore.store.gguf import read_header

PROMPT, ANSWER = Lengths(60, 60), Lengths(128, 128)
LEAST = 4  # streams whose requests are asked, however few they are
FOREVER = 1e6  # seconds: a load that ends with its requests
MIXED = Lengths(16, 256), Lengths(16, 128)  # of requests that arrive at random
ARRIVAL_SLOTS, ARRIVAL_SECONDS, BUSY = 16, 30.0, 0.8
CLIENTS, SHORT, CONNECT_SLOTS = 1000, Lengths(16, 16), 16
STEADY, FLOODING, NO_KEYS = "steady", "flooding", MappingProxyType[str, str]({})
CALM, FLOOD, STEADY_CLIENTS, FLOOD_CLIENTS, FLOOD_SECONDS = (
    (Lengths(16, 64), Lengths(128, 256)),
    Lengths(900, 900),
    4,
    8,
    20.0,
)
UNITS = ("tok/s", "tok/s full", "TTFT p50", "TTFT p95", "ITL p50", "ITL p95")
Found = TypeVar("Found")
Turns = dict[str, list[Found]]


@dataclass(frozen=True)
class Figures:
    """One load: tokens a second of all its time and of the part in which all streams were at work, latencies in
    milliseconds, requests that failed, and those that were not given as many tokens as they asked for."""

    tokens_per_second: float
    full_tokens_per_second: float
    ttft_p50: float
    ttft_p95: float
    itl_p50: float
    itl_p95: float
    requests: int
    tokens: int
    failed: int
    other_length: int
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, load: Load, *, streams: int = 0, asked: int | None = None) -> "Figures":
        """Those of a load, of so many streams and tokens each where it has such."""
        ttft, itl = load.ttft(), load.itl()
        times = (1000 * one for one in (ttft.p50, ttft.p95, itl.p50, itl.p95))
        return cls(
            load.tokens_per_second,
            load.full(streams) if streams else math.nan,
            *times,
            requests=len(load.records),
            tokens=load.tokens,
            failed=len(load.failed),
            other_length=sum(asked is not None and len(one.times) != asked for one in load.whole),
            reasons=tuple(sorted({one.error for one in load.failed})),
        )

    @property
    def shown(self) -> tuple[float, ...]:
        """Those that a table shows, as UNITS names them."""
        latencies = self.ttft_p50, self.ttft_p95, self.itl_p50, self.itl_p95
        return self.tokens_per_second, self.full_tokens_per_second, *latencies


@dataclass(frozen=True)
class Bench:
    """One model, who serves it, and how often; `pieces` are words of its vocabulary by their tokens."""

    contestants: Sequence[Server]
    pieces: Mapping[int, str]
    settings: EngineSettings
    given: Namespace

    def asks(self, prompt: Lengths, answer: Lengths, seed: int) -> Workload:
        """Requests of such lengths, of which none was sent before with another seed."""
        return Workload(list(self.pieces), prompt, answer, seed)

    @contextmanager
    def serving(
        self, one: Server, settings: EngineSettings, *, keep: bool = True, keys: Mapping[str, str] = NO_KEYS
    ) -> Iterator[tuple[HttpTarget, Running]]:
        """A contestant at work that has answered a request."""

        def body(asked: Asked) -> dict[str, Any]:
            text = "".join(self.pieces[token] for token in asked.prompt)
            return {"prompt": text, "max_tokens": asked.max_tokens, "temperature": 0, **one.body}

        with running(one, settings) as server, HttpTarget(server.port, body, name=one.name, keep=keep) as target:
            target.keys.update(keys)
            asked = Workload(list(self.pieces), PROMPT, SHORT, -1, next(iter(keys), "")).asks()
            warm = opened(target, [(0.0, next(asked))])
            if warm.failed:
                raise RuntimeError(f"{one.name}: {warm.failed[0].error}")
            yield target, server

    def in_turns(self, contestants: Sequence[Server], act: Callable[[Server, int], Found]) -> Turns[Found]:
        """What each found, round by round, with a seed of its own; who began one round ends the next."""
        found: Turns[Found] = {one.name: [] for one in contestants}
        seed = 0
        for number in range(self.given.rounds):
            for one in contestants[:: -1 if number % 2 else 1]:
                seed += 1
                print(f"\r  round {number + 1}: {one.name:<20}", end="", file=sys.stderr, flush=True)
                found[one.name].append(act(one, seed))
        print("\r" + 40 * " " + "\r", end="", file=sys.stderr, flush=True)
        return found


def streamed(bench: Bench, one: Server, number: int, seed: int) -> Figures:
    """So many streams at once, each asking again when it was answered."""
    settings = replace(bench.settings, parallel=number, context_size=room(PROMPT.most + ANSWER.most))
    asks = islice(bench.asks(PROMPT, ANSWER, 1000 * number + seed).asks(), bench.given.turns * max(number, LEAST))
    with bench.serving(one, settings) as (target, _):
        loaded = closed(target, [Clients(asks, number)], seconds=FOREVER)
    return Figures.of(loaded, streams=number, asked=ANSWER.most)


def streams(bench: Bench) -> dict[str, Turns[Figures]]:
    """Each number of streams, one after another."""
    found = {}
    for number in map(int, bench.given.streams.split(",")):

        def load(one: Server, seed: int, n: int = number) -> Figures:
            return streamed(bench, one, n, seed)

        turns = found[str(number)] = bench.in_turns(bench.contestants, load)
        table(f"{number} streams: {PROMPT.most} prompt tokens, {ANSWER.most} generated", turns)
    return found


def arrivals(bench: Bench) -> dict[str, Any]:
    """Requests of mixed length at random times, a little fewer than the first contestant can answer."""
    settings = replace(bench.settings, parallel=ARRIVAL_SLOTS, context_size=room(sum(one.most for one in MIXED)))
    several = [one for one in bench.contestants if not one.serial]
    if not (rate := bench.given.rate):
        with bench.serving(several[0], settings) as (target, _):
            full = closed(target, [Clients(bench.asks(*MIXED, 0).asks(), ARRIVAL_SLOTS)], seconds=20, cut=True)
        rate = BUSY * full.tokens_per_second / MIXED[1].mean

    def load(one: Server, seed: int) -> Figures:
        # The lengths and times of a round are the same for all; where each starts anew, so may the prompts be.
        schedule = bench.asks(*MIXED, seed=(seed - 1) // len(several)).schedule(rate=rate, seconds=ARRIVAL_SECONDS)
        with bench.serving(one, settings) as (target, _):
            return Figures.of(opened(target, schedule))

    turns = bench.in_turns(several, load)
    table(f"arrivals: {MIXED[0]} prompt tokens, {MIXED[1]} generated, {rate:.2f} a second", turns)
    return {"rate": rate, "rounds": turns}


def connections(bench: Bench) -> dict[str, Any]:
    """Many clients at once, who go when they are refused, and who come again."""
    settings = replace(bench.settings, parallel=CONNECT_SLOTS, context_size=room(PROMPT.most + SHORT.most))
    asks = list(islice(bench.asks(PROMPT, SHORT, seed=1).asks(), bench.given.clients))
    found: dict[str, Any] = {}
    print(f"\nconnect: {len(asks)} clients at once, {SHORT.most} tokens each, {CONNECT_SLOTS} slots")
    for one in bench.contestants:
        if one.serial:
            continue
        for retry in (False, True):
            with bench.serving(one, settings, keep=False) as (target, server), open_files():
                outcome = connect(target, asks, retry=retry)
                peaks = server.peaks()
            found[f"{one.name}, {'retrying' if retry else 'once'}"] = asdict(outcome) | {"peaks": peaks}
            tell(f"{one.name}, {'coming again when refused' if retry else 'asking once'}", outcome, peaks)
    return found


def flood(bench: Bench) -> dict[str, Any]:
    """What a tenant's streams suffer from another's long prompts: each has a key of its own."""
    ours = next(one for one in bench.contestants if one.name == servers.OURS)
    home = Path(ours.environment["LLSTORE_HOME"])
    keys = {owner: servers.key(owner, home) for owner in (STEADY, FLOODING)}
    settings = replace(bench.settings, parallel=ARRIVAL_SLOTS, context_size=room(FLOOD.most + SHORT.most))

    def p95s(one: Server, seed: int) -> tuple[float, float]:
        steady = Clients(Workload(list(bench.pieces), *CALM, seed, STEADY).asks(), STEADY_CLIENTS)
        flooding = Clients(Workload(list(bench.pieces), FLOOD, SHORT, seed, FLOODING).asks(), FLOOD_CLIENTS)
        found = []
        with bench.serving(one, settings, keys=keys) as (target, _):
            for clients in ([steady], [steady, flooding]):
                load = closed(target, clients, seconds=FLOOD_SECONDS, cut=True)
                found.append(1000 * percentile(load.owned(STEADY).gaps(), 95))
        return found[0], found[1]

    rounds = bench.in_turns([ours], p95s)[ours.name]
    print(
        f"\nflood: {FLOOD_CLIENTS} clients with prompts of {FLOOD} tokens, {STEADY_CLIENTS} streams of another tenant"
    )
    row("p95 ITL", [(*pair, pair[1] / pair[0]) for pair in rounds], digits=2)
    return {"alone_and_beside": rounds}


def tell(what: str, outcome: Outcome, peaks: Mapping[str, int]) -> None:
    """What became of a crowd."""
    others = ", ".join(f"{count} x {kind}" for kind, count in outcome.others.most_common()) or "nothing else"
    memory = ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items())
    waited = outcome.waited
    served = f"served after {waited.p50:.1f} s (p95 {waited.p95:.1f})"
    print(f"  {what}: {outcome.complete} complete ({outcome.tokens} tokens), {others}")
    print(f"    all answered in {outcome.seconds:.1f} s, {served}; peak {memory}", flush=True)


def table(what: str, turns: Turns[Figures]) -> None:
    """Medians and ranges of each contestant, and ours over llama-server's round by round."""
    print(f"\n{what}\n  {'':18}" + "".join(f"{unit:>24}" for unit in UNITS))
    for name, rounds in turns.items():
        row(name, [one.shown for one in rounds], digits=1)
    if servers.OURS in turns and servers.LLAMA_SERVER in turns:
        pairs = zip(turns[servers.OURS], turns[servers.LLAMA_SERVER], strict=True)
        row(
            "ratio",
            [[a / b for a, b in zip(ours.shown, theirs.shown, strict=True)] for ours, theirs in pairs],
            digits=3,
        )
    for name, rounds in turns.items():
        if failed := [reason for one in rounds for reason in one.reasons]:
            print(f"  {name}: {sum(one.failed for one in rounds)} requests FAILED, such as: {failed[0]}")
        if others := sum(one.other_length for one in rounds):
            print(f"  {name}: {others} of {sum(one.requests for one in rounds)} answers have ANOTHER LENGTH")
    sys.stdout.flush()


def row(name: str, rounds: Sequence[Sequence[float]], *, digits: int) -> None:
    """A line of medians and ranges, a dash where there was nothing to measure."""
    cells = []
    for values in zip(*rounds, strict=True):
        found = sorted(one for one in values if math.isfinite(one))
        between = f" ({found[0]:.{digits}f}-{found[-1]:.{digits}f})" if len(found) > 1 else ""
        cells.append(f"{median(found):.{digits}f}{between}" if found else "-")
    print(f"  {name:18}" + "".join(f"{cell:>24}" for cell in cells))


SECTIONS: dict[str, Callable[[Bench], Any]] = {
    "streams": streams,
    "arrivals": arrivals,
    "connect": connections,
    "flood": flood,
}


def contestants(given: Namespace, file: Path, ends: Mapping[str, float], home: Path) -> list[Server]:
    """Whoever is there, we first; of these those that `--only` names."""
    wanted = given.only.split(",") if given.only else None
    found = []
    if wanted is None or servers.OURS in wanted:
        found.append(servers.ours(servers.stored(file, home), home))
    if given.peers:
        found.append(servers.llama_server(Path(given.peers), file))
    if given.python_server:
        found.append(servers.packaged(given.python_server, file, ends))
    if given.example_server:
        found.append(servers.example(given.python_server or Path(sys.executable), given.example_server, file, ends))
    return [one for one in found if wanted is None or one.name in wanted]


@contextmanager
def prepared(given: Namespace, file: Path) -> Iterator[Bench]:
    """What is needed to ask about that model."""
    with LlamaModel(file, Loading(vocabulary_only=True)) as model:
        pieces = {token: model.piece(token).decode() for token in words(model)}
        ends = {str(token): -100.0 for token in range(model.vocabulary_size) if model.is_end(token)}
    on_gpu = gpu_layers(file) if given.gpu_layers is None else given.gpu_layers
    settings = EngineSettings(context_size=256, threads=given.threads, flash_attention=True, gpu_layers=on_gpu)
    with tempfile.TemporaryDirectory() as home:
        yield Bench(contestants(given, file, ends, Path(home)), pieces, settings, given)


def gpu_layers(file: Path) -> int:
    """All layers of a model, the output's among them, where llama.cpp can use a GPU; else none."""
    return all_layers(file) if measured().used_gpus else 0


def all_layers(file: Path) -> int:
    """How many layers of a model can be on GPUs."""
    with file.open("rb") as opened:
        return most_layers(ModelFacts.of([read_header(opened, file.stat().st_size)]).need)


def arguments(line: Sequence[str] | None = None) -> Namespace:
    """What the command line says, or another line."""
    parser = ArgumentParser(description="llstore serve beside llama-server and llama-cpp-python's servers.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=" ".join(SECTIONS))
    parser.add_argument("--model", default="smollm2", choices=models.MODELS)
    parser.add_argument("--peers", type=Path, default=os.environ.get("LLSTORE_PEERS"), metavar="DIR")
    parser.add_argument("--python-server", type=Path, metavar="PYTHON", help="that can import llama_cpp.server")
    parser.add_argument("--example-server", type=Path, metavar="FILE", help="examples/server/server.py")
    parser.add_argument("--only", metavar="NAME,…", help="llstore llama-server llama_cpp.server example")
    parser.add_argument("--streams", default="1,8,16,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=EngineSettings(1).threads, help="of each, for prompts and answers"
    )
    parser.add_argument("--gpu-layers", type=int, metavar="N", help="of ours and llama-server; by default all")
    parser.add_argument("--turns", type=int, default=2, help="requests of each stream")
    parser.add_argument("--rate", type=float, help="arrivals a second; by default 0.8 of what the first can answer")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(line)
    if unknown := {*given.sections} - {*SECTIONS}:
        parser.error(f"there is no section {' '.join(unknown)}")
    return given


def plain(figures: Figures) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(figures).items()
    }


def main() -> None:
    given = arguments()
    # Ended from outside, it ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    file = models.fetch(given.model)
    with prepared(given, file) as bench:
        about = f"{file.name}, {given.rounds} alternating rounds, {machine()}, {bench.settings.threads} threads"
        print(f"{about}, {bench.settings.gpu_layers} layers on GPUs; latencies in ms")
        found = {name: SECTIONS[name](bench) for name in given.sections or SECTIONS}
    if given.json:
        given.json.write_text(json.dumps({"about": about, **found}, default=plain, indent=1))


if __name__ == "__main__":
    main()
