"""Settings: defaults, what each variable accepts, and that every mistake is reported, at once and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.policy import BreakerPolicy, Policy
from bridge.settings import ConfigurationError, Settings, load
from bridge.variables import parse_duration, parse_size

URL = "https://gateway.example.com"
SECRETS = {
    "GATEWAY_TOKEN": "up-s3cret",
    "BRIDGE_TOKEN": "down-s3cret",
    "BRIDGE_BASIC_AUTH": "grafana:pa55word",
    "HISTORY_TOKEN": "past-s3cret",
}


def load_with(**environ: str) -> Settings:
    return load({"GATEWAYZ_API_URL": URL, **environ})


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_with(**environ)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return caught.value.mistakes


class TestDefaults:
    def test_a_gateway_is_all_it_takes(self) -> None:
        assert load({"GATEWAYZ_API_URL": URL}) == Settings(gateway_url=URL)

    def test_the_defaults_are_the_documented_ones(self) -> None:
        assert Settings(gateway_url=URL) == Settings(
            gateway_url=URL,
            metrics_path="/prometheus/data/metrics",
            gateway_token=None,
            dialect="auto",
            poll_interval_seconds=15.0,
            poll_timeout_seconds=10.0,
            stale_after_seconds=45.0,
            max_exposition_bytes=67_108_864,
            data_dir=Path("./data"),
            history_retention_seconds=604_800.0,
            history_url=None,
            history_tenant=None,
            history_token=None,
            policy=Policy(BreakerPolicy(5, 2, 60.0, 60.0, 0.5, 10, 2), 2.0, 10.0),
            bridge_token=None,
            bridge_basic_auth=None,
            cors_origins=(),
            port=5050,
            web_concurrency=2,
            log_level="INFO",
        )

    def test_an_empty_variable_counts_as_unset(self) -> None:
        names = ["GATEWAY_TOKEN", "POLL_INTERVAL", "PORT", "DATA_DIR", "CORS_ORIGINS", "LOG_LEVEL", "BRIDGE_BASIC_AUTH"]
        assert load_with(**dict.fromkeys(names, "")) == load_with()


class TestValues:
    @pytest.mark.parametrize(
        ("name", "text", "field", "value"),
        [
            ("GATEWAYZ_API_URL", "http://10.0.0.1:8000/gw/", "gateway_url", "http://10.0.0.1:8000/gw"),
            ("GATEWAYZ_API_URL", "http://[fd12::1]:8000", "gateway_url", "http://[fd12::1]:8000"),
            ("GATEWAY_METRICS_PATH", "/metrics", "metrics_path", "/metrics"),
            ("GATEWAY_TOKEN", "abc.def", "gateway_token", "abc.def"),
            ("GATEWAY_DIALECT", "gatewayz-data", "dialect", "gatewayz-data"),
            ("POLL_INTERVAL", "1m", "poll_interval_seconds", 60.0),
            ("POLL_TIMEOUT", "500ms", "poll_timeout_seconds", 0.5),
            ("STALE_AFTER", "15", "stale_after_seconds", 15.0),
            ("MAX_EXPOSITION_BYTES", "1GiB", "max_exposition_bytes", 2**30),
            ("DATA_DIR", "somewhere/new", "data_dir", Path("somewhere/new")),
            ("HISTORY_RETENTION", "90d", "history_retention_seconds", 90 * 86400.0),
            ("HISTORY_URL", "http://mimir:9009/prometheus/", "history_url", "http://mimir:9009/prometheus"),
            ("HISTORY_TENANT", "team a|team-b", "history_tenant", "team a|team-b"),
            ("HISTORY_TOKEN", "abc.def", "history_token", "abc.def"),
            ("BRIDGE_TOKEN", "abc", "bridge_token", "abc"),
            ("BRIDGE_BASIC_AUTH", "grafana:with: colon, ünd space", "bridge_basic_auth", None),
            ("CORS_ORIGINS", "https://A.example, http://b:3000  *", "cors_origins", None),
            ("PORT", " 8080 ", "port", 8080),
            ("WEB_CONCURRENCY", "64", "web_concurrency", 64),
            ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ],
    )
    def test_a_good_value_is_taken(self, name: str, text: str, field: str, value: object) -> None:
        expected = {"cors_origins": ("https://a.example", "http://b:3000", "*"), "bridge_basic_auth": text}
        assert getattr(load_with(**{name: text}), field) == (value or expected[field])

    def test_the_policy_is_read(self) -> None:
        settings = load_with(
            BREAKER_FAILURE_THRESHOLD="1",
            BREAKER_SUCCESS_THRESHOLD="3",
            BREAKER_TIMEOUT="5m",
            BREAKER_WINDOW="2m",
            BREAKER_FAILURE_RATE="1",
            BREAKER_MIN_REQUESTS="20",
            BREAKER_HALF_OPEN_MAX_FAILURES="4",
            LATENCY_GOOD="500ms",
            LATENCY_BAD="3",
        )
        assert settings.policy == Policy(BreakerPolicy(1, 3, 300.0, 120.0, 1.0, 20, 4), 0.5, 3.0)

    def test_a_dialect_file_of_ones_own_is_found(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.touch()
        assert load_with(GATEWAY_DIALECT=str(file)).dialect == str(file)

    def test_the_old_name_of_the_url_still_works(self) -> None:
        assert load({"API_BASE_URL": URL}).gateway_url == URL
        assert load({"API_BASE_URL": "https://old.example", "GATEWAYZ_API_URL": URL}).gateway_url == URL

    def test_the_timeout_follows_a_short_interval_that_was_set_alone(self) -> None:
        assert load_with(POLL_INTERVAL="5s").poll_timeout_seconds == 5.0
        assert load_with(POLL_INTERVAL="1m").poll_timeout_seconds == 10.0

    def test_stale_is_three_intervals(self) -> None:
        assert load_with(POLL_INTERVAL="20s").stale_after_seconds == 60.0


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "text", "reason"),
        [
            ("GATEWAYZ_API_URL", "gateway.example.com", "not a URL that begins with http:// or https:// and a host"),
            ("GATEWAYZ_API_URL", "ftp://gateway", "not a URL that begins"),
            ("GATEWAYZ_API_URL", "https://", "not a URL that begins"),
            ("GATEWAYZ_API_URL", "https://host:99999", "not a URL that begins"),
            ("GATEWAYZ_API_URL", "https://[fd12", "not a URL that begins"),
            ("GATEWAYZ_API_URL", "https://ho st", "not a URL that begins"),
            ("GATEWAY_METRICS_PATH", "metrics", "begins with /"),
            ("GATEWAY_METRICS_PATH", "/metrics?x=1", "no space, ? or #"),
            ("GATEWAY_DIALECT", "gatewayz", "neither auto, nor built in (circuit-breaker"),
            ("POLL_INTERVAL", "soon", "not a duration: whole numbers with the units y w d h m s ms"),
            ("POLL_INTERVAL", "15 s", "not a duration"),
            ("POLL_INTERVAL", "500ms", "too short: at least 1s"),
            ("POLL_INTERVAL", "2d", "too long: at most 86400s"),
            ("POLL_TIMEOUT", "-1", "not a duration"),
            ("POLL_TIMEOUT", "0s", "out of range"),
            ("POLL_TIMEOUT", "NaN", "not a duration"),
            ("POLL_TIMEOUT", "16s", "longer than POLL_INTERVAL, 15s"),
            ("STALE_AFTER", "14s", "below POLL_INTERVAL, 15s"),
            ("MAX_EXPOSITION_BYTES", "64M", "not a size"),
            ("MAX_EXPOSITION_BYTES", "64", "too small: at least 1KiB (a bare number is bytes)"),
            ("HISTORY_RETENTION", "7", "too short: at least 60s"),
            ("HISTORY_RETENTION", "101y", "at most 100y"),
            ("HISTORY_URL", "mimir:9009", "not a URL that begins with http:// or https:// and a host"),
            ("HISTORY_TENANT", "größe", "not plain ASCII text"),
            ("HISTORY_TENANT", "a\nX-Other: b", "not plain ASCII text"),
            ("HISTORY_TENANT", "a" * 201, "at most 200 characters"),
            ("BREAKER_FAILURE_THRESHOLD", "0", "not a whole number from 1 to 1000000"),
            ("BREAKER_SUCCESS_THRESHOLD", "2.5", "not a whole number"),
            ("BREAKER_TIMEOUT", "none", "not a duration"),
            ("BREAKER_WINDOW", "0", "out of range"),
            ("BREAKER_FAILURE_RATE", "50%", "not a share above 0 and up to 1"),
            ("BREAKER_FAILURE_RATE", "1.01", "not a share"),
            ("BREAKER_MIN_REQUESTS", "-3", "not a whole number"),
            ("BREAKER_HALF_OPEN_MAX_FAILURES", "٣", "not a whole number"),
            ("LATENCY_BAD", "2s", "not longer than LATENCY_GOOD, 2s"),
            ("CORS_ORIGINS", "https://a.example/", "'https://a.example/' is not an origin"),
            ("CORS_ORIGINS", "a.example", "is not an origin"),
            ("PORT", "65536", "not a whole number from 1 to 65535"),
            ("WEB_CONCURRENCY", "65", "not a whole number from 1 to 64"),
            ("LOG_LEVEL", "chatty", "not one of DEBUG INFO WARNING ERROR CRITICAL"),
        ],
    )
    def test_a_mistake_names_the_variable_its_value_what_is_allowed_and_an_example(
        self, name: str, text: str, reason: str
    ) -> None:
        [mistake] = mistakes(**{name: text})
        shown = text if len(text) <= 80 else text[:80] + "…"
        assert mistake.startswith(f"{name}={shown!r}: ")
        assert reason in mistake
        assert f"; for example {name}=" in mistake

    def test_a_missing_gateway_is_a_mistake(self) -> None:
        with pytest.raises(ConfigurationError, match="GATEWAYZ_API_URL is not set: .*; for example GATEWAYZ_API_URL="):
            load({})

    def test_a_mistake_in_the_old_name_is_reported_under_that_name(self) -> None:
        with pytest.raises(ConfigurationError, match="^API_BASE_URL='nowhere'"):
            load({"API_BASE_URL": "nowhere"})

    def test_an_interval_that_outgrows_a_set_staleness_is_reported(self) -> None:
        [mistake] = mistakes(POLL_INTERVAL="1m", STALE_AFTER="45s")
        assert mistake.startswith("STALE_AFTER='45s': below POLL_INTERVAL, 60s")

    def test_a_limit_that_only_its_partner_breaks_is_named_without_a_value(self) -> None:
        [mistake] = mistakes(LATENCY_GOOD="12s")
        assert mistake.startswith("LATENCY_BAD: not longer than LATENCY_GOOD, 12s")

    def test_all_mistakes_are_listed_together_one_a_line(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load({"POLL_INTERVAL": "soon", "PORT": "http", "BRIDGE_BASIC_AUTH": "grafana", "LATENCY_GOOD": "fast"})
        lines = str(caught.value).splitlines()
        names = ["POLL_INTERVAL", "GATEWAYZ_API_URL", "LATENCY_GOOD", "BRIDGE_BASIC_AUTH", "PORT"]
        assert len(lines) == len(names)
        assert all(line.startswith(name) for line, name in zip(lines, names, strict=True))

    def test_one_mistake_does_not_cause_another(self) -> None:
        assert len(mistakes(POLL_INTERVAL="1 minute", POLL_TIMEOUT="30s")) == 1

    def test_a_long_value_is_cut_short(self) -> None:
        [mistake] = mistakes(PORT="9" * 5000)
        assert len(mistake) < 300

    def test_a_line_break_in_a_value_does_not_break_the_list(self) -> None:
        [mistake] = mistakes(LOG_LEVEL="INFO\nDEBUG")
        assert "\n" not in mistake


class TestSecrets:
    def test_they_are_not_in_the_representation(self) -> None:
        settings = load_with(**SECRETS)
        assert {name: getattr(settings, name.lower()) for name in SECRETS} == SECRETS
        assert not any(secret in repr(settings) for secret in SECRETS.values())

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("GATEWAY_TOKEN", "hush-hush\n"),
            ("GATEWAY_TOKEN", "Bearer hush-hush"),
            ("GATEWAY_TOKEN", "hush-hush\x00"),
            ("HISTORY_TOKEN", "Bearer hush-hush"),
            ("HISTORY_URL", "https://user:hush-hush@mimir.example.com"),
            ("HISTORY_URL", "https://mimir.example.com/?token=hush-hush"),
            ("BRIDGE_TOKEN", "hush-hüsh-hush-hush"),
            ("BRIDGE_BASIC_AUTH", "hush-hush"),
            ("BRIDGE_BASIC_AUTH", ":hush-hush"),
            ("BRIDGE_BASIC_AUTH", "user:"),
            ("BRIDGE_BASIC_AUTH", "user:hush-hush\r\n"),
            ("GATEWAYZ_API_URL", "https://user:hush-hush@gateway.example.com"),
            ("GATEWAYZ_API_URL", "https://user:a/b?hush-hush@gateway.example.com"),
            ("GATEWAYZ_API_URL", "user:hush-hush@gateway.example.com"),
            ("GATEWAYZ_API_URL", "https://gateway.example.com/?token=hush-hush"),
            ("GATEWAYZ_API_URL", "https://gateway.example.com/#hush-hush"),
        ],
    )
    def test_a_wrong_one_is_reported_without_its_value(self, name: str, text: str) -> None:
        [mistake] = mistakes(**{name: text})
        assert mistake.startswith(name)
        assert "hush" not in mistake

    def test_credentials_in_the_url_are_refused_with_a_way_out(self) -> None:
        [mistake] = mistakes(GATEWAYZ_API_URL="https://user:password@gateway.example.com")
        assert "set GATEWAY_TOKEN" in mistake
        [mistake] = mistakes(HISTORY_URL="https://user:password@mimir.example.com")
        assert "set HISTORY_TOKEN" in mistake


class TestDuration:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("500ms", 0.5),
            ("15s", 15.0),
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("7d", 604_800.0),
            ("1w", 604_800.0),
            ("1y", 31_536_000.0),
            ("1y2w3d4h5m6s7ms", 33_019_506.007),
            ("15", 15.0),
            ("0.25", 0.25),
        ],
    )
    def test_it_reads_what_prometheus_writes(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "text", ["", " ", "s", "1.5h", "30m1h", "15S", "1h 30m", "-15s", "+15", "1e3", "inf", "nan", "٣s", "0", "0s"]
    )
    def test_it_refuses_all_else(self, text: str) -> None:
        with pytest.raises(ValueError, match="duration"):
            parse_duration(text)

    @given(st.text())
    def test_whatever_it_is_given_it_answers_or_refuses(self, text: str) -> None:
        try:
            seconds = parse_duration(text)
        except ValueError:
            return
        assert seconds > 0


class TestSize:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("1", 1),
            ("100B", 100),
            ("2KiB", 2048),
            ("64MiB", 67_108_864),
            ("1GiB", 2**30),
            ("2KB", 2000),
            ("3 MB", 3_000_000),
            ("4gb", 4 * 10**9),
        ],
    )
    def test_it_reads_binary_and_decimal_units(self, text: str, size: int) -> None:
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "MiB", "1.5GiB", "64M", "-1", "0", "0KiB", "1TiB", "1e6", "9" * 30])
    def test_it_refuses_all_else(self, text: str) -> None:
        with pytest.raises(ValueError, match="size"):
            parse_size(text)
