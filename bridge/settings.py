"""Environment variables → one frozen ``Settings``. The only module that knows their names, defaults and limits.

What their values look like is ``variables.py``'s affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bridge import variables
from bridge.policy import BreakerPolicy, Policy


class ConfigurationError(ValueError):
    """The environment cannot be used. ``str()`` lists every mistake, one a line, and never shows a secret."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Settings:
    """How this deployment runs. Credentials are left out of ``repr``."""

    gateway_url: str
    """Base URL of the gateway, without a slash at its end."""
    metrics_path: str = "/prometheus/data/metrics"
    gateway_token: str | None = field(default=None, repr=False)
    dialect: str = "auto"
    """``auto``, a built-in dialect's name, or the path of a TOML file."""
    poll_interval_seconds: float = 15.0
    poll_timeout_seconds: float = 10.0
    stale_after_seconds: float = 45.0
    max_exposition_bytes: int = 64 * 2**20
    data_dir: Path = Path("data")
    history_retention_seconds: float = 7 * variables.DAY_SECONDS
    history_url: str | None = None
    """Base URL of a Prometheus-compatible API, below which ``/api/v1`` is found; without a slash at its end."""
    history_tenant: str | None = None
    history_token: str | None = field(default=None, repr=False)
    policy: Policy = field(default_factory=Policy)
    bridge_token: str | None = field(default=None, repr=False)
    bridge_basic_auth: str | None = field(default=None, repr=False)
    """``user:password``."""
    cors_origins: tuple[str, ...] = ()
    port: int = 5050
    web_concurrency: int = 2
    log_level: str = "INFO"


def load(environ: Mapping[str, str]) -> Settings:
    """Read all settings; an empty variable counts as unset.

    Raises:
        ConfigurationError: with every mistake there is.
    """
    read, default = variables.Reader(environ), Settings(gateway_url="")
    interval = read.value(
        "POLL_INTERVAL", default.poll_interval_seconds, variables.duration(1.0, variables.DAY_SECONDS), "15s"
    )
    timeout = read.value("POLL_TIMEOUT", min(default.poll_timeout_seconds, interval), variables.duration(), "10s")
    stale_after = read.value("STALE_AFTER", 3 * interval, variables.duration(), "45s")
    read.check("POLL_TIMEOUT", timeout <= interval, f"longer than POLL_INTERVAL, {interval:g}s", "10s", "POLL_INTERVAL")
    read.check("STALE_AFTER", stale_after >= interval, f"below POLL_INTERVAL, {interval:g}s", "45s", "POLL_INTERVAL")
    settings = Settings(
        gateway_url=_gateway_url(read),
        metrics_path=read.value("GATEWAY_METRICS_PATH", default.metrics_path, variables.path, default.metrics_path),
        gateway_token=read.secret("GATEWAY_TOKEN", variables.token, "the token alone, without 'Bearer'"),
        dialect=read.value("GATEWAY_DIALECT", default.dialect, variables.dialect, "auto"),
        poll_interval_seconds=interval,
        poll_timeout_seconds=timeout,
        stale_after_seconds=stale_after,
        max_exposition_bytes=read.value(
            "MAX_EXPOSITION_BYTES", default.max_exposition_bytes, variables.body_size, "64MiB"
        ),
        data_dir=read.value("DATA_DIR", default.data_dir, variables.directory, "./data"),
        history_retention_seconds=read.value(
            "HISTORY_RETENTION", default.history_retention_seconds, variables.duration(60.0), "7d"
        ),
        history_url=_history_url(read),
        history_tenant=read.value("HISTORY_TENANT", default.history_tenant, variables.header_text, "anonymous"),
        history_token=read.secret("HISTORY_TOKEN", variables.token, "the token alone, without 'Bearer'"),
        policy=_policy(read, default.policy),
        bridge_token=read.secret("BRIDGE_TOKEN", variables.token, "a long random word"),
        bridge_basic_auth=read.secret("BRIDGE_BASIC_AUTH", variables.user_and_password, "grafana:a-long-password"),
        cors_origins=read.value("CORS_ORIGINS", default.cors_origins, variables.origins, "https://grafana.example.com"),
        port=read.value("PORT", default.port, variables.integer(1, 65535), "5050"),
        web_concurrency=read.value("WEB_CONCURRENCY", default.web_concurrency, variables.integer(1, 64), "2"),
        log_level=read.value("LOG_LEVEL", default.log_level, variables.log_level, "INFO"),
    )
    if read.mistakes:
        raise ConfigurationError(read.mistakes)
    return settings


def _gateway_url(read: variables.Reader) -> str:
    name = "API_BASE_URL" if read.text("API_BASE_URL") and not read.text("GATEWAYZ_API_URL") else "GATEWAYZ_API_URL"
    example = "https://gateway.example.com"
    if not read.text(name):
        read.wrong(name, f"{name} is not set: the gateway's base URL; for example {name}={example}")
    return variables.base_url(read, name, "GATEWAY_TOKEN", example) or ""


def _history_url(read: variables.Reader) -> str | None:
    return variables.base_url(read, "HISTORY_URL", "HISTORY_TOKEN", "http://mimir:9009/prometheus")


def _policy(read: variables.Reader, default: Policy) -> Policy:
    breaker, count = default.breaker, variables.integer(1, 1_000_000)
    good = read.value("LATENCY_GOOD", default.latency_good_seconds, variables.duration(), "2s")
    bad = read.value("LATENCY_BAD", default.latency_bad_seconds, variables.duration(), "10s")
    read.check("LATENCY_BAD", bad > good, f"not longer than LATENCY_GOOD, {good:g}s", "10s", "LATENCY_GOOD")
    return Policy(
        breaker=BreakerPolicy(
            failure_threshold=read.value("BREAKER_FAILURE_THRESHOLD", breaker.failure_threshold, count, "5"),
            success_threshold=read.value("BREAKER_SUCCESS_THRESHOLD", breaker.success_threshold, count, "2"),
            timeout_seconds=read.value("BREAKER_TIMEOUT", breaker.timeout_seconds, variables.duration(), "60s"),
            window_seconds=read.value("BREAKER_WINDOW", breaker.window_seconds, variables.duration(), "60s"),
            failure_rate=read.value("BREAKER_FAILURE_RATE", breaker.failure_rate, variables.share, "0.5"),
            min_requests=read.value("BREAKER_MIN_REQUESTS", breaker.min_requests, count, "10"),
            half_open_max_failures=read.value(
                "BREAKER_HALF_OPEN_MAX_FAILURES", breaker.half_open_max_failures, count, "2"
            ),
        ),
        latency_good_seconds=good,
        latency_bad_seconds=bad,
    )
