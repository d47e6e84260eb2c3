"""What Prometheus reads of a server: vLLM's names and bounds, and sums that are right."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from llstore.runner.observe import buckets
from llstore.runner.observe.metrics import CONTENT_TYPE, FinishedRequest, Metrics
from llstore.runner.observe.snapshot import CacheSnapshot, EngineSnapshot, Snapshot
from llstore.store.backends.count import Totals
from llstore.store.cache.counters import Counters

ROOT = Path(__file__).parents[2]
DONE = FinishedRequest(
    "stop", prompt_tokens=100, reused_tokens=60, completion_tokens=5, queue_seconds=0.4, prefill_seconds=0.2,
    decode_seconds=3.0, e2e_seconds=3.7, max_tokens=16,
)  # fmt: skip
OF = {"model_name": "org/m:latest", "tenant": "ci"}
FULL = Snapshot(
    engines=(EngineSnapshot("org/m:latest", running=3, waiting=2, kv_usage=0.25),),
    cache=CacheSnapshot(Counters(hits=4, misses=1, bytes_saved=900), used=1000, budget=5000),
    store=Totals(read=7, stat=2, bytes_read=12345),
)


def scraped(metrics: Metrics, snapshot: Snapshot = FULL) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Samples by name, then by labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(metrics.scrape(snapshot).decode()):
        for sample in family.samples:
            rows = found.setdefault(sample.name.removeprefix("llstore:"), {})
            assert frozenset(sample.labels.items()) not in rows, "no series is there twice"
            rows[frozenset(sample.labels.items())] = sample.value
    return found


def value(samples: dict, name: str, **labels: str) -> float:
    return samples[name][frozenset(labels.items())]


def served(metrics: Metrics, *, gaps: tuple[float, ...] = (0.02, 0.02, 0.3, 0.02)) -> None:
    stream = metrics.stream(OF["model_name"], OF["tenant"])
    stream.first_token(0.65)
    for gap in gaps:
        stream.token_gap(gap)
    stream.finished(DONE)


def everything() -> Metrics:
    metrics = Metrics()
    served(metrics)
    metrics.refused("rate limit", "ci")
    metrics.http("POST", "/v1/completions", 200)
    metrics.model_loaded("org/m:latest", 1.5)
    metrics.engine_crashed("org/m:latest")
    return metrics


def test_every_metric_is_in_the_docs_and_none_that_is_not_there() -> None:
    ends = ("_bucket", "_sum", "_count")
    found = {
        next((name.removesuffix(end) for end in ends if name.endswith(end)), name) for name in scraped(everything())
    }
    told = set(re.findall(r"`llstore:(\w+)`", (ROOT / "docs" / "metrics.md").read_text()))
    assert told == found


def test_every_name_is_a_dashboard_s() -> None:
    families = {f.name: f for f in text_string_to_metric_families(everything().scrape(FULL).decode())}
    kinds = {name.removeprefix("llstore:"): family.type for name, family in families.items()}
    assert all(name.startswith("llstore:") and family.documentation for name, family in families.items())
    assert kinds == {
        **dict.fromkeys(
            (
                "time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds",
                "request_queue_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds",
                "request_prompt_tokens", "request_generation_tokens", "request_params_max_tokens", "request_params_n",
                "model_load_seconds",
            ),
            "histogram",
        ),
        **dict.fromkeys(
            (
                "prompt_tokens", "generation_tokens", "request_success", "prefix_cache_queries", "prefix_cache_hits",
                "engine_crashes", "requests_refused", "http_requests", "cache_hits", "cache_misses", "cache_evictions",
                "cache_bytes_saved", "cache_bytes_fetched", "cache_bytes_evicted", "store_requests", "store_bytes",
            ),
            "counter",
        ),
        **dict.fromkeys(
            (
                "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "open_connections",
                "cache_used_bytes", "cache_budget_bytes",
            ),
            "gauge",
        ),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("time_to_first_token_seconds", buckets.FIRST_TOKEN),
        ("inter_token_latency_seconds", buckets.TOKEN_GAP),
        ("request_decode_time_seconds", buckets.REQUEST),
        ("request_prompt_tokens", buckets.TOKENS),
    ],
)
def test_histograms_have_vllm_s_bounds(name: str, bounds: tuple[float, ...]) -> None:
    metrics = Metrics()
    served(metrics)
    found = [dict(labels)["le"] for labels in scraped(metrics)[f"{name}_bucket"]]
    assert list(map(float, found)) == [*bounds, float("inf")]
    assert list(bounds) == sorted(set(bounds))


def test_tokens_end_reasons_and_stages_are_counted_for_the_model_and_the_tenant() -> None:
    metrics = Metrics()
    served(metrics)
    metrics.stream(OF["model_name"], "another").finished(replace(DONE, reason="timeout"))
    samples = scraped(metrics)
    counts = {"prompt_tokens": 100, "generation_tokens": 5, "prefix_cache_queries": 100, "prefix_cache_hits": 60}
    assert {name: value(samples, f"{name}_total", **OF) for name in counts} == counts
    assert value(samples, "request_success_total", **OF, finished_reason="stop") == 1
    assert len(samples["request_success_total"]) == 2
    sums = {
        "time_to_first_token_seconds": 0.65,
        "e2e_request_latency_seconds": 3.7,
        "request_queue_time_seconds": 0.4,
        "request_prefill_time_seconds": 0.2,
        "request_decode_time_seconds": 3.0,
        "request_params_max_tokens": 16,
        "request_params_n": 1,
    }
    assert {name: value(samples, f"{name}_sum", **OF) for name in sums} == sums
    assert {value(samples, f"{name}_count", **OF) for name in sums} == {1}
    assert value(samples, "inter_token_latency_seconds_bucket", **OF, le="0.025") == 3
    assert value(samples, "inter_token_latency_seconds_bucket", **OF, le="0.3") == 4


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_counts_every_observation_in_each_bound_that_it_does_not_exceed(gaps: list[float]) -> None:
    metrics = Metrics()
    served(metrics, gaps=tuple(gaps))
    samples = scraped(metrics)
    for labels, count in samples["inter_token_latency_seconds_bucket"].items():
        assert count == sum(gap <= float(dict(labels)["le"]) for gap in gaps)
    assert value(samples, "inter_token_latency_seconds_sum", **OF) == pytest.approx(sum(gaps))


def test_tokens_that_come_together_share_their_gap() -> None:
    metrics = Metrics()
    stream = metrics.stream("m", "t")
    stream.first_token(1.0, 2)
    stream.token_gap(0.08, 4)
    stream.token_gap(5.0, 0)
    samples = scraped(metrics)
    assert value(samples, "inter_token_latency_seconds_bucket", model_name="m", tenant="t", le="0.025") == 4
    assert value(samples, "inter_token_latency_seconds_count", model_name="m", tenant="t") == 4
    assert value(samples, "generation_tokens_total", model_name="m", tenant="t") == 6


def test_tokens_count_once_whether_they_were_streamed_or_not() -> None:
    metrics = Metrics()
    metrics.stream("m", "t").finished(DONE)
    stream = metrics.stream("m", "t")
    stream.first_token(0.1)
    stream.token_gap(0.1)
    assert value(scraped(metrics), "generation_tokens_total", model_name="m", tenant="t") == 5 + 2, "while it grows"
    stream.finished(DONE)
    assert value(scraped(metrics), "generation_tokens_total", model_name="m", tenant="t") == 10


def test_a_request_that_never_had_a_slot_has_no_stages_and_its_prompt_was_not_read() -> None:
    metrics = Metrics()
    waited = FinishedRequest("cancelled", 100, 0, 0, 2.0, 0.0, 0.0, 2.0, max_tokens=None, n=None)
    metrics.stream("m", "t").finished(waited)
    samples = scraped(metrics)
    of = {"model_name": "m", "tenant": "t"}
    absent = ("request_prefill_time_seconds", "request_decode_time_seconds", "request_params_n")
    assert {value(samples, f"{name}_count", **of) for name in absent} == {0}
    assert value(samples, "prompt_tokens_total", **of) == 0
    assert value(samples, "request_queue_time_seconds_sum", **of) == 2


def test_what_is_our_own_is_counted() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.connection_opened()
    metrics.connection_closed()
    metrics.refused("queue full", "ci")
    metrics.http("GET", "/v1/models", 200)
    metrics.model_loaded("m", 2.0)
    metrics.engine_crashed("m")
    samples = scraped(metrics)
    assert value(samples, "open_connections") == 2
    assert value(samples, "requests_refused_total", reason="queue full", tenant="ci") == 1
    assert value(samples, "http_requests_total", method="GET", path="/v1/models", status="200") == 1
    assert value(samples, "model_load_seconds_sum", model_name="m") == 2
    assert value(samples, "engine_crashes_total", model_name="m") == 1


def test_a_method_that_a_client_made_up_makes_no_series() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.http(f"BREW{number}", "other", 405)
    assert scraped(metrics)["http_requests_total"] == {
        frozenset({("method", "other"), ("path", "other"), ("status", "405")}): 50
    }


def test_a_snapshot_is_shown_as_it_is_and_only_where_there_is_one() -> None:
    metrics = Metrics()
    samples = scraped(metrics)
    model = {"model_name": "org/m:latest"}
    assert value(samples, "num_requests_running", **model) == 3
    assert value(samples, "num_requests_waiting", **model) == 2
    assert value(samples, "kv_cache_usage_perc", **model) == 0.25
    assert (value(samples, "cache_hits_total"), value(samples, "cache_bytes_saved_total")) == (4, 900)
    assert (value(samples, "cache_used_bytes"), value(samples, "cache_budget_bytes")) == (1000, 5000)
    assert value(samples, "store_requests_total", verb="read") == 7
    assert value(samples, "store_bytes_total", verb="read") == 12345
    assert set(scraped(metrics, Snapshot())) == {"open_connections"}


def test_an_engine_s_numbers_become_its_gauges() -> None:
    stats = {"running": 2.0, "waiting": 1.0, "kv_tokens": 256.0, "kv_room": 1024.0, "steps": 9.0}
    assert EngineSnapshot.of("m", stats) == EngineSnapshot("m", running=2, waiting=1, kv_usage=0.25)
    assert EngineSnapshot.of("m", {}) == EngineSnapshot("m", running=0, waiting=0, kv_usage=0.0)


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_name_breaks_the_format(model: str, tenant: str) -> None:
    metrics = Metrics()
    metrics.stream(model, tenant).first_token(0.1)
    (series,) = scraped(metrics)["time_to_first_token_seconds_count"]
    assert dict(series) == {"model_name": model, "tenant": tenant}


def test_two_servers_in_a_process_have_metrics_of_their_own() -> None:
    before = Counter(family.name for family in REGISTRY.collect())
    one, other = Metrics(), Metrics()
    served(one)
    assert "e2e_request_latency_seconds_count" not in scraped(other)
    assert Counter(family.name for family in REGISTRY.collect()) == before, "the library's own registry is left alone"


def test_the_text_is_of_the_type_that_it_says() -> None:
    text = Metrics().scrape().decode()
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    assert text.startswith("# HELP llstore:")
    assert "_created" not in text
