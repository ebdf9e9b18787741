"""What a long memory shows: nothing that was bad for a moment gets lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.history.store import Store
from bridge.model import CircuitState, Event, Moment, Poll
from bridge.queries.catalog import metric
from bridge.queries.series import Recorded, Steps
from bridge.queries.targets import parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import T0, Recorder, circuit, snapshot, verdict

DAY = 86_400.0
OPEN_AT = T0 + 23 * DAY
NOW = T0 + 30 * DAY


@pytest.mark.parametrize("name", ["provider_circuit_breaker_state", "model_circuit_breaker_state"])
def test_ten_seconds_open_a_week_ago_show_in_a_panel_of_30_days_and_500_points(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path, retention_seconds=31 * DAY)
    log = Recorder(store)
    every = 1800.0
    times = [T0 + every * number for number in range(int(30 * DAY / every))]
    for at in sorted([*times, OPEN_AT + 5, OPEN_AT + 10, OPEN_AT + 15]):
        opened = OPEN_AT < at < OPEN_AT + 15
        state = CircuitState.OPEN if opened else CircuitState.CLOSED
        moves = {T0: ("", "CLOSED"), OPEN_AT + 5: ("CLOSED", "OPEN"), OPEN_AT + 15: ("OPEN", "CLOSED")}.get(at)
        events = [Event(at, "circuit", "openai", "gpt-4o", *moves, "reported")] if moves else []
        one = snapshot(
            at, [verdict("openai", circuit_breaker_state=float(state))], [circuit("openai", "gpt-4o", state)]
        )
        log.good(one, *events)
    panel = Recorded(store, View(NOW, store.latest(), 45.0), TimeRange(T0, NOW), Steps(500))
    [series] = panel.series(metric(name), parse(name), [])
    known = [(value, at) for value, at in series.points if value is not None]
    assert len(known) <= 500
    worst, when = next((value, at) for value, at in known if value == CircuitState.OPEN)
    assert worst == 1
    assert when in (OPEN_AT + 5, OPEN_AT + 10), "at a time at which it was seen open"
    store.close()


def test_a_poll_does_not_look_at_events_that_are_far_from_too_old(tmp_path: Path) -> None:
    store = Store(tmp_path, retention_seconds=7 * DAY)
    events = [Event(T0, "status", "openai", "", "healthy", "down", "") for _ in range(50_000)]
    store.append(Poll(T0, 15.0, "timeout", "", 0.1, steady=0.0), failing_since=T0, events=events)
    store.maintain(Moment(T0, 0.0))
    thousands: list[int] = []
    store.database.connection().set_progress_handler(lambda: thousands.append(1), 1_000)
    store.maintain(Moment(T0 + 15.0, 15.0))
    assert len(thousands) < 100, "thousands of instructions of SQLite"
    store.close()
