"""Metrics in Prometheus' text format, named like vLLM's with `llstore:` for `vllm:`; docs/metrics.md has them all.

The only door to prometheus_client.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ..engine.request import Reason
from ..errors import ExtraMissing
from .buckets import CHOICES, FIRST_TOKEN, LOADING, REQUEST, TOKEN_GAP, TOKENS
from .families import Family, families
from .snapshot import Snapshot

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ExtraMissing("prometheus-client", extra="serve") from error

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MODEL = ("model_name",)
_STREAM = ("model_name", "tenant")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_NOTHING = Snapshot()

_HISTOGRAMS = {
    "time_to_first_token_seconds": ("From a request's arrival to its first token.", FIRST_TOKEN),
    "inter_token_latency_seconds": ("Between two tokens of an answer.", TOKEN_GAP),
    "e2e_request_latency_seconds": ("From a request's arrival to its end.", REQUEST),
    "request_queue_time_seconds": ("Before a request had a slot.", REQUEST),
    "request_prefill_time_seconds": ("From there to its first token.", REQUEST),
    "request_decode_time_seconds": ("From its first token to its end.", REQUEST),
    "request_prompt_tokens": ("Tokens of a request's prompt.", TOKENS),
    "request_generation_tokens": ("Tokens of its answer.", TOKENS),
    "request_params_max_tokens": ("The max_tokens that it asked for.", TOKENS),
    "request_params_n": ("The n that it asked for.", CHOICES),
}
_COUNTERS = {
    "prompt_tokens": "Tokens of prompts that were read or reused.",
    "generation_tokens": "Tokens of answers.",
    "prefix_cache_queries": "Tokens of prompts that were looked for in the KV cache.",
    "prefix_cache_hits": "Those that were found.",
}


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """How one choice of a request ended, with an End's stages; `e2e_seconds` are the server's, from its arrival.

    `max_tokens` is None where the client did not say. It and `n` are None for all but the first choice of a request.
    """

    reason: Reason
    prompt_tokens: int
    reused_tokens: int
    completion_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    e2e_seconds: float
    max_tokens: int | None = None
    n: int | None = 1


@dataclass(frozen=True, slots=True)
class _Series:
    """What is kept for a model and a tenant, by name; `ended` is by reason."""

    histograms: dict[str, Histogram]
    counters: dict[str, Counter]
    ended: Callable[[Reason], Counter]


class StreamMetrics:
    """One answer's metrics. `first_token` and `token_gap` take about 2 µs; one thread at a time."""

    def __init__(self, series: _Series) -> None:
        self._series = series
        self._observe_first = series.histograms["time_to_first_token_seconds"].observe
        self._observe_gap = series.histograms["inter_token_latency_seconds"].observe
        self._generate = series.counters["generation_tokens"].inc
        self._generated = 0

    def first_token(self, seconds: float, count: int = 1) -> None:
        """The first token has come, and `count` at once, so long after the request."""
        self._observe_first(seconds)
        self._count(count)

    def token_gap(self, seconds: float, count: int = 1) -> None:
        """So many tokens have come at once, so long after the one before; each of them counts for its part."""
        for _ in range(count):
            self._observe_gap(seconds / count)
        self._count(count)

    def finished(self, request: FinishedRequest) -> None:
        """The answer has ended. Tokens that were not counted when they came are counted now."""
        self._series.ended(request.reason).inc()
        self._count(max(0, request.completion_tokens - self._generated))
        if request.prefill_seconds or request.completion_tokens:
            self._prompt_was_read(request)
        for name, value in _observed(request):
            self._series.histograms[name].observe(value)

    def _count(self, tokens: int) -> None:
        self._generate(tokens)
        self._generated += tokens

    def _prompt_was_read(self, request: FinishedRequest) -> None:
        counters = self._series.counters
        counters["prompt_tokens"].inc(request.prompt_tokens)
        counters["prefix_cache_queries"].inc(request.prompt_tokens)
        counters["prefix_cache_hits"].inc(request.reused_tokens)


class Metrics:
    """The metrics of a server, from any thread.

    Every model, tenant, reason and path that is named here has series of its own for good: the caller names only those
    that there are, never what a client made up.
    """

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._histograms = {
            name: Histogram(_named(name), text, _STREAM, registry=registry, buckets=bounds)
            for name, (text, bounds) in _HISTOGRAMS.items()
        }
        self._counters = {
            name: Counter(_named(name), text, _STREAM, registry=registry) for name, text in _COUNTERS.items()
        }
        self._ended = self._counter("request_success", "Requests that ended.", *_STREAM, "finished_reason")
        self._loading = Histogram(
            _named("model_load_seconds"), "To load a model.", _MODEL, registry=registry, buckets=LOADING
        )
        self._crashes = self._counter("engine_crashes", "Processes of engines that died.", *_MODEL)
        self._refused = self._counter("requests_refused", "Requests that were not taken.", "reason", "tenant")
        self._http = self._counter("http_requests", "HTTP requests.", "method", "path", "status")
        self._connections = Gauge(_named("open_connections"), "Connections that are open.", registry=registry)
        self._series: dict[tuple[str, str], _Series] = {}

    def stream(self, model: str, tenant: str) -> StreamMetrics:
        """For one answer of a model to a tenant."""
        return StreamMetrics(self._series.get((model, tenant)) or self._new_series(model, tenant))

    def refused(self, reason: str, tenant: str) -> None:
        """A request was not taken."""
        self._refused.labels(reason, tenant).inc()

    def http(self, method: str, path: str, status: int) -> None:
        """An HTTP request was answered. `path` is the route's, not what the client wrote."""
        self._http.labels(method if method in _METHODS else "other", path, str(status)).inc()

    def connection_opened(self) -> None:
        """A client has connected."""
        self._connections.inc()

    def connection_closed(self) -> None:
        """A connection has ended."""
        self._connections.dec()

    def model_loaded(self, model: str, seconds: float) -> None:
        """An engine is ready."""
        self._loading.labels(model).observe(seconds)

    def engine_crashed(self, model: str) -> None:
        """An engine's process has died."""
        self._crashes.labels(model).inc()

    def scrape(self, snapshot: Snapshot = _NOTHING) -> bytes:
        """All of it and what a snapshot has, as text of CONTENT_TYPE.

        It takes about 3 ms for each tenant of each model: with many, it belongs in a thread.
        """
        return generate_latest(_Scrape(self._registry, snapshot))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_named(name), text, labels, registry=self._registry)

    def _new_series(self, model: str, tenant: str) -> _Series:
        series = self._series[model, tenant] = _Series(
            {name: each.labels(model, tenant) for name, each in self._histograms.items()},
            {name: each.labels(model, tenant) for name, each in self._counters.items()},
            partial(self._ended.labels, model, tenant),
        )
        return series


class _Scrape(Collector):
    """What a registry has and what a snapshot has, less the times at which each series was made."""

    def __init__(self, registry: CollectorRegistry, snapshot: Snapshot) -> None:
        self._registry = registry
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
        yield from map(_metric, families(self._snapshot))


def _observed(request: FinishedRequest) -> Iterator[tuple[str, float]]:
    """Names and values; of a stage that the request did not come to, none."""
    yield "e2e_request_latency_seconds", request.e2e_seconds
    yield "request_queue_time_seconds", request.queue_seconds
    yield "request_prompt_tokens", request.prompt_tokens
    yield "request_generation_tokens", request.completion_tokens
    if request.prefill_seconds:
        yield "request_prefill_time_seconds", request.prefill_seconds
    if request.decode_seconds:
        yield "request_decode_time_seconds", request.decode_seconds
    if request.max_tokens is not None:
        yield "request_params_max_tokens", request.max_tokens
    if request.n is not None:
        yield "request_params_n", request.n


def _metric(family: Family) -> Metric:
    kind = CounterMetricFamily if family.counts else GaugeMetricFamily
    metric = kind(_named(family.name), family.text, labels=family.labels)
    for values, value in family.samples:
        metric.add_metric(values, value)
    return metric


def _named(name: str) -> str:
    return f"llstore:{name}"
