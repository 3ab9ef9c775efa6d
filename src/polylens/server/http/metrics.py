"""Metrics for Prometheus. Labels are names of routes, models and queues, never inputs or keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from polylens.server.engine.cache import Cache
from polylens.server.engine.registry import Registry

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """The metrics of one server.

    Args:
        models: The counters of their schedulers are read when the metrics are asked for.
        cache: Its counters are read at the same time.
    """

    def __init__(self, models: Registry, cache: Cache) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "polylens_requests",
            "HTTP requests completed, by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "polylens_request_seconds",
            "Seconds from the head of a request to its response.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._inputs = Counter("polylens_inputs", "Inputs processed, by model.", ("model",), registry=self._registry)
        self._tokens = Counter(
            "polylens_usage_tokens", "Tokens billed in `usage`, by model.", ("model",), registry=self._registry
        )
        self._registry.register(_Schedulers(models, cache))

    def count(self, route: str, status: int, seconds: float) -> None:
        """Counts a completed request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_usage(self, model: str, inputs: int, tokens: int) -> None:
        """Counts the inputs and tokens of a completed request."""
        self._inputs.labels(model).inc(inputs)
        self._tokens.labels(model).inc(tokens)

    def text(self) -> bytes:
        """All metrics, in Prometheus's text format."""
        return generate_latest(self._registry)


class _Schedulers(Collector):
    """The counters that the schedulers and the cache keep themselves."""

    def __init__(self, models: Registry, cache: Cache) -> None:
        self._models, self._cache = models, cache

    def collect(self) -> Iterable[Metric]:
        yield from self._scheduler_metrics()
        for name, value in (("hits", self._cache.hits), ("misses", self._cache.misses)):
            yield CounterMetricFamily(f"polylens_cache_{name}", f"Cache {name}.", value=value)
        yield GaugeMetricFamily("polylens_cache_bytes", "Bytes held by cached vectors.", value=self._cache.nbytes)

    def _scheduler_metrics(self) -> Iterator[Metric]:
        counters = {
            "batches": "Forward passes.",
            "tokens": "Tokens processed by the model.",
            "seconds": "Seconds spent in forward passes.",
            "restarts": "Worker processes that were replaced.",
            "failures": "Inputs that the model failed on.",
            "refusals": "Requests refused because a queue was full.",
        }
        for field, meaning in counters.items():
            counter = CounterMetricFamily(f"polylens_engine_{field}", meaning, labels=("model",))
            for served in self._models:
                counter.add_metric((served.name,), getattr(served.scheduler.figures, field))
            yield counter
        ready = GaugeMetricFamily(
            "polylens_engine_ready", "1 if the model can serve requests, 0 otherwise.", labels=("model",)
        )
        waiting = GaugeMetricFamily(
            "polylens_engine_admitted_tokens", "Tokens of the requests under way, by queue.", labels=("model", "queue")
        )
        for served in self._models:
            ready.add_metric((served.name,), float(served.scheduler.state == "ready"))
            for queue, tokens in served.scheduler.admitted_tokens.items():
                waiting.add_metric((served.name, queue), tokens)
        yield ready
        yield waiting
