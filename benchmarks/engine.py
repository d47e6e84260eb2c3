"""The engine beside llama.cpp's own programs: same model, threads, batch sizes and KV layout, in alternating rounds.

Usage: python benchmarks/engine.py [--model smollm2] [--peers DIR] [--parallel 1,8,16,32] [--no-repack] [SECTION…]
(ROUNDS=5)
Sections: batched own arrivals prefix flood fairness; all of them without any. DIR (or LLSTORE_PEERS) holds llama-bench,
llama-batched-bench and llama-server, built from the llama.cpp that llama-cpp-python carries; without it we run alone.
Each engine is closed before another starts. Times mean something on an idle machine only.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parent.parent / "fixtures"))

import models
from measure import ROUNDS, machine, spread

from llstore.runner.bench.contestants import LlamaCpp, Ours, room
from llstore.runner.bench.latencies import Load, jain, percentile
from llstore.runner.bench.load import Clients, closed, opened
from llstore.runner.bench.peers import Peers
from llstore.runner.bench.speed import BatchedTest
from llstore.runner.bench.suite import Contestant
from llstore.runner.bench.target import Target
from llstore.runner.bench.words import words
from llstore.runner.bench.workload import Asked, Lengths, Workload
from llstore.runner.engine_settings import EngineSettings
from llstore.runner.llama.model import LlamaModel, Loading

PROMPT, GENERATED = 64, 128  # tokens of each sequence of the batched test
Found = TypeVar("Found")
MIXED = Lengths(16, 256), Lengths(16, 128)  # of requests that arrive at random
FULL = 1.5  # of what we can answer: more arrives than any engine can do, so that its speed shows
ARRIVAL_SECONDS, LOAD_SECONDS = 30.0, 20.0
PREFIX, TAIL = 1000, 16
FLOOD, FLOOD_CLIENTS, STEADY_CLIENTS = 2000, 8, 4
OWNERS, EQUAL_CLIENTS, GREEDY = 8, 4, 10


@dataclass(frozen=True)
class Bench:
    """One model, and who runs it."""

    file: Path
    words: Sequence[int]
    peers: Path | None
    settings: EngineSettings
    repack: bool  # our weights; llama.cpp's own choice is to

    def contestants(self, **changes: int) -> list[Contestant]:
        """We, and llama.cpp where it is given, with these settings."""
        settings = replace(self.settings, **changes)
        ours = replace(settings, repack=self.repack)
        found: list[Contestant] = [Ours([self.file], ours, self.words)]
        if self.peers:
            found.append(LlamaCpp(Peers(self.peers, self.file), settings))
        return found

    def workload(self, prompt: Lengths, answer: Lengths, *, seed: int = 0, owner: str = "") -> Workload:
        """Requests of such lengths."""
        return Workload(self.words, prompt, answer, seed, owner)


def in_turns(contestants: list[Contestant], act: Callable[[Contestant, int], Found]) -> dict[str, list[Found]]:
    """What each found, round by round; who began one round ends the next."""
    found: dict[str, list[Found]] = {one.name: [] for one in contestants}
    for number in range(ROUNDS):
        for one in contestants[:: -1 if number % 2 else 1]:
            found[one.name].append(act(one, number))
    return found


def batched(bench: Bench, parallel: Sequence[int]) -> None:
    """So many sequences of the same lengths, against llama-batched-bench."""
    print(f"\nbatched: {PROMPT} prompt tokens, {GENERATED} generated, each in {room(PROMPT + GENERATED)} KV cells")
    for number in parallel:
        turns = in_turns(bench.contestants(), lambda one, _, n=number: one.batched(BatchedTest(PROMPT, GENERATED, n)))
        for what, speed in (("prompt", "prompt_speed"), ("generated", "generated_speed"), ("all", "speed")):
            compare(
                f"{number} sequences, {what}",
                {name: [getattr(found, speed) for found in rounds] for name, rounds in turns.items()},
                unit="tok/s",
            )


def own(bench: Bench) -> None:
    """What of a step at 16 sequences is not llama_decode."""
    ours = bench.contestants()[0]
    # Short prompts: all of them decode together for nearly all of the time.
    test = BatchedTest(8, GENERATED, 16)
    shares = [100 * ours.batched(test).own for _ in range(ROUNDS)]
    print(f"\nown time of a step at 16 sequences: {spread(shares, unit='%')} of it")


def arrivals(bench: Bench) -> None:
    """Requests of mixed length at random times, more than can be served, against llama-server."""
    contestants = bench.contestants(context_size=room(sum(lengths.most for lengths in MIXED)))
    with contestants[0].target() as target:
        full = closed(target, [Clients(bench.workload(*MIXED).asks(), 16)], seconds=2 * LOAD_SECONDS, cut=True)
    rate = FULL * full.tokens_per_second / MIXED[1].mean

    def load(one: Contestant, number: int) -> Load:
        schedule = bench.workload(*MIXED, seed=number).schedule(rate=rate, seconds=ARRIVAL_SECONDS)
        with one.target() as target:
            return opened(target, schedule)

    turns = in_turns(contestants, load)
    print(f"\narrivals: {MIXED[0]} prompt tokens, {MIXED[1]} generated, {rate:.2f} a second for {ARRIVAL_SECONDS:g} s")
    compare("generated tokens", rounds_of(turns, lambda load: load.tokens_per_second), unit="tok/s")
    compare("p95 ITL", rounds_of(turns, lambda load: 1000 * load.itl().p95), unit="ms")
    compare("p95 TTFT", rounds_of(turns, lambda load: 1000 * load.ttft().p95), unit="ms")
    tell_failures(turns)


def prefix(bench: Bench) -> None:
    """The first and the second time that a long prefix is seen, each with an end of its own."""

    def times(one: Contestant, number: int) -> tuple[float, float]:
        drawn = bench.workload(Lengths(PREFIX + TAIL, PREFIX + TAIL), Lengths(1, 1), seed=number).asks()
        first, other = next(drawn), next(drawn)
        second = replace(first, prompt=first.prompt[:PREFIX] + other.prompt[PREFIX:])
        with one.target() as target:
            warm = next(bench.workload(Lengths(64, 64), Lengths(2, 2), seed=-1).asks())
            _, before, after = (ttft(target, asked) for asked in (warm, first, second))
        return before, after

    turns = in_turns(bench.contestants(context_size=room(PREFIX + TAIL))[:1], times)
    print(f"\nprefix of {PREFIX} tokens, and {TAIL} more")
    for name, rounds in turns.items():
        print(f"  {name}: first {spread([1000 * first for first, _ in rounds], unit='ms')}, "
              f"again {spread([1000 * again for _, again in rounds], unit='ms')}, "
              f"again/first {spread([again / first for first, again in rounds], unit='x', digits=3)}")  # fmt: skip


def ttft(target: Target, asked: Asked) -> float:
    """Time to the first token of one request alone."""
    return opened(target, [(0.0, asked)]).records[0].ttft


def flood(bench: Bench) -> None:
    """What an owner's streams suffer from another's long prompts."""
    steady = bench.workload(Lengths(16, 64), Lengths(128, 256), owner="steady")
    flooding = bench.workload(Lengths(FLOOD, FLOOD), Lengths(16, 16), owner="flood")

    def p95s(one: Contestant, number: int) -> tuple[float, float]:
        found = []
        for groups in ([(steady, STEADY_CLIENTS)], [(steady, STEADY_CLIENTS), (flooding, FLOOD_CLIENTS)]):
            clients = [Clients(replace(work, seed=number).asks(), many) for work, many in groups]
            with one.target() as target:
                load = closed(target, clients, seconds=LOAD_SECONDS, cut=True)
            found.append(1000 * percentile(load.owned("steady").gaps(), 95))
        return found[0], found[1]

    turns = in_turns(bench.contestants(context_size=room(FLOOD + 16)), p95s)
    print(f"\nflood: {FLOOD_CLIENTS} clients with prompts of {FLOOD} tokens, {STEADY_CLIENTS} streams of another owner")
    for name, rounds in turns.items():
        print(f"  {name}: p95 ITL of the other owner {spread([alone for alone, _ in rounds], unit='ms')} alone, "
              f"{spread([beside for _, beside in rounds], unit='ms')} beside it, "
              f"{spread([beside / alone for alone, beside in rounds], unit='x')}")  # fmt: skip


def fairness(bench: Bench) -> None:
    """What equal owners get, prompt and generated tokens together, of whom one asks for ten times as much."""

    def index(one: Contestant, number: int) -> float:
        numbers = {f"owner {n}": EQUAL_CLIENTS * (1 if n else GREEDY) for n in range(OWNERS)}
        clients = [
            Clients(bench.workload(Lengths(16, 128), Lengths(16, 64), seed=number, owner=owner).asks(), many)
            for owner, many in numbers.items()
        ]
        with one.target() as target:
            load = closed(target, clients, seconds=2 * LOAD_SECONDS, cut=True)
        return jain([served(load.owned(owner)) for owner in numbers])

    turns = in_turns(bench.contestants(context_size=room(192)), index)
    print(f"\nfairness: Jain's index over {OWNERS} owners, one of whom has {GREEDY} times the clients of the others")
    for name, rounds in turns.items():
        print(f"  {name}: {spread(rounds, unit='')}")


def served(load: Load) -> int:
    """Tokens that an owner was given while the load was on; a prompt counts when its first token comes."""
    prompts = (one.prompt_tokens for one in load.records if one.times and load.within(one.times[0]))
    return load.tokens + sum(prompts)


def rounds_of(turns: dict[str, list[Load]], value: Callable[[Load], float]) -> dict[str, list[float]]:
    """One figure of each round."""
    return {name: [value(load) for load in loads] for name, loads in turns.items()}


def compare(what: str, rounds: dict[str, list[float]], *, unit: str) -> None:
    """Each engine's figure, and ours over theirs round by round."""
    ours, *others = rounds.values()
    words = [f"{name} {spread(values, unit=unit, digits=1)}" for name, values in rounds.items()]
    ratios = [
        f"ratio {spread([a / b for a, b in zip(ours, theirs, strict=True)], unit='x', digits=3)}" for theirs in others
    ]
    print(f"  {what}: {'; '.join(words + ratios)}", flush=True)


def tell_failures(turns: dict[str, list[Load]]) -> None:
    """A refused request makes an engine look fast."""
    for name, loads in turns.items():
        if failed := [record.error for load in loads for record in load.failed]:
            print(f"  {name}: {len(failed)} requests FAILED, such as: {failed[0]}")


SECTIONS = {one.__name__: one for one in (own, arrivals, prefix, flood, fairness)}


def main() -> None:
    parser = ArgumentParser(description="The engine beside llama.cpp's own programs.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"batched {' '.join(SECTIONS)}")
    parser.add_argument("--model", default="smollm2", choices=models.MODELS)
    parser.add_argument("--peers", type=Path, default=os.environ.get("LLSTORE_PEERS"), metavar="DIR")
    parser.add_argument("--parallel", default="1,8,16,32")
    parser.add_argument("--no-repack", action="store_true", help="for us, where llstore tune finds it faster")
    given = parser.parse_args()
    sections = given.sections or ["batched", *SECTIONS]
    if unknown := {*sections} - {"batched", *SECTIONS}:
        parser.error(f"there is no section {' '.join(unknown)}")
    file = models.fetch(given.model)
    with LlamaModel(file, Loading(vocabulary_only=True)) as model:
        vocabulary = words(model)
    settings = EngineSettings(context_size=256, parallel=16, flash_attention=True)
    bench = Bench(file, vocabulary, Path(given.peers) if given.peers else None, settings, repack=not given.no_repack)
    print(f"{file.name}, {ROUNDS} alternating rounds, {machine()}, {settings.threads} threads")
    for section in sections:
        if section == "batched":
            batched(bench, [int(number) for number in given.parallel.split(",")])
        else:
            SECTIONS[section](bench)


if __name__ == "__main__":
    main()
