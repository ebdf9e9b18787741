"""Made-up expositions in the shape of a GatewayZ backend's own ``/metrics``, of any size, one a poll.

A pure function of the poll's number: every counter rises from one poll to the next, at a pace of its own, and all
series stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

from demo.script import PROVIDERS

POLL_SECONDS = 15.0
CREATED = "1.795003203e+09"
MODEL_BUCKETS = (
    ("0.1", 0.0),
    ("0.5", 0.1),
    ("1.0", 0.4),
    ("2.5", 0.8),
    ("5.0", 0.93),
    ("10.0", 0.98),
    ("25.0", 0.995),
    ("60.0", 0.999),
)
PROVIDER_BUCKETS = MODEL_BUCKETS[:6]
"""Upper bounds, and the share of requests below each."""
MODEL_NAMES = ("gpt-4.1-mini", "claude-3-5-sonnet", "llama-3.3-70b", "deepseek-r1:free", "Qwen2.5-72B-Instruct-Turbo")


def provider_names(count: int) -> list[str]:
    """The names of the first so many providers, in the order of the alphabet."""
    names = list(PROVIDERS)[:count]
    return sorted([*names, *(f"provider-{number:04}" for number in range(len(names), count))])


def model_names(provider: str, count: int) -> list[str]:
    """The names of a provider's models."""
    return [f"{provider}/{MODEL_NAMES[number % len(MODEL_NAMES)]}-{number}" for number in range(count)]


def exposition(poll: int, *, providers: int, models: int = 4, lines: int = 0, reports_breakers: bool = True) -> bytes:
    """What the gateway answers at its poll number ``poll``.

    Each provider has ``models`` models, and reports its breaker or does not. Lines of families that say nothing of
    providers fill it up to ``lines``.
    """
    names = provider_names(providers)
    counts = {
        (provider, model): _counts(provider, model, poll)
        for provider in names
        for model in model_names(provider, models)
    }
    text = [
        *_model_lines(counts),
        *(line for provider in names for line in _provider_lines(provider, poll)),
        *(line for provider in names if reports_breakers for line in _breaker_lines(provider)),
    ]
    text += _filling(max(1, lines - len(text)), poll)
    return ("\n".join(text) + "\n").encode()


def models_for(lines: int, providers: int) -> int:
    """How many models a provider must have for an exposition to have close to, and not more than, so many lines."""

    def size(providers: int, models: int) -> int:
        return exposition(0, providers=providers, models=models).count(b"\n")

    per_model = size(1, 2) - size(1, 1)
    per_provider = size(2, 1) - size(1, 2)
    rest = size(1, 1) - per_provider - per_model
    return max(1, (lines - rest - providers * per_provider) // (providers * per_model))


def _counts(provider: str, model: str, poll: int) -> tuple[int, int]:
    """Successes and failures since the gateway's start. Now and then a model fails for some minutes."""
    seed = crc32(f"{provider} {model}".encode())
    requests = 40 + int((5 + seed % 60) / 60.0 * POLL_SECONDS * poll) + (poll * seed) % 7
    failures = requests // (50 + seed % 400)
    return requests - failures, failures


def _family(name: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {name.replace('_', ' ').capitalize()}"
    yield f"# TYPE {name} {kind}"


def _model_lines(counts: dict[tuple[str, str], tuple[int, int]]) -> Iterator[str]:
    yield from _family("model_inference_requests_total", "counter")
    for (provider, model), by_status in counts.items():
        for status, count in zip(("success", "error"), by_status, strict=True):
            labels = f'model="{model}",provider="{provider}",status="{status}"'
            yield f"model_inference_requests_total{{{labels}}} {float(count)}"
    yield from _family("model_inference_requests_created", "gauge")
    for provider, model in counts:
        for status in ("success", "error"):
            labels = f'model="{model}",provider="{provider}",status="{status}"'
            yield f"model_inference_requests_created{{{labels}}} {CREATED}"
    yield from _family("model_inference_duration_seconds", "histogram")
    for (provider, model), by_status in counts.items():
        labels = f'model="{model}",provider="{provider}"'
        yield from _histogram("model_inference_duration_seconds", labels, sum(by_status), MODEL_BUCKETS)
    yield from _family("model_inference_duration_seconds_created", "gauge")
    for provider, model in counts:
        yield f'model_inference_duration_seconds_created{{model="{model}",provider="{provider}"}} {CREATED}'


def _provider_lines(provider: str, poll: int) -> Iterator[str]:
    total = 200 + poll * (20 + crc32(provider.encode()) % 100)
    labels = f'provider="{provider}"'
    yield from _histogram("provider_response_time_seconds", labels, total, PROVIDER_BUCKETS)
    yield f"provider_response_time_seconds_created{{{labels}}} {CREATED}"
    yield f"provider_error_rate{{{labels}}} {(crc32(f'{provider} {poll}'.encode()) % 100) / 10_000}"
    yield f"provider_availability{{{labels}}} 1.0"
    yield f"circuit_breaker_successes_total{{{labels}}} {float(total)}"
    yield f"circuit_breaker_successes_created{{{labels}}} {CREATED}"


def _breaker_lines(provider: str) -> Iterator[str]:
    labels = f'provider="{provider}"'
    for state in ("closed", "open", "half_open"):
        yield f'circuit_breaker_current_state{{{labels},state="{state}"}} {float(state == "closed")}'


def _histogram(name: str, labels: str, count: int, buckets: Sequence[tuple[str, float]]) -> Iterator[str]:
    for bound, share in buckets:
        yield f'{name}_bucket{{le="{bound}",{labels}}} {float(int(count * share))}'
    yield f'{name}_bucket{{le="+Inf",{labels}}} {float(count)}'
    yield f"{name}_sum{{{labels}}} {count * (1.5 + len(labels) % 7 / 10):.13f}"
    yield f"{name}_count{{{labels}}} {float(count)}"


def _filling(count: int, poll: int) -> Iterator[str]:
    yield f"process_cpu_seconds_total {poll * 1.25}"
    for number in range(count - 1):
        labels = f'app_name="gatewayz",method="POST",path="/v1/route/{number}",status_code="200"'
        yield f"fastapi_requests_total{{{labels}}} {float(poll * (1 + number % 9))}"
