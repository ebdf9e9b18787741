"""One JSON line a request: its keys, its level, its ids, and nothing in it that a client could abuse."""

from __future__ import annotations

import json
import sqlite3
import timeit
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from bridge import logs
from bridge.web import requestlog
from tests.web.conftest import Site

KEYS = [
    *("timestamp", "level", "service", "event", "message"),
    *("request_id", "trace_id", "endpoint", "method", "status_code", "duration_ms"),
]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HOSTILE = "\x1b[31m\x07\u202egnp.exe\u2028\x85\x7f\r\n{'\"\\"


class Log:
    """What was logged since it was last looked at."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def text(self) -> str:
        assert logs._state.output is not None
        logs._state.output.flush()
        return self._captured.readouterr().out

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def line(self) -> dict[str, Any]:
        [line] = self.lines()
        return line


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Log:
    return Log(capfd)


def test_a_request_is_one_line_with_its_keys(log: Log, site: Site) -> None:
    log.text()
    site.post("/query", {"targets": [{"target": "provider_health_score"}]})
    line = log.line()
    assert list(line) == KEYS
    assert line["timestamp"].endswith("Z")
    assert 0 < line["duration_ms"] < 5000
    told = {key: line[key] for key in ("level", "service", "event", "endpoint", "method", "status_code", "trace_id")}
    assert told == {
        "level": "info",
        "service": "provider-health-bridge",
        "event": "request",
        "endpoint": "/query",
        "method": "POST",
        "status_code": 200,
        "trace_id": None,
    }


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/", "info"),
        ("/health", "debug"),
        ("/api/health", "debug"),
        ("/metrics", "debug"),
        ("/no/such/thing", "info"),
        ("/query?target=no_such_metric", "warning"),
    ],
)
def test_the_level_says_whether_anybody_need_look(log: Log, sites: Callable[..., Site], path: str, level: str) -> None:
    site = sites(log_level="DEBUG")
    log.text()
    site.get(path)
    assert log.line()["level"] == level


def test_health_checks_and_scrapes_make_no_noise_even_while_there_is_no_data(log: Log, empty: Site) -> None:
    log.text()
    assert [empty.get(path).status_code for path in ("/health", "/metrics", "/ready")] == [200, 200, 503]
    assert log.lines() == []


def test_a_refused_scrape_is_told(log: Log, sites: Callable[..., Site]) -> None:
    site = sites(bridge_token="right")
    log.text()
    assert site.get("/metrics", Authorization="Bearer wr0ng").status_code == 401
    line = log.line()
    assert (line["level"], line["status_code"], line["endpoint"]) == ("warning", 401, "/metrics")


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_the_log_level_holds_for_requests(log: Log, sites: Callable[..., Site], level: str) -> None:
    site = sites(log_level=level)
    log.text()
    response = site.get("/")
    site.get("/query?target=nope")
    assert [line["status_code"] for line in log.lines()] == ([400] if level == "WARNING" else [])
    assert response.headers["X-Request-ID"]


def test_a_slow_request_is_a_warning(log: Log, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requestlog, "SLOW_SECONDS", 0.0)
    log.text()
    site.get("/health")
    assert log.line()["level"] == "warning"


def broken(site: Site, error: Exception, monkeypatch: pytest.MonkeyPatch, what: str = "latest") -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(site.app.extensions["bridge"].store), what, fail)


def test_a_mistake_of_the_bridges_own_is_one_line_with_its_traceback(
    log: Log, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(site, RuntimeError(f"it broke{HOSTILE}"), monkeypatch)
    log.text()
    response = site.get("/providers?format=text", **{"X-Request-ID": "mine-1"})
    line = log.line()
    assert (response.status_code, response.headers["X-Request-ID"]) == (500, "mine-1")
    assert (line["level"], line["status_code"], line["endpoint"]) == ("error", 500, "/providers")
    assert (line["request_id"], line["message"]) == ("mine-1", "RuntimeError while answering")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert f"RuntimeError: it broke{HOSTILE}" in line["exception"]


def test_a_history_that_cannot_be_read_is_one_line(log: Log, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(site, sqlite3.OperationalError("disk I/O error"), monkeypatch, "columns")
    log.text()
    assert site.get("/query?target=provider_status&from=now-1h&to=now").status_code == 503
    line = log.line()
    assert (line["level"], line["message"]) == ("error", "the history could not be read: disk I/O error")


@pytest.mark.parametrize("path", ["/", "/health", "/no/such/thing", "/query?target=nope", "/query"])
def test_every_answer_carries_the_request_id_that_came(log: Log, site: Site, path: str) -> None:
    log.text()
    assert site.get(path, **{"X-Request-ID": "Grafana:7f/3a=+@b.c~d_e-1"}).headers["X-Request-ID"] == (
        "Grafana:7f/3a=+@b.c~d_e-1"
    )
    assert {line["request_id"] for line in log.lines()} <= {"Grafana:7f/3a=+@b.c~d_e-1"}


@pytest.mark.parametrize(
    "given", ["", " ", "a b", "x" * 129, "\u00e9", "\x1b[31m", '"', "<script>", "a,b", "\u202e", "\x7f"]
)
def test_a_request_id_that_is_not_sane_is_replaced(log: Log, site: Site, given: str) -> None:
    log.text()
    answers = [
        site.client.get("/", environ_overrides={"HTTP_X_REQUEST_ID": given.encode().decode("latin-1")})
        for _ in range(2)
    ]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert ids[0] != ids[1]
    assert all(len(made_up) == 32 and int(made_up, 16) for made_up in ids)
    assert [line["request_id"] for line in log.lines()] == ids


@pytest.mark.parametrize(
    ("given", "trace_id"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f"00-{TRACE}-{PARENT}-00", TRACE),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", TRACE),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}-01\x1b[31m", None),
        (f"00-{TRACE}-{PARENT}", None),
        (TRACE, None),
        ("", None),
    ],
)
def test_the_trace_is_the_one_traceparent_names(log: Log, site: Site, given: str, trace_id: str | None) -> None:
    log.text()
    site.client.get("/", environ_overrides={"HTTP_TRACEPARENT": given})
    assert log.line()["trace_id"] == trace_id


def test_nothing_a_client_sends_gets_into_the_log_but_its_ids(log: Log, sites: Callable[..., Site]) -> None:
    site = sites(bridge_token="s3cret")
    log.text()
    headers = {"Authorization": "Bearer s3cret", "Cookie": "s3cret", "User-Agent": "s3cret", "Referer": "s3cret"}
    for path in ("/providers/s3cret?token=s3cret", "/s3cret", "/query?target=s3cret", "/?s3cret"):
        site.client.get(path, headers=headers)
    site.client.post("/query", data=b'{"targets": [{"target": "s3cret"}]}', headers=headers)
    site.client.get("/", headers={"Authorization": "Bearer s3cret-but-wrong"})
    site.client.open("/query", method="S3CRET", headers=headers)
    text = log.text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert "s3cret" not in text.lower()
    endpoints = [line["endpoint"] for line in lines]
    assert endpoints == ["/providers/<name:name>", "none", "/query", "/", "/query", "/", "none"]
    assert lines[-1]["method"] == "other"


def test_no_line_holds_a_character_that_a_terminal_obeys(log: Log, site: Site) -> None:
    log.text()
    logs.write("info", "test", HOSTILE, {"half": "\ud800", "wide": "\U0001f600", "nan": float("nan")})
    logs.write("info", "test", HOSTILE, {"wide": "\U0001f600", "nan": float("nan"), "object": object})
    text = log.text()
    assert all(" " <= character <= "~" for character in text.replace("\n", ""))
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["message"] for line in lines] == [HOSTILE, HOSTILE]
    assert lines[0]["half"] == "\ud800"
    assert (lines[1]["wide"], lines[1]["nan"]) == ("\U0001f600", None)


def test_lines_written_while_a_request_is_answered_carry_its_ids(
    log: Log, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(*_: object) -> None:
        structlog.get_logger("test").warning("careful", message="something is odd", count=3)
        raise sqlite3.OperationalError("gone")

    monkeypatch.setattr(type(site.app.extensions["bridge"].store), "latest", say)
    log.text()
    site.get("/", **{"X-Request-ID": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"})
    inner, request = log.lines()
    assert list(inner) == [*KEYS, "count"]
    assert (inner["level"], inner["event"], inner["message"]) == ("warning", "careful", "something is odd")
    assert (inner["request_id"], inner["trace_id"], inner["endpoint"]) == ("mine", TRACE, "/")
    assert request["request_id"] == "mine"


def test_a_line_costs_less_than_the_request_it_tells_of(site: Site) -> None:
    environ: dict[str, Any] = {}
    told = timeit.repeat(
        lambda: requestlog._write("info", environ, "/providers", "GET", 200, 0.001), number=2000, repeat=5
    )
    assert min(told) / 2000 < 50e-6, "some 6 µs are usual"
