"""Rates tell the truth from the second poll on: after a start, an outage, and for who has just appeared."""

from __future__ import annotations

import pytest

from bridge.model import Signals
from tests.health.polls import INTERVAL, Bridge, says

PER_SECOND = 1.05


def served(seconds: float, *names: str) -> Signals:
    """A gateway that has served so many requests a second for so long, none of which failed."""
    count = 1000 + PER_SECOND * seconds
    return says(requests=dict.fromkeys(names, count), failures=dict.fromkeys(names, 0.0), circuits={"xai": "CLOSED"})


def rate(bridge: Bridge, provider: str = "groq") -> float | None:
    return bridge.value(provider, "provider_request_rate")


def test_a_request_rate_is_right_from_the_second_poll_on() -> None:
    bridge = Bridge()
    bridge.poll(served(0, "groq/a"))
    assert rate(bridge) is None
    for n in range(1, 30):
        bridge.poll(served(n * INTERVAL, "groq/a"))
        assert rate(bridge) == pytest.approx(PER_SECOND, abs=0.001), n
        assert bridge.snapshot.fleet["fleet_request_rate"] == rate(bridge)


@pytest.mark.parametrize("outage", [40.0, 240.0, 290.0, 3600.0])
def test_and_after_an_outage_of_the_gateway(outage: float) -> None:
    bridge, at = Bridge(), 0.0
    for n in range(60):
        step = outage if n == 30 else INTERVAL
        at += step
        bridge.poll(served(at, "groq/a"), after=step)
        assert rate(bridge) in (None, pytest.approx(PER_SECOND, abs=0.001)), n
    assert rate(bridge) is not None


def test_and_when_a_provider_returns_while_others_were_there() -> None:
    bridge = Bridge()
    for n in range(80):
        names = ("groq/a", "openai/b") if n < 20 or n >= 50 else ("openai/b",)
        bridge.poll(served(n * INTERVAL, *names))
        if n == 50:
            assert rate(bridge) is None, "of 30 polls that it was away for nothing is known"
        elif "groq/a" in names and n > 1:
            assert rate(bridge) == pytest.approx(PER_SECOND, abs=0.001), n
        assert n < 1 or rate(bridge, "openai") == pytest.approx(PER_SECOND, abs=0.001), n


def test_explain_says_how_much_of_the_window_a_rate_is_of() -> None:
    bridge = Bridge()
    notes = {}
    for n in range(30):
        bridge.poll(served(n * INTERVAL, "groq/a"))
        notes[n] = bridge.evidence("groq", "requests per second").note
    assert notes[0] == "one poll is not enough for a rate"
    assert (notes[1], notes[4]) == ("over 15 seconds", "over 60 seconds")
    assert {notes[n] for n in range(20, 30)} == {"over 5 minutes"}


def test_a_gauge_of_errors_says_nothing_until_requests_were_seen() -> None:
    """The gateway prints 0 beside a counter that stands still, and beside one of which one poll tells no more."""
    bridge = Bridge()
    for requests, shown in ((500, None), (500, None), (510, 0.0), (520, 0.0)):
        bridge.poll(says(requests={"groq": requests}, error_rate={"groq": 0.0}))
        assert bridge.value("groq", "provider_error_rate") == shown


def test_a_gauge_of_a_gateway_that_counts_no_requests_is_all_there_is() -> None:
    bridge = Bridge()
    bridge.poll(says(error_rate={"groq": 0.25}))
    assert bridge.value("groq", "provider_error_rate") == 0.25


def test_a_provider_none_of_whose_counters_has_ever_a_value_has_no_rate() -> None:
    bridge = Bridge()
    for n in range(3):
        bridge.poll(says(requests={"groq/a": float("nan"), "xai": 10.0 * n}, failures={"groq/a": 0.0, "xai": 0.0}))
        assert rate(bridge) is None
    nothing = float("nan")
    bridge = Bridge()
    for n in range(3):
        bridge.poll(says(requests={"groq": nothing, "xai": 15.0 * n}, failures={"groq": nothing, "xai": 0.0}))
        assert rate(bridge) is None
    assert rate(bridge, "xai") == 1.0
    assert bridge.evidence("groq", "error rate").note == "one poll is not enough for a rate"
