"""The GatewayZ backend's own ``/metrics``, as its Prometheus client writes them: counters, histograms, breakers.

With its oddities: a provider's breaker has no state line until it first moves, and then only for the states it has been
in; ``_created`` lines stand among the samples; ``provider_error_rate`` tells of the time since the last time it was
asked; families that say nothing of providers are there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from demo.traffic import BOUNDS, CLOSED, HALF_OPEN, OPEN, Counts, Key, Router

Labels = Mapping[str, str]


class Metrics:
    """The exposition of one router, each time it is asked."""

    def __init__(self) -> None:
        self._before: Mapping[str, tuple[int, int]] = {}
        """Requests and failures of each provider when it was last asked."""

    def __call__(self, router: Router, now: float) -> str:
        """What it says when the clock says ``now`` (epoch seconds)."""
        created = now - router.at + router.started
        text = [
            *gauge("process_start_time_seconds", "Start time of the process since unix epoch.", [({}, created)]),
            *gauge("process_open_fds", "Number of open file descriptors.", [({}, 7.0)]),
            *family("fastapi_requests_total", "counter", "Total FastAPI requests"),
            *_models(router, created),
            *_breakers(router, created),
            *self._providers(router, created),
            *family("provider_slow_requests_total", "counter", "Total slow provider requests (>30s) by severity"),
            *gauge("redis_up", "Redis availability status", [({}, 1.0)]),
        ]
        return "\n".join([*text, ""])

    def _providers(self, router: Router, created: float) -> Iterator[str]:
        providers = router.of_providers()
        named = [({"provider": name}, counts) for name, counts in providers.items()]
        up = [({"provider": name}, float(router.state(Key(name)) == CLOSED)) for name in providers]
        yield from gauge("provider_availability", "Provider availability status (1=available, 0=unavailable)", up)
        rates = []
        for name, counts in providers.items():
            requests, failures = self._before.get(name, (0, 0))
            if counts.requests < requests:
                requests = failures = 0
            since = counts.requests - requests
            rates.append(({"provider": name}, (counts.failures - failures) / since if since else 0.0))
        self._before = {name: (counts.requests, counts.failures) for name, counts in providers.items()}
        yield from gauge("provider_error_rate", "Provider error rate (0-1)", rates)
        yield from histogram("provider_response_time_seconds", "Provider response time in seconds", named, created)


def _models(router: Router, created: float) -> Iterator[str]:
    named = [({"model": key.model, "provider": key.provider}, counts) for key, counts in router.counts.items()]
    counted = [({**labels, "status": "success"}, counts.successes) for labels, counts in named if counts.successes]
    counted += [({**labels, "status": "error"}, counts.failures) for labels, counts in named if counts.failures]
    yield from counter("model_inference_requests", "Total model inference requests", counted, created)
    yield from histogram("model_inference_duration_seconds", "Model inference duration in seconds", named, created)


def _breakers(router: Router, created: float) -> Iterator[str]:
    moves = [
        ({"from_state": old, "provider": key.provider, "to_state": new}, count)
        for key, breaker in router.breakers.items()
        for (old, new), count in breaker.moves.items()
    ]
    yield from counter("circuit_breaker_state_transitions", "Total circuit breaker state transitions", moves, created)
    rejected = [({"provider": key.provider}, one.rejected) for key, one in router.breakers.items() if one.rejected]
    yield from counter(
        "circuit_breaker_rejected_requests", "Total requests rejected by circuit breaker", rejected, created
    )
    states = [
        ({"provider": key.provider, "state": state}, float(state == breaker.state))
        for key, breaker in router.breakers.items()
        for state in (OPEN, CLOSED, HALF_OPEN)
        if any(state in move for move in breaker.moves)
    ]
    yield from gauge(
        "circuit_breaker_current_state", "Current circuit breaker state (1=active state, 0=inactive state)", states
    )


def line(name: str, labels: Labels, value: float) -> str:
    """One sample, as a Prometheus client for Python writes it."""
    inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def counter(name: str, meaning: str, counted: Iterable[tuple[Labels, float]], created: float) -> Iterator[str]:
    """A counter family, and the gauge that says when each series began."""
    counted = list(counted)
    yield from family(f"{name}_total", "counter", meaning)
    yield from (line(f"{name}_total", labels, float(value)) for labels, value in counted)
    if counted:
        yield from gauge(f"{name}_created", meaning, [(labels, created) for labels, _ in counted])


def histogram(name: str, meaning: str, named: Iterable[tuple[Labels, Counts]], created: float) -> Iterator[str]:
    """A histogram family of latencies, and the gauge that says when each series began."""
    named = [(labels, counts) for labels, counts in named if counts.observed]
    yield from family(name, "histogram", meaning)
    for labels, counts in named:
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts.buckets, strict=True):
            yield line(f"{name}_bucket", dict(sorted({**labels, "le": bound}.items())), float(count))
        yield line(f"{name}_count", labels, float(counts.observed))
        yield line(f"{name}_sum", labels, counts.seconds)
    if named:
        yield from gauge(f"{name}_created", meaning, [(labels, created) for labels, _ in named])


def family(name: str, kind: str, meaning: str) -> Iterator[str]:
    """The two lines before a family's samples."""
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def gauge(name: str, meaning: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """A gauge family."""
    yield from family(name, "gauge", meaning)
    yield from (line(name, labels, value) for labels, value in values)
