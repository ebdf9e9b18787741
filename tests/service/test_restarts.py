"""What a killed service leaves behind, and how one stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.service.harness import Gateway, Service, ask, fleet_exposition, wait_until

pytestmark = pytest.mark.service

PROMPTLY_SECONDS = 8.0


def circuits(service: Service) -> dict[str, dict[str, Any]]:
    """The circuits table by provider, without what moves by itself."""
    return {
        row["Provider"]: {column: cell for column, cell in row.items() if column != "For"}
        for row in service.rows("circuits")
    }


def transitions(service: Service) -> list[dict[str, Any]]:
    return service.rows("transitions", range={"from": "now-1h", "to": "now"})


def test_after_kill_9_and_a_start_the_open_breaker_is_still_open_since_the_same_time(
    service: Callable[..., Service], gateway: Gateway
) -> None:
    first = service()
    wait_until(lambda: first.get("/ready").status == 200, "there is a first poll")
    gateway.answer = fleet_exposition(openrouter="open", score=25.0)
    wait_until(lambda: circuits(first)["openrouter"]["State"] == "OPEN", "the breaker opens")
    before, moves = circuits(first), transitions(first)
    assert [(row["Kind"], row["To"]) for row in moves] == [("status", "down"), ("circuit", "OPEN")]
    first.kill()

    second = service()
    assert circuits(second) == before, "it does not answer from the log at once"
    polls = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) >= polls + 2, "it polls again")
    assert circuits(second) == before, "the first polls after the start changed what they should have gone on from"
    assert transitions(second) == moves

    gateway.answer = fleet_exposition()
    wait_until(lambda: circuits(second)["openrouter"]["State"] == "CLOSED", "the breaker closes")
    closing, opening = [row for row in transitions(second) if row["Kind"] == "circuit"]
    assert (closing["From"], closing["To"]) == ("OPEN", "CLOSED")
    assert opening == next(row for row in moves if row["Kind"] == "circuit")


def test_the_time_without_a_service_is_a_gap_in_the_line(service: Callable[..., Service], gateway: Gateway) -> None:
    first = service()
    wait_until(lambda: len(gateway.asked_at) >= 2, "two polls")
    first.kill()
    killed = len(gateway.asked_at)
    time.sleep(2.5)
    second = service()
    wait_until(lambda: len(gateway.asked_at) >= killed + 2, "two more")
    values = second.values("provider_health_score", range={"from": "now-1m", "to": "now"})["openai"]
    known = [value for value in values if value is not None]
    assert len(known) >= 3
    assert values.count(None) == 1
    assert values[0] is not None
    assert values[-1] is not None


def test_a_history_that_is_taken_away_meanwhile_is_begun_anew_by_everybody(
    service: Callable[..., Service], gateway: Gateway, tmp_path: Path
) -> None:
    started = service()
    wait_until(lambda: started.get("/ready").status == 200, "there is a first poll")
    before, polls = set(started.workers()), len(gateway.asked_at)
    (tmp_path / "data" / "history.sqlite").unlink()
    wait_until(lambda: len(workers := set(started.workers())) == 2 and not workers & before, "new workers begin", 40.0)
    wait_until(lambda: len(gateway.asked_at) >= polls + 3, "polls go on")
    assert {started.get("/ready").status for _ in range(20)} == {200}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_promptly_and_cleanly(service: Callable[..., Service], number: signal.Signals) -> None:
    started = service()
    wait_until(lambda: started.get("/ready").status == 200, "there is a first poll")
    idle = HTTPConnection("127.0.0.1", started.port)  # as browsers and proxies keep them
    assert ask(idle, "GET", "/health").status == 200
    process = started.process
    assert process is not None
    process.send_signal(number)
    assert process.wait(PROMPTLY_SECONDS) == 0
    idle.close()
    assert "Traceback" not in started.error_file.read_text() + started.log_file.read_text()
    assert not list(started.log_file.parent.glob("bridge-metrics-*")), "it leaves rubbish behind"


def test_sigterm_does_not_wait_for_a_gateway_that_hangs(service: Callable[..., Service], gateway: Gateway) -> None:
    gateway.answer = "hang"
    started = service(POLL_INTERVAL="30s", POLL_TIMEOUT="30s")
    wait_until(lambda: gateway.asked_at, "a poll is in flight")
    process = started.process
    assert process is not None
    process.terminate()
    assert process.wait(PROMPTLY_SECONDS) == 0


class TestWrongConfiguration:
    """The start is stopped, with one message that lists every mistake."""

    def refused(self, folder: Path, **environment: str) -> str:
        service = Service(folder, {"GATEWAYZ_API_URL": "http://127.0.0.1:1", **environment})
        try:
            code = service.launch().wait(20)
        finally:
            service.kill()
        said = service.error_file.read_text() + service.log_file.read_text()
        assert code not in (0, None)
        assert "Traceback" not in said, said
        return said

    def test_every_mistake_is_listed(self, tmp_path: Path) -> None:
        said = self.refused(
            tmp_path,
            GATEWAYZ_API_URL="ftp://gateway",
            GATEWAY_DIALECT="no-such-dialect",
            POLL_INTERVAL="often",
            STALE_AFTER="-1",
            BREAKER_FAILURE_RATE="1.5",
            PORT="http",
            WEB_CONCURRENCY="0",
            LOG_LEVEL="loud",
            BRIDGE_BASIC_AUTH="a-password-without-a-user",
        )
        for name in ("GATEWAYZ_API_URL", "GATEWAY_DIALECT", "POLL_INTERVAL", "STALE_AFTER", "BREAKER_FAILURE_RATE"):
            assert name in said
        for name in ("PORT", "WEB_CONCURRENCY", "LOG_LEVEL", "BRIDGE_BASIC_AUTH"):
            assert name in said
        assert "no-such-dialect" in said
        assert "gatewayz-data" in said, "it does not say which dialects there are"
        assert "a-password-without-a-user" not in said

    def test_without_a_gateway_it_says_which_variable_is_missing(self, tmp_path: Path) -> None:
        assert "GATEWAYZ_API_URL is not set" in self.refused(tmp_path, GATEWAYZ_API_URL="")

    def test_a_dialect_file_with_a_mistake_in_it_is_told_like_any_other_mistake(self, tmp_path: Path) -> None:
        dialect = tmp_path / "mine.toml"
        dialect.write_text('name = "mine"\n[[signals]]\nsignal = "reported_scor"\n')
        said = self.refused(tmp_path, GATEWAY_DIALECT=str(dialect))
        assert "mine.toml" in said
