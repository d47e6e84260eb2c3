"""What `llstore bench` prints: tables for people, one document for scripts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .output import print_table

if TYPE_CHECKING:
    from ..runner.bench.latencies import Spread
    from ..runner.bench.speed import BatchedSpeed
    from ..runner.bench.suite import Loaded, LoadFigures, Plan, Results
    from ..runner.engine_settings import EngineSettings

_LOAD_HEAD = (
    "REQUESTS",
    "FAILED",
    "TOK/S",
    "REQ/S",
    "TTFT MS p50/p95/p99",
    "ITL MS p50/p95/p99",
    "REQUEST S p50/p95/p99",
)


def print_results(results: "Results", plan: "Plan") -> None:
    """A table for each section that was measured."""
    sections = [
        ("one request, tokens a second", _speed_rows(results)),
        (f"{_lengths(plan)} tokens each, tokens a second", _batched_rows(results)),
        (_loop("closed loop", plan), _load_rows(results.closed, plan, "CLIENTS", lambda one: str(one.concurrency))),
        (_loop("open loop", plan), _load_rows(results.open, plan, "RATE", lambda one: f"{one.rate:.2f}")),
    ]
    for number, (title, rows) in enumerate((title, rows) for title, rows in sections if len(rows) > 1):
        print(f"{chr(10) if number else ''}{title}")
        print_table(rows)


def document(results: "Results", plan: "Plan", settings: "EngineSettings", *, digest: str) -> dict[str, Any]:
    """The same as data: times in seconds, speeds in tokens a second."""
    from ..runner.llama.build import build

    found = build()
    return {
        "digest": digest,
        "build": {"version": found.version, "cpu_features": list(found.cpu_features)},
        "engine": asdict(settings),
        "rounds": plan.rounds,
        "seed": plan.seed,
        "prompt_tokens": str(plan.prompts),
        "max_tokens": str(plan.answers),
        "limits": dict(plan.limits.bounds),
        "speed": [
            {"engine": name, "test": s.test, "mean": s.mean, "stddev": s.deviation, "samples": list(s.samples)}
            for name, s in results.speeds
        ],
        "batched": [_batched_document(name, speed) for name, rounds in results.batched for speed in rounds],
        "closed": [{"concurrency": one.concurrency, **_load_document(one, plan)} for one in results.closed],
        "open": [{"rate": one.rate, **_load_document(one, plan)} for one in results.open],
    }


def _speed_rows(results: "Results") -> list[tuple[str, ...]]:
    rows = [(speed.test, name, f"{speed.mean:.1f} ± {speed.deviation:.1f}") for name, speed in results.speeds]
    return [("TEST", "ENGINE", "TOK/S"), *rows]


def _batched_rows(results: "Results") -> list[tuple[str, ...]]:
    rows = [
        (
            str(rounds[0].test.parallel),
            name,
            _mean(rounds, lambda speed: speed.prompt_speed),
            _mean(rounds, lambda speed: speed.generated_speed),
            _mean(rounds, lambda speed: speed.speed),
            _percent(fmean(speed.own for speed in rounds)),
        )
        for name, rounds in results.batched
    ]
    return [("AT ONCE", "ENGINE", "PROMPT", "GENERATED", "BOTH", "OWN TIME"), *rows]


def _load_rows(
    loads: Sequence["Loaded"], plan: "Plan", head: str, value: Callable[["Loaded"], str]
) -> list[tuple[str, ...]]:
    goodput = ("GOOD REQ/S",) if plan.limits.bounds else ()
    return [
        (head, "ENGINE", *_LOAD_HEAD, *goodput),
        *((value(one), one.engine, *_load_row(one.figures(plan.limits), with_goodput=bool(goodput))) for one in loads),
    ]


def _load_row(found: "LoadFigures", *, with_goodput: bool) -> tuple[str, ...]:
    goodput = (f"{found.good_requests_per_second:.2f}",) if with_goodput else ()
    return (
        str(found.requests),
        str(found.failed),
        f"{found.tokens_per_second:.1f}",
        f"{found.requests_per_second:.2f}",
        _spread(found.ttft, 1000, digits=0),
        _spread(found.itl, 1000, digits=0),
        _spread(found.request, 1, digits=2),
        *goodput,
    )


def _load_document(one: "Loaded", plan: "Plan") -> dict[str, Any]:
    found = one.figures(plan.limits)
    return {"engine": one.engine, **{name: _finite(value) for name, value in asdict(found).items()}}


def _batched_document(name: str, speed: "BatchedSpeed") -> dict[str, Any]:
    return {
        "engine": name,
        "prompt_tokens": speed.test.prompt,
        "generated_tokens": speed.test.generated,
        "parallel": speed.test.parallel,
        "prompt_speed": speed.prompt_speed,
        "generated_speed": speed.generated_speed,
        "speed": speed.speed,
        "own_time": _finite(speed.own),
    }


def _finite(value: Any) -> Any:
    # JSON has no NaN: what there is nothing to say of is null.
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spread(found: "Spread", unit: float, *, digits: int) -> str:
    return "/".join(f"{unit * value:.{digits}f}" for value in (found.p50, found.p95, found.p99))


def _mean(rounds: Sequence["BatchedSpeed"], value: Callable[["BatchedSpeed"], float]) -> str:
    return f"{fmean(map(value, rounds)):.1f}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"


def _lengths(plan: "Plan") -> str:
    return f"{plan.batched[0].prompt} and {plan.batched[0].generated}" if plan.batched else ""


def _loop(name: str, plan: "Plan") -> str:
    limits = f"; good is {plan.limits}" if plan.limits.bounds else ""
    return f"{name}: prompts of {plan.prompts}, answers of {plan.answers} tokens, {plan.seconds:g} s{limits}"
