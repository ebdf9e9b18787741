"""What the bridge counts of itself: polls, requests and looks into its cache, added up over gunicorn's workers.

Requests are counted in memory and written into the worker's files ``WRITE_EVERY_SECONDS`` later: doing that for every
request would cost each of them several times as much.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram

from bridge.model import Poll
from bridge.web import worker_files
from bridge.web.worker_files import WorkerFiles

POLL_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PARSE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
WRITE_EVERY_SECONDS = 0.05

# When a process began to count is of no use here, and would double the number of series.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class _Histogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, buckets: Sequence[int], total: float) -> None:
        """Add so many observations to each bucket, which together come to ``total``."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, buckets, strict=True):
            if count:
                bucket.inc(count)


class _Unwritten:
    """What requests of one route, method and status came to since it was last written down."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(REQUEST_BUCKETS) + 1)
        self.seconds = 0.0


class OwnMetrics:
    """What one worker counts of itself. Scraped, it is the sum over all workers, where gunicorn runs several."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        with worker_files.making():
            self._declare(registry)
        self._lock = threading.Lock()
        self._unwritten: dict[tuple[str, str, int], _Unwritten] = {}
        self._lookups = [0, 0]
        self._awaited = threading.Event()
        self._stopped = False
        self._writer: threading.Thread | None = None
        self._everyones = WorkerFiles.find(registry)

    def _declare(self, registry: CollectorRegistry) -> None:
        self._polls = Counter(
            "bridge_polls", "Polls of the gateway, by outcome (ok, or a reason code)", ["outcome"], registry=registry
        )
        self._poll_seconds = Histogram(
            "bridge_poll_seconds",
            "How long polls of the gateway took, reading and assessing included",
            buckets=POLL_BUCKETS,
            registry=registry,
        )
        self._parse_seconds = Histogram(
            "bridge_parse_seconds",
            "How long reading an exposition took once it was there",
            buckets=PARSE_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "bridge_http_requests",
            "Requests answered, by route template",
            ["route", "method", "status"],
            registry=registry,
        )
        self._request_seconds = _Histogram(
            "bridge_http_request_seconds",
            "How long answering took, by route template",
            ["route"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        hits = Counter("bridge_answer_cache_hits", "Answers found ready in a worker's cache", registry=registry)
        misses = Counter("bridge_answer_cache_misses", "Answers not found in a worker's cache", registry=registry)
        self._cache = (misses, hits)

    def start(self) -> None:
        """Begin to write down what is counted, in a thread of its own. After fork."""
        self._writer = threading.Thread(target=self._write_now_and_then, name="metrics", daemon=True)
        self._writer.start()

    def stop(self) -> None:
        """Write down what is left, and end the thread."""
        self._stopped = True
        self._awaited.set()
        if self._writer is not None:
            self._writer.join(1.0)
        self.write()

    def tidy(self) -> None:
        """Add up what processes that have ended have left, if nobody is reading just now."""
        folder = self._everyones.folder
        if folder is not None:
            with suppress(OSError):
                worker_files.fold(folder, worker_files.ended(folder))

    def poll(self, poll: Poll) -> None:
        """Count one poll."""
        self._polls.labels(poll.outcome).inc()
        self._poll_seconds.observe(poll.seconds)

    def parsed(self, seconds: float) -> None:
        """Count one exposition that was read, well or badly."""
        self._parse_seconds.observe(seconds)

    def lookup(self, hit: bool) -> None:
        """Count one look into the answer cache."""
        with self._lock:
            self._lookups[hit] += 1

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request. ``route`` is a template, never a path, ``method`` one that is known: both are labels."""
        key = route, method, status
        with self._lock:
            counted = self._unwritten.get(key)
            if counted is None:
                if not self._unwritten:
                    self._awaited.set()
                counted = self._unwritten[key] = _Unwritten()
            counted.buckets[bisect_left(REQUEST_BUCKETS, seconds)] += 1
            counted.seconds += seconds

    def write(self) -> None:
        """Put what was counted in memory where every worker finds it."""
        with self._lock:
            unwritten, self._unwritten = self._unwritten, {}
            lookups, self._lookups = self._lookups, [0, 0]
        for (route, method, status), counted in unwritten.items():
            self._requests.labels(route, method, str(status)).inc(sum(counted.buckets))
            self._request_seconds.labels(route).add(counted.buckets, counted.seconds)
        for counter, count in zip(self._cache, lookups, strict=True):
            if count:
                counter.inc(count)

    def text(self) -> bytes:
        """All of it, of all workers, as an exposition."""
        self.write()
        return self._everyones.text()

    def _write_now_and_then(self) -> None:
        while self._awaited.wait() and not self._stopped:
            time.sleep(WRITE_EVERY_SECONDS)
            self._awaited.clear()
            with suppress(OSError):  # a disk without room costs counts, not the thread
                self.write()
