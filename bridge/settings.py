"""Environment variables → one frozen ``Settings``. The only module that knows their names, defaults and limits.

Nothing here stops at the first mistake: whoever deploys the service sees all of them at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from bridge.policy import BreakerPolicy, Policy

T = TypeVar("T")

DAY_SECONDS = 86400.0
LONGEST_SECONDS = 100 * 365 * DAY_SECONDS
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_DIALECTS = Path(__file__).with_name("gateway") / "dialects"
_UNIT_SECONDS = {
    "y": 365 * DAY_SECONDS,
    "w": 7 * DAY_SECONDS,
    "d": DAY_SECONDS,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>[0-9]{{1,12}}){unit})?" for unit in _UNIT_SECONDS))
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_SIZE = re.compile(r"([0-9]{1,12}) ?([KMG]i?B|B)?", re.IGNORECASE)
_SIZE_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


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
    history_retention_seconds: float = 7 * DAY_SECONDS
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
    read, default = _Reader(environ), Settings(gateway_url="")
    interval = read.value("POLL_INTERVAL", default.poll_interval_seconds, _duration(1.0, DAY_SECONDS), "15s")
    timeout = read.value("POLL_TIMEOUT", min(default.poll_timeout_seconds, interval), _duration(), "10s")
    stale_after = read.value("STALE_AFTER", 3 * interval, _duration(), "45s")
    read.check("POLL_TIMEOUT", timeout <= interval, f"longer than POLL_INTERVAL, {interval:g}s", "10s", "POLL_INTERVAL")
    read.check("STALE_AFTER", stale_after >= interval, f"below POLL_INTERVAL, {interval:g}s", "45s", "POLL_INTERVAL")
    settings = Settings(
        gateway_url=_gateway_url(read),
        metrics_path=read.value("GATEWAY_METRICS_PATH", default.metrics_path, _path, default.metrics_path),
        gateway_token=read.secret("GATEWAY_TOKEN", _token, "the token alone, without 'Bearer'"),
        dialect=read.value("GATEWAY_DIALECT", default.dialect, _dialect, "auto"),
        poll_interval_seconds=interval,
        poll_timeout_seconds=timeout,
        stale_after_seconds=stale_after,
        max_exposition_bytes=read.value("MAX_EXPOSITION_BYTES", default.max_exposition_bytes, _body_size, "64MiB"),
        data_dir=read.value("DATA_DIR", default.data_dir, _directory, "./data"),
        history_retention_seconds=read.value(
            "HISTORY_RETENTION", default.history_retention_seconds, _duration(60.0), "7d"
        ),
        history_url=_history_url(read),
        history_tenant=read.value("HISTORY_TENANT", default.history_tenant, _header_text, "anonymous"),
        history_token=read.secret("HISTORY_TOKEN", _token, "the token alone, without 'Bearer'"),
        policy=_policy(read, default.policy),
        bridge_token=read.secret("BRIDGE_TOKEN", _token, "a long random word"),
        bridge_basic_auth=read.secret("BRIDGE_BASIC_AUTH", _user_and_password, "grafana:a-long-password"),
        cors_origins=read.value("CORS_ORIGINS", default.cors_origins, _origins, "https://grafana.example.com"),
        port=read.value("PORT", default.port, _integer(1, 65535), "5050"),
        web_concurrency=read.value("WEB_CONCURRENCY", default.web_concurrency, _integer(1, 64), "2"),
        log_level=read.value("LOG_LEVEL", default.log_level, _log_level, "INFO"),
    )
    if read.mistakes:
        raise ConfigurationError(read.mistakes)
    return settings


def parse_duration(text: str) -> float:
    """Seconds in a duration as Prometheus writes it (``1h30m``, ``500ms``), or in a bare number of seconds.

    Raises:
        ValueError: when it is neither, is zero, or is longer than 100 years.
    """
    units = _DURATION.fullmatch(text)
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif text and units:
        seconds = sum(int(count) * _UNIT_SECONDS[unit] for unit, count in units.groupdict().items() if count)
    else:
        raise ValueError("not a duration: whole numbers with the units y w d h m s ms, largest first, or plain seconds")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError("out of range: a duration is longer than nothing and at most 100y")
    return seconds


def parse_size(text: str) -> int:
    """Bytes in a size: a bare number of bytes, or a whole number of KiB, MiB, GiB (1024) or KB, MB, GB (1000).

    Raises:
        ValueError: when it is not a size, or is nothing.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size: a whole number of bytes, or of KiB MiB GiB (1024) or KB MB GB (1000)")
    size = int(match[1]) * _SIZE_BYTES[(match[2] or "").upper()]
    if size == 0:
        raise ValueError("out of range: a size is more than nothing")
    return size


class _Reader:
    """Reads variables one by one, and keeps what is wrong with each for the end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._wrong: set[str] = set()
        self.mistakes: list[str] = []

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def value(self, name: str, default: T, parse: Callable[[str], T], example: str) -> T:
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as reason:
            self.wrong(name, f"{name}={_shown(text)}: {reason}; for example {name}={example}")
            return default

    def secret(self, name: str, parse: Callable[[str], str], hint: str) -> str | None:
        text = self._environ.get(name, "")
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as reason:
            self.wrong(name, f"{name} (its value is not shown): {reason}; for example {hint}")
            return None

    def check(self, name: str, fine: bool, reason: str, example: str, other: str) -> None:
        """Note that ``name`` does not go with ``other``, unless one of them is wrong by itself already."""
        if not fine and not self._wrong & {name, other}:
            shown = f"{name}={_shown(self.text(name))}" if self.text(name) else name
            self.wrong(name, f"{shown}: {reason}; for example {name}={example}")

    def wrong(self, name: str, mistake: str) -> None:
        self._wrong.add(name)
        self.mistakes.append(mistake)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


def _gateway_url(read: _Reader) -> str:
    name = "API_BASE_URL" if read.text("API_BASE_URL") and not read.text("GATEWAYZ_API_URL") else "GATEWAYZ_API_URL"
    example = "https://gateway.example.com"
    if not read.text(name):
        read.wrong(name, f"{name} is not set: the gateway's base URL; for example {name}={example}")
    return _base_url(read, name, "GATEWAY_TOKEN", example) or ""


def _history_url(read: _Reader) -> str | None:
    return _base_url(read, "HISTORY_URL", "HISTORY_TOKEN", "http://mimir:9009/prometheus")


def _base_url(read: _Reader, name: str, token_name: str, example: str) -> str | None:
    """A base URL; None when it is not set, or wrong. Credentials belong into the variable ``token_name``."""
    text = read.text(name)
    if not text:
        return None
    try:
        return _checked_url(text, token_name)
    except ValueError as reason:
        # What stands around these characters may be a password or a token.
        scheme, separator, _ = text.partition("://")
        hidden = scheme + "://…" if separator and scheme in ("http", "https") else "…"
        shown = _shown(hidden if set("@?#") & set(text) else text)
        read.wrong(name, f"{name}={shown}: {reason}; for example {name}={example}")
        return None


def _checked_url(text: str, token_name: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if "@" in text:
        raise ValueError(f"holds a user name or password: leave them out and set {token_name}")
    if parts.scheme not in ("http", "https") or not host or port == 0 or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("not a URL that begins with http:// or https:// and a host")
    if set("?#") & set(text):
        raise ValueError("holds a query or a fragment (? or #): give the base URL alone")
    return text.rstrip("/")


def _policy(read: _Reader, default: Policy) -> Policy:
    breaker, count = default.breaker, _integer(1, 1_000_000)
    good = read.value("LATENCY_GOOD", default.latency_good_seconds, _duration(), "2s")
    bad = read.value("LATENCY_BAD", default.latency_bad_seconds, _duration(), "10s")
    read.check("LATENCY_BAD", bad > good, f"not longer than LATENCY_GOOD, {good:g}s", "10s", "LATENCY_GOOD")
    return Policy(
        breaker=BreakerPolicy(
            failure_threshold=read.value("BREAKER_FAILURE_THRESHOLD", breaker.failure_threshold, count, "5"),
            success_threshold=read.value("BREAKER_SUCCESS_THRESHOLD", breaker.success_threshold, count, "2"),
            timeout_seconds=read.value("BREAKER_TIMEOUT", breaker.timeout_seconds, _duration(), "60s"),
            window_seconds=read.value("BREAKER_WINDOW", breaker.window_seconds, _duration(), "60s"),
            failure_rate=read.value("BREAKER_FAILURE_RATE", breaker.failure_rate, _share, "0.5"),
            min_requests=read.value("BREAKER_MIN_REQUESTS", breaker.min_requests, count, "10"),
            half_open_max_failures=read.value(
                "BREAKER_HALF_OPEN_MAX_FAILURES", breaker.half_open_max_failures, count, "2"
            ),
        ),
        latency_good_seconds=good,
        latency_bad_seconds=bad,
    )


def _duration(shortest: float = 0.0, longest: float = LONGEST_SECONDS) -> Callable[[str], float]:
    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if seconds < shortest:
            raise ValueError(f"too short: at least {shortest:g}s")
        if seconds > longest:
            raise ValueError(f"too long: at most {longest:g}s")
        return seconds

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def _share(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 0 < float(text) <= 1:
        raise ValueError("not a share above 0 and up to 1 (0.5 is half)")
    return float(text)


def _body_size(text: str) -> int:
    size = parse_size(text)
    if size < 1024:
        raise ValueError("too small: at least 1KiB (a bare number is bytes)")
    return size


def _path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text) or set("?#") & set(text):
        raise ValueError("not a path: it begins with / and holds no space, ? or #")
    return text


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("holds a space, a line break or another character that cannot stand in a header")
    return text


def _header_text(text: str) -> str:
    if not re.fullmatch(r"[ -~]{1,200}", text):
        raise ValueError("not plain ASCII text of at most 200 characters, as a header can carry")
    return text


def _user_and_password(text: str) -> str:
    user, _, password = text.partition(":")
    if not user or not password or not text.isprintable():
        raise ValueError("not user:password, with a colon between them and no line break or control character")
    return text


def _dialect(text: str) -> str:
    built_in = sorted(file.stem for file in _DIALECTS.glob("*.toml"))
    for name in text.split(","):
        if name.strip() not in ("auto", *built_in) and not Path(name.strip()).is_file():
            raise ValueError(f"neither auto, nor built in ({', '.join(built_in)}), nor a file that exists")
    return text


def _directory(text: str) -> Path:
    path = Path(text)
    nearest = next(place for place in (path, *path.parents) if os.access(place, os.F_OK))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{nearest} is not a directory that this process may write to")
    return path


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(dict.fromkeys(text.lower().replace(",", " ").split()))
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{_shown(origin)} is not an origin: http(s)://host[:port] without a path, or *")
    return origins


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"not one of {' '.join(LOG_LEVELS)}")
    return text.upper()
