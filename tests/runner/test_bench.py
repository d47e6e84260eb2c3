"""What a benchmark says: percentiles, goodput, fairness, loads that can be repeated, peers' figures as printed."""

import json
import math
import random
import sys
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from completions import completions
from hypothesis import given
from hypothesis import strategies as st

from llstore.runner.bench.latencies import CUT, Load, Record, Spread, jain, percentile
from llstore.runner.bench.limits import Limits
from llstore.runner.bench.llama_server import LlamaServer, ServerTarget, server_flags
from llstore.runner.bench.load import Clients, closed, opened
from llstore.runner.bench.peers import Peers, batched_speeds, bench_speeds, common_flags, named_shards
from llstore.runner.bench.speed import BatchedSpeed, BatchedTest, Speed
from llstore.runner.bench.suite import Plan, Suite
from llstore.runner.bench.target import Arrival, Arrived, Cancel
from llstore.runner.bench.words import words
from llstore.runner.bench.workload import Asked, Lengths, Workload, arrivals
from llstore.runner.engine_settings import EngineSettings
from llstore.runner.errors import InvalidLoad, PeerFailed

FIXTURES = Path(__file__).parents[2] / "fixtures"
SECONDS = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)

SOON = 30.0


def record(
    *times: float, submitted: float = 0.0, ended: float | None = None, error: str = "", owner: str = ""
) -> Record:
    return Record(submitted, times, times[-1] if ended is None else ended, prompt_tokens=1, owner=owner, error=error)


# Latencies


def test_a_request_is_timed_from_when_it_was_due() -> None:
    asked = record(1.5, 1.7, 2.0, submitted=1.0)
    assert (asked.ttft, asked.seconds) == (0.5, 1.0)
    assert asked.gaps == pytest.approx((0.2, 0.3))
    assert asked.tpot == pytest.approx(0.25)


def test_tokens_that_come_together_are_one_arrival() -> None:
    assert record(1.0, 1.0, 1.0, 2.0).gaps == (1.0,)


def test_a_request_without_tokens_never_had_a_first_one() -> None:
    assert record(ended=3.0).ttft == math.inf


@given(SECONDS, st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), rel=1e-9, abs=1e-9)


def test_a_spread_names_four_numbers() -> None:
    found = Spread.of(range(101))
    assert (found.mean, found.p50, found.p95, found.p99) == (50, 50, 95, 99)
    assert math.isnan(Spread.of([]).p95)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20))
def test_fairness_lies_between_one_owner_and_all(shares: list[float]) -> None:
    assert 1 / len(shares) - 1e-9 <= jain(shares) <= 1 + 1e-9


def test_fairness_is_1_for_equals_and_1_of_n_for_one_who_has_all() -> None:
    assert jain([3, 3, 3, 3]) == pytest.approx(1)
    assert jain([5, 0, 0, 0, 0]) == pytest.approx(0.2)
    assert jain([1, 2, 3]) == pytest.approx(36 / 42)


def test_speed_counts_what_came_while_the_load_was_on() -> None:
    load = Load((record(1, 2, 3), record(1, 9, 12)), began=0, seconds=10)
    assert load.tokens_per_second == 0.5
    assert load.requests_per_second == 0.1


def test_a_request_that_was_cut_off_counts_by_its_tokens_alone() -> None:
    load = Load((record(1, 2), record(1, 3, error=CUT), record(ended=1, error="refused")), began=0, seconds=4)
    assert load.tokens == 4
    assert (len(load.whole), len(load.failed)) == (1, 1)
    assert sorted(load.gaps()) == [1, 2]


def test_the_full_part_of_a_load_has_all_streams_in_it() -> None:
    load = Load((record(1, 2, 3, 4), record(2, 3, 4, 5, 9), record(5, 6, 8)), began=0, seconds=9)
    # Two had a token at 2, and fewer than two were left when the second ended, at 8.
    assert load.full(2) == pytest.approx((2 + 3 + 3) / 6)
    assert load.full(1) == pytest.approx(11 / 8)
    assert math.isnan(load.full(4))


def test_requests_that_are_answered_one_by_one_are_never_many() -> None:
    assert math.isnan(Load((record(1, 2), record(3, 4)), began=0, seconds=4).full(2))


# Goodput


def test_goodput_counts_who_kept_to_all_limits() -> None:
    fast, late, halting = record(0.4, 0.5, 0.6), record(0.6, 0.7), record(0.4, 0.9, 1.0)
    load = Load((fast, late, halting), began=0, seconds=2)
    limits = Limits.parse("ttft=500ms,itl=0.2s")
    assert [limits.met(one) for one in load.records] == [True, False, False]
    assert load.goodput(limits.met) == 0.5
    assert load.good_tokens_per_second(limits.met) == 1.5
    assert load.goodput(Limits().met) == 1.5


def test_a_limit_on_the_whole_and_on_a_token_of_the_output() -> None:
    assert Limits.parse("request=1s").met(record(0.5, 1.0))
    assert not Limits.parse("request=1s").met(record(0.5, 1.1))
    assert Limits.parse("tpot=100ms").met(record(5.0, 5.05, 5.19))
    assert not Limits.parse("tpot=100ms").met(record(5.0, 5.05, 5.21))


@pytest.mark.parametrize("text", ["", "ttft", "ttft=5", "ttft=-5ms", "speed=5ms", "ttft=5ms;itl=1s", "ttft=nan"])
def test_a_limit_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidLoad, match="limit"):
        Limits.parse(text)


# Loads


def workload(seed: int = 0, owner: str = "", count: int = 500) -> Workload:
    return Workload(range(count), Lengths(3, 9), Lengths(1, 5), seed, owner)


def test_the_same_seed_asks_the_same_and_another_something_else() -> None:
    first, same, other = (list(islice(workload(seed).asks(), 20)) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert first != list(islice(workload(1, "someone").asks(), 20))


def test_lengths_cover_their_range() -> None:
    asked = list(islice(workload().asks(), 300))
    assert {len(one.prompt) for one in asked} == set(range(3, 10))
    assert {one.max_tokens for one in asked} == set(range(1, 6))


def test_no_two_prompts_share_a_prefix() -> None:
    asked = list(islice(workload().asks(), 500))
    assert len({one.prompt[0] for one in asked}) == 500


def test_arrivals_come_at_random_at_the_rate() -> None:
    times = list(arrivals(50, 100, seed=3))
    assert times == list(arrivals(50, 100, seed=3))
    assert times != list(arrivals(50, 100, seed=4))
    assert times == sorted(times)
    assert times[-1] < 100
    gaps = np.diff(times)
    assert len(times) == pytest.approx(5000, rel=0.06)
    # Of a Poisson process, the times between arrivals deviate as much as they last.
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InvalidLoad, match="rate"):
        list(arrivals(rate, 1, seed=0))


@pytest.mark.parametrize("text", ["", "0", "5-", "-5", "9-3", "a-b", "1.5-3"])
def test_lengths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidLoad, match="range of tokens"):
        Lengths.parse(text)


def test_one_length_is_a_range_too() -> None:
    assert (Lengths.parse("64"), Lengths.parse("3-9")) == (Lengths(64, 64), Lengths(3, 9))


class Clockwork:
    """A target that gives a token every `pause` seconds, and refuses whom it is told to."""

    name = "clockwork"

    def __init__(self, pause: float = 0.002, refused: str = "nobody") -> None:
        self.pause, self.refused = pause, refused
        self.asked: list[Asked] = []
        self.most = self.now = 0
        self._lock = threading.Lock()

    def start(self, asked: Asked, arrived: Arrived) -> Cancel:
        self.asked.append(asked)
        if asked.owner == self.refused:
            arrived(Arrival(ended=True, error="no room"))
            return lambda: None
        stop = threading.Event()
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        threading.Thread(target=self._answer, args=(asked, arrived, stop)).start()
        return stop.set

    def _answer(self, asked: Asked, arrived: Arrived, stop: threading.Event) -> None:
        error = ""
        for _ in range(asked.max_tokens):
            if stop.wait(self.pause):
                error = "cancelled"
                break
            arrived(Arrival(1))
        with self._lock:
            self.now -= 1
        arrived(Arrival(ended=True, error=error))


def test_a_closed_loop_keeps_so_many_under_way() -> None:
    target = Clockwork()
    load = closed(target, [Clients(workload().asks(), 4)], seconds=0.3)
    assert target.most == 4
    assert len(load.records) == len(target.asked) > 8
    assert [len(one.times) for one in load.records] != []
    assert sum(len(one.times) for one in load.records) == sum(one.max_tokens for one in target.asked)
    assert load.seconds == pytest.approx(0.3, abs=0.01), "it counts to the end that it was given"


def test_a_closed_loop_ends_with_its_requests() -> None:
    load = closed(Clockwork(), [Clients(islice(workload().asks(), 6), 2)], seconds=86_400)
    assert len(load.whole) == 6


def test_owners_have_clients_of_their_own() -> None:
    groups = [Clients(workload(owner=owner).asks(), number) for owner, number in (("a", 1), ("b", 3))]
    load = closed(Clockwork(pause=0.01), groups, seconds=0.5)
    assert load.owned("b").tokens > 2 * load.owned("a").tokens > 0


def test_what_is_under_way_at_the_end_can_be_taken_back() -> None:
    long = Workload(range(9), Lengths(1, 1), Lengths(100_000, 100_000))
    load = closed(Clockwork(), [Clients(long.asks(), 3)], seconds=0.2, cut=True)
    assert [one.error for one in load.records] == [CUT] * 3
    assert load.tokens > 0


def test_a_client_that_is_refused_leaves_and_is_counted() -> None:
    groups = [Clients(workload(owner=owner).asks(), 2) for owner in ("a", "b")]
    load = closed(Clockwork(refused="b"), groups, seconds=0.1)
    assert [one.error for one in load.failed] == ["no room"] * 2
    assert load.owned("a").whole


def test_an_open_loop_waits_for_nobody() -> None:
    target = Clockwork(pause=0.05)
    schedule = [(0.01 * number, Asked((1,), 3)) for number in range(20)]
    load = opened(target, schedule)
    assert len(load.whole) == 20
    assert target.most > 10
    assert sorted(one.submitted for one in load.records) == [load.began + due for due, _ in schedule]
    assert load.seconds == max(one.ended for one in load.records) - load.began


def test_an_open_loop_counts_what_a_slow_start_cost() -> None:
    class Late(Clockwork):
        def start(self, asked: Asked, arrived: Arrived) -> Cancel:
            time.sleep(0.01)
            return super().start(asked, arrived)

    load = opened(Late(), [(0.0, Asked((1,), 1)), (0.0, Asked((2,), 1))])
    assert [one.submitted for one in load.records] == [load.began] * 2, "when they were due, not when they were sent"


# HTTP


def ask(port: int, tokens: int) -> Record:
    load = opened(ServerTarget(port), [(0.0, Asked((5, 6, 7), tokens))])
    return load.records[0]


def test_every_streamed_token_is_told_before_the_next_is_made() -> None:
    told, over = threading.Semaphore(1), threading.Event()
    arrivals: list[Arrival] = []

    def arrived(arrival: Arrival) -> None:
        arrivals.append(arrival)
        told.release()
        if arrival.ended:
            over.set()

    with completions(turn=lambda: told.acquire(timeout=SOON)) as server:
        ServerTarget(server.port).start(Asked((5, 6, 7), 5), arrived)
        assert over.wait(SOON)
    assert [(arrival.tokens, arrival.error) for arrival in arrivals if arrival.tokens] == [(1, "")] * 5
    assert server.turns == [True] * 5


def test_every_token_has_its_time() -> None:
    with completions() as server:
        found = ask(server.port, 5)
    assert not found.error
    assert len(found.times) == 5


def test_the_server_is_asked_for_greedy_tokens_and_no_reuse() -> None:
    with completions() as server:
        ask(server.port, 4)
    (body,) = server.bodies
    assert body["prompt"] == [5, 6, 7]
    assert (body["n_predict"], body["temperature"], body["stream"]) == (4, 0, True)
    assert (body["ignore_eos"], body["cache_prompt"]) == (True, False)


def test_tokens_that_the_server_withheld_are_counted() -> None:
    with completions(silent=frozenset({1, 4})) as server:
        assert len(ask(server.port, 5).times) == 5


def test_an_answer_that_breaks_off_failed() -> None:
    with completions(breaks_after=2) as server:
        found = ask(server.port, 5)
    assert "broke off" in found.error
    assert len(found.times) == 2


def test_a_server_that_refuses_is_quoted() -> None:
    with completions(status=503) as server:
        assert "503" in ask(server.port, 5).error


def test_a_server_that_is_gone_is_an_error_of_the_request() -> None:
    with completions() as server:
        port = server.port
    assert "refused" in ask(port, 5).error.lower()


def test_taking_a_request_back_closes_its_connection() -> None:
    with completions(pause=0.02) as server:
        load = closed(ServerTarget(server.port), [Clients(iter([Asked((1,), 100_000)]), 1)], seconds=0.2, cut=True)
        assert server.cut.wait(SOON)
    assert load.records[0].error == CUT
    assert load.tokens > 2


# Peers

# What `llama-bench -p 64 -n 16 -r 2 -t 2 -fa 1 -b 512 -ub 512 -o json` printed, less what describes the machine.
BENCH = """[
  {
    "build_commit": "0c1e570", "build_number": 1, "model_type": "llama 256M Q4_1", "n_batch": 512, "n_ubatch": 512,
    "n_threads": 2, "type_k": "f16", "type_v": "f16", "flash_attn": 1, "repack": true,
    "n_prompt": 64, "n_gen": 0, "n_depth": 0, "test_time": "2026-11-21T23:57:50Z",
    "avg_ns": 745501202, "stddev_ns": 110738430, "avg_ts": 86.805964, "stddev_ts": 12.894354,
    "samples_ns": [ 667197307, 823805097 ], "samples_ts": [ 95.9236, 77.6883 ]
  },
  {
    "build_commit": "0c1e570", "build_number": 1, "model_type": "llama 256M Q4_1", "n_batch": 512, "n_ubatch": 512,
    "n_threads": 2, "type_k": "f16", "type_v": "f16", "flash_attn": 1, "repack": true,
    "n_prompt": 0, "n_gen": 16, "n_depth": 0, "test_time": "2026-11-21T23:57:51Z",
    "avg_ns": 102588344, "stddev_ns": 6751256, "avg_ts": 156.301597, "stddev_ts": 10.286082,
    "samples_ns": [ 107362203, 97814485 ], "samples_ts": [ 149.028, 163.575 ]
  }
]
"""
# What `llama-batched-bench -npp 32 -ntg 8 -npl 2 --output-format jsonl` printed.
BATCHED = (
    '\n{"n_kv_max": 2048, "n_batch": 512, "n_ubatch": 512, "flash_attn": 1, "is_pp_shared": 0, "n_gpu_layers": -1, '
    '"n_threads": 2, "n_threads_batch": 2, "pp": 32, "tg": 8, "pl": 2, "n_kv": 80, "t_pp": 0.198374, '
    '"speed_pp": 322.622925, "t_tg": 0.122560, "speed_tg": 130.548294, "t": 0.320934, "speed": 249.272430}\n\n'
)


def test_llama_bench_is_read_as_it_counts() -> None:
    for speed, name, mean, deviation in zip(
        bench_speeds(BENCH), ("pp64", "tg16"), (86.805964, 156.301597), (12.894354, 10.286082), strict=True
    ):
        assert speed.test == name
        assert speed.mean == pytest.approx(mean, rel=1e-4)
        # It divides by the mean of the times, which is off by its last digits.
        assert speed.deviation == pytest.approx(deviation, rel=0.2)


def test_llama_batched_bench_is_read_as_it_counts() -> None:
    (speed,) = batched_speeds(BATCHED)
    assert speed.test == BatchedTest(prompt=32, generated=8, parallel=2)
    assert speed.prompt_speed == pytest.approx(322.622925, rel=1e-4)
    assert speed.generated_speed == pytest.approx(130.548294, rel=1e-4)
    assert speed.speed == pytest.approx(249.272430, rel=1e-4)
    assert math.isnan(speed.own)


@pytest.mark.parametrize("printed", ["", "usage: …", "{}", "[]", '[{"n_prompt": 1}]', "null"])
def test_a_peer_that_prints_something_else_is_quoted(printed: str) -> None:
    for read in (bench_speeds, batched_speeds):
        with pytest.raises(PeerFailed, match="something else"):
            read(printed)


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_peers_get_our_settings(tmp_path: Path) -> None:
    settings = EngineSettings(context_size=512, parallel=3, threads=2, batch_size=256, flash_attention=True)
    # A line of figures that repeats the flags it was called with is no figure: the error shows them.
    program(tmp_path, "llama-batched-bench", 'echo "$@"')
    with pytest.raises(PeerFailed) as failed:
        Peers(tmp_path, Path("m.gguf")).batched(settings, BatchedTest(64, 32, 3))
    said = str(failed.value)
    for flags in ("-m m.gguf", "-c 1536", "-npp 64", "-ntg 32", "-npl 3", "-t 2", "-b 256", "-ub 256", "-fa on"):
        assert f" {flags} " in said
    assert "--no-kv-unified" in said


def test_settings_reach_the_server_too() -> None:
    settings = EngineSettings(context_size=256, parallel=4, unified=True, swa_full=False, repack=False, key_type="q8_0")
    flags = " ".join(map(str, server_flags(settings, port=9, streams=10)))
    for part in ("-c 1024", "-np 4", "--port 9", "--kv-unified", "--no-repack", "-ctk q8_0", "-fa off"):
        assert part in flags
    assert "--swa-full" not in flags
    assert "--swa-full" in common_flags(EngineSettings(context_size=256))


def test_a_peer_that_fails_says_why(tmp_path: Path) -> None:
    program(tmp_path, "llama-bench", "echo 'unknown model architecture' >&2; exit 3")
    with pytest.raises(PeerFailed, match=r"llama-bench ended with 3: unknown model architecture"):
        Peers(tmp_path, Path("m.gguf")).bench(EngineSettings(context_size=256), prompt=1, generated=1, repeats=1)


def test_a_missing_peer_is_named(tmp_path: Path) -> None:
    with pytest.raises(PeerFailed, match=f"{tmp_path}/llama-bench does not exist"):
        Peers(tmp_path, Path("m.gguf")).check()


def test_shards_get_names_that_llama_cpp_follows(tmp_path: Path) -> None:
    files = [tmp_path / "ab12", tmp_path / "cd34"]
    for file in files:
        file.write_text(file.name)
    with named_shards(files) as first:
        assert first.name == "model-00001-of-00002.gguf"
        assert (first.parent / "model-00002-of-00002.gguf").read_text() == "cd34"
    assert not first.exists()
    with named_shards(files[:1]) as only:
        assert only == files[0]


@pytest.fixture
def server_program(tmp_path: Path) -> Peers:
    """A folder with a llama-server."""
    program(tmp_path, "llama-server", f'exec {sys.executable} {FIXTURES / "completions.py"} "$@"')
    return Peers(tmp_path, Path("m.gguf"))


def test_a_server_runs_as_long_as_it_is_wanted(server_program: Peers) -> None:
    with LlamaServer(server_program, EngineSettings(context_size=256)) as server:
        assert len(ask(server.port, 3).times) == 3
    assert "refused" in ask(server.port, 3).error.lower()


def test_a_server_that_does_not_start_is_no_server(tmp_path: Path) -> None:
    program(tmp_path, "llama-server", "exit 1")
    with pytest.raises(PeerFailed, match="ended with 1 instead of serving"):
        LlamaServer(Peers(tmp_path, Path("m.gguf")), EngineSettings(context_size=256))


# Words


class Vocabulary:
    """Pieces by number; the last one ends a generation."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces, self.vocabulary_size = pieces, len(pieces)

    def piece(self, token: int) -> bytes:
        return self.pieces[token]

    def is_end(self, token: int) -> bool:
        return token == len(self.pieces) - 1


def test_prompts_are_made_of_words() -> None:
    pieces = [b" word%c" % (65 + n % 26) for n in range(100)] + [b"", b"x", b" 7", "ä".encode(), b"\xc3", b" end"]
    assert set(words(Vocabulary(pieces))) == set(range(100))


def test_a_vocabulary_without_words_gives_what_can_be_printed() -> None:
    pieces = [b"", b"a", b" b", b"\n", "é".encode(), b"z"]
    assert set(words(Vocabulary(pieces))) == {1, 2}


# The suite


class Paper:
    """A contestant whose speed is written down; it notes when it was asked."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def alone(self, *, prompt: int, generated: int, repeats: int) -> tuple[Speed, ...]:
        self._log.append(self.name)
        return Speed(f"pp{prompt}", (10.0,) * repeats), Speed(f"tg{generated}", (5.0,) * repeats)

    def batched(self, test: BatchedTest) -> BatchedSpeed:
        self._log.append(self.name)
        return BatchedSpeed(test, 1.0, 2.0, 3.0)

    def target(self):
        from contextlib import nullcontext

        self._log.append(self.name)
        return nullcontext(Clockwork())


def suite(log: list[str], **plan: object) -> Suite:
    defaults = {"prompts": Lengths(1, 4), "answers": Lengths(1, 4), "seconds": 0.1, "repeats": 2, "rounds": 3}
    contestants = [Paper("a", log), Paper("b", log)]
    return Suite(Plan(**{**defaults, **plan}), contestants, words=range(100), say=lambda _: None)


def test_engines_take_turns_and_who_begins_changes() -> None:
    log: list[str] = []
    results = suite(log).run()
    assert "".join(log) == "abbaab"
    assert [(name, speed.test, len(speed.samples)) for name, speed in results.speeds] == [
        ("a", "pp512", 6),
        ("b", "pp512", 6),
        ("a", "tg128", 6),
        ("b", "tg128", 6),
    ]


def test_the_open_loop_takes_its_rate_from_the_closed_one() -> None:
    results = suite([], concurrency=(1, 3), rounds=2, seconds=0.1).run()
    fullest = results.closed[2].figures()
    assert (results.closed[2].engine, results.closed[2].concurrency) == ("a", 3)
    # An answer has two and a half tokens in the mean.
    assert results.open[0].rate == pytest.approx(0.8 * fullest.tokens_per_second / 2.5, rel=0.01)
    assert {one.rate for one in results.open} == {results.open[0].rate}


def test_a_rate_of_0_is_no_open_loop() -> None:
    assert suite([], concurrency=(1,), rate=0.0, rounds=1).run().open == ()


def test_figures_of_rounds_weigh_by_their_time() -> None:
    from llstore.runner.bench.suite import Loaded

    short = Load((record(0.5, 1.0),), began=0, seconds=1)
    long = Load((record(1.0, 2.0, 3.0, 4.0),), began=0, seconds=4)
    found = Loaded("a", (short, long)).figures(Limits.parse("ttft=600ms"))
    assert found.tokens_per_second == pytest.approx(6 / 5)
    assert found.good_requests_per_second == pytest.approx(1 / 5)
    assert found.ttft.mean == pytest.approx(0.75)
    assert found.requests == 2


def test_a_seed_says_all_that_is_random() -> None:
    random.seed(1)
    first = workload(7).schedule(rate=10, seconds=3)
    random.seed(2)
    assert workload(7).schedule(rate=10, seconds=3) == first
    assert json.dumps([[due, list(asked.prompt)] for due, asked in first])


# Pictures


def test_a_picture_names_every_engine(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from llstore.runner.bench.plot import plot

    tests = tuple(BatchedTest(4, 4, parallel) for parallel in (1, 2))
    results = suite([], batched=tests, concurrency=(1, 2), rounds=2, seconds=0.05, rate=100.0).run()
    plot(results, tmp_path / "a.svg", title="what it is of")
    # Its text is drawn as shapes, after a comment that says it.
    drawn = (tmp_path / "a.svg").read_text()
    for text in ("what it is of", "a p95", "b p95", "closed loop", "open loop, 100.00 requests a second"):
        assert f"<!-- {text} -->" in drawn


def test_a_picture_of_a_section_that_was_left_out_is_empty(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from llstore.runner.bench.plot import plot

    plot(suite([], rounds=1).run(), tmp_path / "a.png", title="nothing")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
