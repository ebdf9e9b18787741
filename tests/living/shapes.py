"""What each gateway that has a dialect prints of a router's traffic: its families, labels and oddities."""

from __future__ import annotations

from collections.abc import Iterator

from demo.metrics import counter, family, gauge, histogram, line
from demo.traffic import CLOSED, HALF_OPEN, OPEN, Key, Router

NUMBERS = {CLOSED: 0, OPEN: 1, HALF_OPEN: 2}
NODES = (("n-7f3a", "a100"), ("n-0b0b", "h100"))
"""PrivateRouter's GPU nodes: id and name."""


def score(router: Router, provider: str) -> float:
    """The gateway's own idea of a provider, 0-100: successes among its last twenty requests."""
    last = [call.failed for call in router.calls if call.provider == provider][-20:]
    return round(100.0 * (1 - sum(last) / len(last)), 1) if last else 100.0


def gatewayz_data(router: Router, now: float) -> str:
    """``total_requests`` counts the clock's hour; error rate, availability and latency stand still for ever."""
    providers = sorted(router.of_providers(), key=lambda name: (score(router, name), name), reverse=True)
    hour_began = max(router.started, router.at - now % 3600.0)
    lines = [
        *family("health_score", "gauge", "Provider health score from 0 to 100"),
        *family("circuit_breaker_state", "gauge", "Circuit breaker state (1 if state matches)"),
    ]
    for name in providers:
        this_hour = sum(call.provider == name and call.at >= hour_began for call in router.calls)
        lines += [
            f'health_score{{provider="{name}"}} {score(router, name):.1f}',
            f'error_rate{{provider="{name}"}} 0.000000',
            f'provider_availability{{provider="{name}"}} 100.00',
            f'total_requests{{provider="{name}"}} {this_hour}',
            f'avg_latency_ms{{provider="{name}"}} 0.00',
        ]
    for key in router.breakers:
        for state in (OPEN, CLOSED, HALF_OPEN):
            labels = f'provider="{key.provider}",model="{key.model}",state="{state}"'
            lines.append(f"circuit_breaker_state{{{labels}}} {int(router.state(key) == state)}")
    return "\n".join([*lines, "gatewayz_data_scrape_success 1", ""])


def gatewayz_documented(router: Router, now: float) -> str:
    """As the documentation has it: gauges alone, each over the last twenty requests."""
    names = [{"provider": name} for name in router.of_providers()]
    shares = [(labels, score(router, labels["provider"]) / 100) for labels in names]
    states = [(labels, NUMBERS[router.state(Key(labels["provider"]))]) for labels in names]
    return "\n".join(
        [
            *gauge("provider_health_score", "Health score", [(labels, 100 * share) for labels, share in shares]),
            *gauge("provider_circuit_breaker_state", "0=closed, 1=open, 2=half-open", states),
            *gauge("provider_error_rate", "Error rate", [(labels, round(1 - share, 4)) for labels, share in shares]),
            *gauge("provider_availability", "Percent", [(labels, 100 * share) for labels, share in shares]),
            "",
        ]
    )


def circuit_breaker(router: Router, now: float) -> str:
    """States by service, and failures without requests. A line for a change comes with the first such change."""
    lines = ["http_requests_total 12"]
    for key, breaker in router.breakers.items():
        lines.append(f'circuit_breaker_state{{service="{key.provider}"}} {NUMBERS[breaker.state]}')
        for (old, new), count in breaker.moves.items():
            labels = {"service": key.provider, "from_state": old, "to_state": new}
            lines.append(line("circuit_breaker_state_changes_total", labels, count))
        if failures := router.of_providers()[key.provider].failures:
            labels = {"service": key.provider, "error_type": "timeout"}
            lines.append(line("circuit_breaker_failures_total", labels, failures))
    return "\n".join([*lines, ""])


def privaterouter(router: Router, now: float) -> str:
    """No provider label and no breakers; the calls of a model come by endpoint and status. GPU nodes stand beside."""
    lines = []
    for key, counts in router.counts.items():
        for status, count in (("success", counts.successes), ("error", counts.failures)):
            if count:
                labels = {"model": f"{key.provider}/{key.model}", "endpoint": "chat", "status": status}
                lines.append(line("pr_llm_calls_total", labels, count))
    for key, counts in router.counts.items():
        lines.append(line("pr_llm_cost_usd_total", {"model": f"{key.provider}/{key.model}"}, round(counts.usd, 6)))
    for node, name in NODES:
        labels = {"node_id": node, "name": name}
        lines += [line("pr_gpu_node_up", labels, 1), line("pr_gpu_node_utilization_pct", labels, 93)]
    return "\n".join([*lines, ""])


def deeppin(router: Router, now: float) -> str:
    """A slot is a key and a model; it recovers for as long as its breaker is open. Calls are those that went well."""
    slots = [({"provider": key.provider, "model": key.model, "key_prefix": "sk-Aa1x"}, key) for key in router.breakers]
    counted = [(labels, router.counts[key]) for labels, key in slots if key in router.counts]
    recovery = [
        (labels, max(0.1, one.since + 4.0 - router.at) if (one := router.breakers[key]).state == OPEN else 0.0)
        for labels, key in slots
    ]
    calls = [({**labels, "group": "chat"}, counts.successes) for labels, counts in counted if counts.successes]
    failed = [({**labels, "reason": "error"}, counts.failures) for labels, counts in counted if counts.failures]
    return "\n".join(
        [
            *gauge("deeppin_llm_rpm_used", "Requests of this minute", [(labels, 3) for labels, _ in slots]),
            *gauge("deeppin_llm_rpm_limit", "Requests a minute", [(labels, 30) for labels, _ in slots]),
            *gauge(
                "deeppin_llm_slot_score",
                "Score",
                [(labels, score(router, key.provider) / 100) for labels, key in slots],
            ),
            *gauge("deeppin_llm_slot_recovery_seconds", "Seconds until recovery", recovery),
            *counter("deeppin_llm_calls", "Calls that went well", calls, now),
            *counter("deeppin_llm_failures", "Calls that failed", failed, now),
            "",
        ]
    )


class Litellm:
    """A cool-down is told by a ghost that goes by the group's name and stays for ever; clients are in the labels."""

    def __init__(self) -> None:
        self._ghosts: dict[Key, None] = {}
        self._started = 0.0

    def __call__(self, router: Router, now: float) -> str:
        if router.started != self._started:
            self._started = router.started
            self._ghosts.clear()
        self._ghosts |= dict.fromkeys(key for key, breaker in router.breakers.items() if breaker.moves)
        return "\n".join([*self._lines(router, now), ""])

    def _lines(self, router: Router, now: float) -> Iterator[str]:
        counted = [(self._labels(key), counts) for key, counts in router.counts.items()]
        latency = [
            ({"api_provider": key.provider, "model": key.model, "model_group": "fast", "model_id": _id(key)}, counts)
            for key, counts in router.counts.items()
        ]
        yield from histogram("litellm_llm_api_latency_metric", "Total latency (seconds)", latency, now)
        spend = [(labels, counts.usd) for labels, counts in latency if counts.successes]
        yield from counter("litellm_spend_metric", "Total spend on LLM requests", spend, now)
        states = [(self._state_labels(key, key.model), float(one.last_failed)) for key, one in router.counts.items()]
        states += [(self._state_labels(key, "fast"), 2.0) for key in self._ghosts]
        yield from gauge("litellm_deployment_state", "0 = healthy, 1 = partial outage, 2 = complete outage", states)
        cooled = [
            ({**self._state_labels(key, "fast"), "exception_status": "500"}, times)
            for key, one in router.breakers.items()
            if (times := sum(count for (_, new), count in one.moves.items() if new == OPEN))
        ]
        yield from counter("litellm_deployment_cooled_down", "Times it was cooled down", cooled, now)
        good = [(labels, counts.successes) for labels, counts in counted if counts.successes]
        yield from counter("litellm_deployment_success_responses", "Successful calls", good, now)
        failed = [
            ({**labels, "exception_class": "InternalServerError", "exception_status": "500"}, counts.failures)
            for labels, counts in counted
            if counts.failures
        ]
        yield from counter("litellm_deployment_failure_responses", "Failed calls", failed, now)
        # Failures that never reached a deployment have no provider.
        everything = [(labels, counts.requests) for labels, counts in counted]
        stray = {**self._labels(Key("", "")), "model_id": "None"}
        yield from counter("litellm_deployment_total_requests", "All calls", [*everything, (stray, 3)], now)

    def _labels(self, key: Key) -> dict[str, str]:
        mine = self._state_labels(key, key.model)
        return {**mine, "client_ip": "127.0.0.1", "model_group": "fast", "user_agent": "Python/3.11 aiohttp/3.14.5"}

    def _state_labels(self, key: Key, name: str) -> dict[str, str]:
        return {"api_provider": key.provider, "litellm_model_name": name, "model_id": _id(key)}


def _id(key: Key) -> str:
    return f"dep-{key.provider}-{key.model}"
