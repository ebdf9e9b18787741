"""The demo's incident: what the gateway publishes at each moment, as a pure function of the seconds since its start.

It plays in a loop of ten minutes:

====== ==========================================================================================================
second what happens
====== ==========================================================================================================
0      all is well
60     one of openrouter's four models fails: OPEN, at 120 HALF_OPEN, at 135 OPEN again (it flaps), at 210 CLOSED
270    groq goes down altogether: from 280 every circuit is OPEN and its score is 25; from 390 it recovers
450    cohere's score dips for five seconds, and nothing else happens to it
480    mistral appears
====== ==========================================================================================================

Families, order, formatting and faults are those of a real GatewayZ ``/prometheus/data/metrics``: error rate,
availability and latency are always 0, 100 and 0, ``total_requests`` starts again with each hour of the clock, and
providers are sorted by score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")

LOOP_SECONDS = 600.0

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "openai": ("gpt-4o", "gpt-4.1", "gpt-4o-mini", "o3", "o4-mini"),
    "anthropic": ("claude-sonnet-4", "claude-3-5-haiku", "claude-opus-4"),
    "google-vertex": ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
    "groq": ("llama-3.3-70b", "llama-3.1-8b", "qwen-2.5-32b"),
    "cerebras": ("llama3.1-70b", "llama3.1-8b"),
    "openrouter": (
        "anthropic/claude-3-5-sonnet",
        "openai/gpt-4o",
        "meta-llama/llama-3.1-405b:free",
        "deepseek/deepseek-r1",
    ),
    "fireworks": ("accounts/fireworks/models/llama-v3p1-70b", "accounts/fireworks/models/mixtral-8x22b"),
    "together": ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Qwen/Qwen2.5-72B-Instruct-Turbo"),
    "deepinfra": ("meta-llama/Meta-Llama-3.1-70B-Instruct", "nvidia/Nemotron-4-340B"),
    "xai": ("grok-2", "grok-3-mini"),
    "novita": ("deepseek/deepseek_v3",),
    "featherless": ("mistralai/Mistral-7B", "NousResearch/Hermes-3-Llama-3.1-8B"),
    "cohere": ("command-r", "command-r-plus", "command-a"),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "moonshotai": ("kimi-k2",),
    "alibaba-cloud": ("qwen-max", "qwen-plus", "qwen3-235b-a22b"),
    "aws-bedrock": ("us.anthropic.claude-sonnet-4", "amazon.nova-pro", "amazon.nova-lite"),
    "azure-openai": ("gpt-4o", "gpt-4.1-mini"),
    "cloudflare-workers-ai": ("@cf/meta/llama-3.1-8b-instruct", "@cf/qwen/qwen1.5-14b-chat"),
    "huggingface": ("meta-llama/Llama-3.1-8B-Instruct", "google/gemma-2-27b-it"),
    "perplexity": ("sonar", "sonar-pro"),
    "sambanova": ("Meta-Llama-3.3-70B-Instruct",),
    "replicate": ("meta/meta-llama-3-70b-instruct",),
    "nebius": ("meta-llama/Llama-3.3-70B-Instruct", "Qwen/QwQ-32B"),
    "chutes": ("deepseek-ai/DeepSeek-V3",),
    "hyperbolic": ("Qwen/Qwen2.5-Coder-32B-Instruct",),
    "lambda": ("hermes3-405b", "lfm-40b"),
    "near": ("deepseek-v3.1",),
    "vercel-ai-gateway": ("zai/glm-4.5", "xai/grok-3"),
    "mistral": ("mistral-large-2411", "codestral"),
}

CIRCUITS: Mapping[tuple[str, str], Sequence[tuple[float, str]]] = {
    ("openrouter", "anthropic/claude-3-5-sonnet"): (
        (60, "open"),
        (120, "half_open"),
        (135, "open"),
        (195, "half_open"),
        (210, "closed"),
    ),
    ("groq", "llama-3.1-8b"): ((270, "open"), (390, "half_open"), (405, "closed")),
    ("groq", "qwen-2.5-32b"): ((270, "open"), (390, "half_open"), (410, "closed")),
    ("groq", "llama-3.3-70b"): ((280, "open"), (390, "half_open"), (415, "closed")),
}
"""Circuits that move, each with the second at which it enters a state; all else is closed."""

SCORES: Mapping[str, Sequence[tuple[float, float]]] = {
    "openrouter": ((55, 96.0), (65, 100.0)),
    "groq": ((265, 65.0), (270, 35.0), (280, 25.0), (400, 41.0), (410, 53.0), (415, 65.0), (420, 83.0), (430, 100.0)),
    "cohere": ((450, 62.0), (455, 100.0)),
}
"""Scores that move, each with the second from which it is so."""

SILENT: Mapping[str, tuple[float, float]] = {"groq": (280, 390), "mistral": (0, 480)}
"""Stretches without a single request: every circuit open, or not there yet."""

ABSENT_UNTIL: Mapping[str, float] = {"mistral": 480}

_HEAD = """\
# HELP health_score Provider health score from 0 to 100
# TYPE health_score gauge
# HELP circuit_breaker_state Circuit breaker state (1 if state matches)
# TYPE circuit_breaker_state gauge
# HELP error_rate Provider error rate from 0 to 1
# TYPE error_rate gauge
# HELP provider_availability Provider availability percentage from 0 to 100
# TYPE provider_availability gauge
# HELP total_requests Total requests in the last hour
# TYPE total_requests gauge
# HELP avg_latency_ms Average latency in milliseconds
# TYPE avg_latency_ms gauge
# HELP gatewayz_data_scrape_success Whether the prometheus data scrape was successful
# TYPE gatewayz_data_scrape_success gauge
"""


def exposition(elapsed: float, now: float) -> str:
    """What the gateway answers ``elapsed`` seconds after its start, when the clock says ``now`` (epoch seconds)."""
    second = elapsed % LOOP_SECONDS
    present = [provider for provider in PROVIDERS if second >= ABSENT_UNTIL.get(provider, 0)]
    scores = {provider: score(provider, elapsed) for provider in present}
    lines: list[str] = []
    for provider in sorted(present, key=lambda name: (scores[name], name), reverse=True):
        lines += (
            f'health_score{{provider="{provider}"}} {scores[provider]:.1f}',
            f'error_rate{{provider="{provider}"}} 0.000000',
            f'provider_availability{{provider="{provider}"}} 100.00',
            f'total_requests{{provider="{provider}"}} {requests_this_hour(provider, elapsed, now)}',
            f'avg_latency_ms{{provider="{provider}"}} 0.00',
        )
    for provider in present:
        for model in PROVIDERS[provider]:
            lines += _circuit_lines(provider, model, circuit_state(provider, model, elapsed))
    return _HEAD + "\n".join(lines) + "\ngatewayz_data_scrape_success 1\n"


def circuit_state(provider: str, model: str, elapsed: float) -> str:
    """``closed``, ``open`` or ``half_open``."""
    return _latest(CIRCUITS.get((provider, model), ()), elapsed % LOOP_SECONDS, "closed")


def score(provider: str, elapsed: float) -> float:
    """The score as the gateway reckons it: 0-100, and now and then a single failure that is forgotten at once."""
    stumbles = crc32(f"{provider} {elapsed // 5:.0f}".encode()) % 150 == 0
    return _latest(SCORES.get(provider, ()), elapsed % LOOP_SECONDS, 95.0 if stumbles else 100.0)


def requests_this_hour(provider: str, elapsed: float, now: float) -> int:
    """Requests since the clock's last full hour, or since the gateway's start."""
    begin = max(0.0, elapsed - now % 3600.0)
    per_second = (10 + crc32(provider.encode()) % 90) / 60.0
    return int(per_second * (_served_seconds(provider, elapsed) - _served_seconds(provider, begin)))


def _served_seconds(provider: str, elapsed: float) -> float:
    """Seconds since the start in which the provider served requests."""
    begin, end = SILENT.get(provider, (0.0, 0.0))
    loops, second = divmod(elapsed, LOOP_SECONDS)
    return elapsed - loops * (end - begin) - min(max(second - begin, 0.0), end - begin)


def _latest(steps: Sequence[tuple[float, T]], second: float, before: T) -> T:
    for begin, value in steps:
        if begin <= second:
            before = value
    return before


def _circuit_lines(provider: str, model: str, state: str) -> Iterator[str]:
    for possible in ("open", "closed", "half_open"):
        labels = f'provider="{provider}",model="{model}",state="{possible}"'
        yield f"circuit_breaker_state{{{labels}}} {int(state == possible)}"
