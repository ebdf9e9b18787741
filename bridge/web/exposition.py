"""``GET /metrics``: what the bridge knows of the gateway, and of itself, as Prometheus scrapes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import prometheus_client
from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from bridge.model import Poll, Snapshot
from bridge.queries.catalog import METRICS, Metric
from bridge.queries.series import current
from bridge.queries.targets import Target
from bridge.queries.view import View

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
ALWAYS = ("gateway_up", "gateway_data_age_seconds", "gateway_poll_seconds")
"""Metrics that stay while the data is stale, and that change without a new snapshot."""
POLL_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
STARTED = "bridge.started"
"""Where a request's environment keeps the time it began."""

# When a process began to count is of no use here, and would double the number of series.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class OwnMetrics:
    """What one worker counts of itself. Scraped, it is the sum over all workers, where gunicorn runs several."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._polls = Counter(
            "bridge_polls", "Polls of the gateway, by outcome (ok, or a reason code)", ["outcome"], registry=registry
        )
        self._poll_seconds = Histogram(
            "bridge_poll_seconds",
            "How long polls of the gateway took, reading and assessing included",
            buckets=POLL_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "bridge_http_requests",
            "Requests answered, by route template",
            ["route", "method", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "bridge_http_request_seconds",
            "How long answering took, by route template",
            ["route"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        hits = Counter("bridge_answer_cache_hits", "Answers found ready in a worker's cache", registry=registry)
        misses = Counter("bridge_answer_cache_misses", "Answers not found in a worker's cache", registry=registry)
        self._lookups = {True: hits, False: misses}
        self._children: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}
        self._everyones = _everyones(registry)

    def poll(self, poll: Poll) -> None:
        """Count one poll."""
        self._polls.labels(poll.outcome).inc()
        self._poll_seconds.observe(poll.seconds)

    def lookup(self, hit: bool) -> None:
        """Count one look into the answer cache."""
        self._lookups[hit].inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request. ``route`` is a template, never a path: paths hold names from outside."""
        key = route, method, status
        found = self._children.get(key)
        if found is None:
            known = method if method in METHODS else "other"
            counter = self._requests.labels(route, known, str(status))
            found = counter.inc, self._request_seconds.labels(route).observe
            if known == method:  # what clients make up must not be remembered
                self._children[key] = found
        count, observe = found
        count()
        observe(seconds)

    def text(self) -> bytes:
        """All of it as an exposition."""
        return generate_latest(self._everyones)


def _everyones(own: CollectorRegistry) -> CollectorRegistry:
    """Where all workers' metrics are found: in the directory they share, or here when this process is alone."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    except ValueError:  # there is no such directory
        return own
    return shared


def register(app: Flask, metrics: OwnMetrics) -> None:
    """Count every request of the application. To be registered first, so that no other hook ends a request before."""

    @app.before_request
    def begins() -> None:
        request.environ[STARTED] = time.perf_counter()

    @app.after_request
    def ends(response: Response) -> Response:
        began = request.environ.get(STARTED)
        if began is not None:
            rule = request.url_rule
            route = NO_ROUTE if rule is None else rule.rule
            metrics.request(route, request.method, response.status_code, time.perf_counter() - began)
        return response


class Exposition:
    """The catalog's metrics as they stand now. A snapshot's are written once, however many scrape it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: tuple[Snapshot, bytes] | None = None

    def text(self, view: View) -> bytes:
        """The exposition of a view: what is not known is absent, and almost everything is while the data is stale."""
        live = _write(view, (METRICS[name] for name in ALWAYS))
        snapshot = view.snapshot
        if snapshot is None or view.stale:
            return live
        with self._lock:
            written = self._written
            if written is None or written[0] is not snapshot:
                metrics = (metric for name, metric in METRICS.items() if name not in ALWAYS)
                written = self._written = snapshot, _write(view, metrics)
        return written[1] + live


def _write(view: View, metrics: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_OfView(view, metrics))
    return generate_latest(registry)


class _OfView(Collector):
    """Metrics of a view, for prometheus_client to write."""

    def __init__(self, view: View, metrics: Iterable[Metric]) -> None:
        self._view = view
        self._metrics = metrics

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Every metric of which something is known."""
        for metric in self._metrics:
            family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for series in current(self._view, metric, Target(metric.name, metric.name, (), None), ()):
                value = float(series.values[-1])
                if value == value:  # NaN is "not known"
                    family.add_metric([series.labels[label] for label in metric.labels], value)
            if family.samples:
                yield family
