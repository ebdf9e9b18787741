"""How often each circuit opened: what was seen, what was only counted between two polls, and who says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.history.store import Store
from bridge.model import Poll
from bridge.policy import BreakerPolicy, Policy
from tests.health.polls import INTERVAL, Bridge, says

FLAP = ("CLOSED>OPEN", "OPEN>HALF_OPEN", "HALF_OPEN>CLOSED")


def test_an_opening_is_one_out_of_closed_however_often_it_is_tried() -> None:
    bridge = Bridge()
    counted = []
    for state in ("CLOSED", "OPEN", "HALF_OPEN", "OPEN", "HALF_OPEN", "CLOSED", "OPEN", "OPEN", "CLOSED"):
        bridge.poll(says(circuits={"groq": state}))
        counted.append(bridge.circuit("groq").openings)
    assert counted == [0, 1, 1, 1, 1, 1, 2, 2, 2]


def test_what_opened_and_closed_between_two_polls_is_counted() -> None:
    """33 moves in 25 minutes, of which no poll sees any but in the counters of transitions."""
    bridge = Bridge()
    for n in range(101):
        bridge.poll(says(circuits={"groq": "CLOSED"}, moved={"groq": dict.fromkeys(FLAP, n * 11 // 100)}))
    assert bridge.at - 25 * 60 == pytest.approx(bridge.at - 100 * INTERVAL)
    assert bridge.circuit("groq").openings == 11
    assert len([event for event in bridge.history if event.before]) == 33


@pytest.mark.parametrize(
    ("counted", "after"),
    [
        pytest.param(dict.fromkeys(FLAP, 50), "CLOSED", id="more moves than are told one by one"),
        pytest.param({"CLOSED>OPEN": 50}, "OPEN", id="moves that make no way"),
    ],
)
def test_openings_are_counted_where_moves_cannot_be_told_one_by_one(counted: dict[str, float], after: str) -> None:
    bridge = Bridge()
    bridge.poll(says(circuits={"groq": "CLOSED"}, moved={"groq": dict.fromkeys(counted, 0)}))
    bridge.poll(says(circuits={"groq": after}, moved={"groq": counted}))
    assert bridge.circuit("groq").openings == 50
    bridge.poll(says(circuits={"groq": after}, moved={"groq": counted}))
    assert bridge.circuit("groq").openings == 50


def test_rejections_that_told_of_an_opening_before_the_gateway_did_count_it_once() -> None:
    bridge = Bridge()
    bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 0}, moved={"groq": {"CLOSED>OPEN": 0}}))
    bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 5}, moved={"groq": {"CLOSED>OPEN": 0}}))
    assert (bridge.states(), bridge.circuit("groq").openings) == ({"groq": "OPEN"}, 1)
    bridge.poll(says(circuits={"groq": "OPEN"}, rejected={"groq": 9}, moved={"groq": {"CLOSED>OPEN": 1}}))
    assert bridge.circuit("groq").openings == 1


def test_the_gateways_openings_are_not_the_bridges() -> None:
    bridge = Bridge(Policy(BreakerPolicy(failure_threshold=3)))
    for n in (0, 3):
        bridge.poll(says(requests={"groq": n}, failures={"groq": n}))
    assert (bridge.circuit("groq").source, bridge.circuit("groq").openings) == ("bridge", 1)
    bridge.poll(says(circuits={"groq": "OPEN"}, requests={"groq": 3}, failures={"groq": 3}))
    assert (bridge.circuit("groq").source, bridge.circuit("groq").openings) == ("gateway", 0)
    for state in ("CLOSED", "OPEN"):
        bridge.poll(says(circuits={"groq": state}, requests={"groq": 3}, failures={"groq": 3}))
    assert bridge.circuit("groq").openings == 1


def test_a_restart_goes_on_counting(tmp_path: Path) -> None:
    bridge = Bridge()
    store = Store(tmp_path, retention_seconds=86_400)
    for state in ("CLOSED", "OPEN", "CLOSED", "OPEN"):
        bridge.poll(says(circuits={"groq/a": state}))
        poll = Poll(bridge.at, INTERVAL, "ok", "", 0.1, steady=bridge.memory.moment.steady)  # type: ignore[union-attr]
        store.append(poll, failing_since=None, events=bridge.events, snapshot=bridge.snapshot, memory=bridge.memory)
    store.close()
    bridge.memory = Store(tmp_path, retention_seconds=86_400).memory()
    for state in ("CLOSED", "OPEN"):
        bridge.poll(says(circuits={"groq/a": state}))
    assert bridge.circuit("groq/a").openings == 3
