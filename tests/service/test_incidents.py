"""Incidents of the real service: one a hard outage, one of a fleet, with one annotation, and the same after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.service.harness import Gateway, Service, fleet_exposition, wait_until

pytestmark = pytest.mark.service

SETTLED = ("Start", "Provider", "Status", "Cause", "Number", "Fleet incident", "Pages")
"""Columns that do not change while an incident goes on."""
CLOSED = "\n".join(f'circuit_breaker_state{{service="p{number}"}} 0' for number in range(6)) + "\n"


def incidents(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get("/incidents?format=rows").json
    return found


def series(service: Service, name: str) -> list[str]:
    return [line for line in service.get("/metrics").text.splitlines() if line.startswith(f"{name}{{")]


def test_a_hard_outage_is_one_incident_with_one_annotation_and_goes_on_after_kill_9(
    service: Callable[..., Service], gateway: Gateway
) -> None:
    first = service()
    wait_until(lambda: first.get("/ready").status == 200, "there is a first poll")
    gateway.answer = fleet_exposition(openrouter="open", score=25.0)
    [before] = wait_until(lambda: incidents(first), "it is down")
    assert (before["Provider"], before["Status"], before["Phase"]) == ("openrouter", "down", "ongoing")
    assert before["Kind"] == "too early to say"
    first.kill()

    second = service()
    polls = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) >= polls + 3, "it polls again")
    [after] = incidents(second)
    assert [after[name] for name in SETTLED] == [before[name] for name in SETTLED]
    [drawn] = second.get("/annotations?from=now-1h").json
    assert (drawn["title"], drawn["tags"]) == ("openrouter: down", ["incident", "openrouter", "down"])
    assert len(series(second, "provider_incident")) == 1

    gateway.answer = fleet_exposition()
    wait_until(lambda: incidents(second)[0]["Phase"] == "recovering", "it is healthy again")
    [ended] = incidents(second)
    assert ended["Start"] == before["Start"]
    assert 1.0 <= ended["Bad for"] < 300.0
    [uptime] = [row for row in second.rows("uptime") if (row["Provider"], row["Span"]) == ("openrouter", "24h")]
    assert uptime["Down for"] == pytest.approx(ended["Bad for"], abs=0.2)


def test_a_fleet_that_turns_bad_at_once_pages_once(service: Callable[..., Service], gateway: Gateway) -> None:
    gateway.answer = CLOSED.encode()
    started = service()
    wait_until(lambda: started.get("/ready").status == 200, "there is a first poll")
    gateway.answer = CLOSED.replace("} 0", "} 1", 5).encode()
    found = wait_until(lambda: incidents(started), "it is seen")
    assert [row["Provider"] for row in found] == ["the fleet", "p0", "p1", "p2", "p3", "p4"]
    assert found[0]["Cause"] == "5 of 6 at once: look at the gateway or the network first"
    [drawn] = started.get("/annotations?from=now-1h").json
    assert drawn["title"] == "5 of 6 providers at once"
    assert len(series(started, "fleet_incident")) == 1
    assert ['pages="no"' in line for line in series(started, "provider_incident")] == [True] * 5
    assert "the fleet: ongoing for" in started.get("/").text
