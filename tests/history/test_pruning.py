"""What is too old goes, a little with every poll; it is not given any more at once, and nothing else is ever lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge.history.blocks import BLOCK_POLLS
from bridge.history.store import Store
from bridge.model import Event, Moment, Poll, Snapshot
from bridge.queries.catalog import metric
from bridge.queries.series import Recorded, Steps
from bridge.queries.targets import parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, Recorder, memory_of, polls_of, snapshot, verdict

WEEK_SECONDS = 7 * 86_400.0
RETENTION = 600.0

Open = Callable[..., Store]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the log anew, as another process would."""
    stores: list[Store] = []

    def open_it(retention_seconds: float = WEEK_SECONDS) -> Store:
        stores.append(Store(tmp_path, retention_seconds=retention_seconds))
        return stores[-1]

    yield open_it
    for one in stores:
        one.close()


def one_provider(at: float, score: float | None = 99.0, name: str = "openai") -> Snapshot:
    return snapshot(at, [verdict(name, health_score=score)])


def opening(at: float, provider: str = "openai", model: str = "gpt") -> Event:
    return Event(at, "circuit", provider, model, "CLOSED", "OPEN", "reported by the gateway")


def fill(log: Recorder, polls: int, start: float = T0) -> None:
    """Polls whose score is how many intervals after T0 they were."""
    for number in range(polls):
        at = start + INTERVAL * number
        log.good(one_provider(at, score=(at - T0) / INTERVAL))


def count(store: Store, table: str) -> int:
    return int(store.database.connection().execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def answered(store: Store, now: float) -> list[float]:
    """The times of all polls that are given at ``now``, in intervals after T0; each has its own value."""
    columns = store.columns(0, now, now)
    _, scores = columns.of_providers("provider_health_score")
    times = (columns.times[columns.good] - T0) / INTERVAL
    np.testing.assert_array_equal(scores[columns.good, 0] if len(times) else [], times)
    return [float(at) for at in times]


def test_what_is_older_than_the_retention_goes(opened: Open) -> None:
    store = opened(RETENTION)
    log = Recorder(store)
    fill(log, 100)
    oldest = polls_of(store, 0, T0 * 2)[0].at
    assert oldest == T0 + 99 * INTERVAL - RETENTION


def test_it_keeps_up_with_what_comes_in(opened: Open) -> None:
    store = opened(60.0)
    fill(Recorder(store), 500)
    assert count(store, "polls") <= 6
    assert count(store, "counters") <= 300 / INTERVAL + 1, "those that a window spans"


def test_the_last_event_of_each_circuit_stays_however_old(opened: Open) -> None:
    store = opened(RETENTION)
    log = Recorder(store)
    closing = replace(opening(T0 + 15), before="OPEN", after="CLOSED")
    still_open = opening(T0, "groq", "llama")
    log.good(one_provider(T0), opening(T0), still_open)
    log.good(one_provider(T0 + 15), closing)
    log.good(one_provider(T0 + 10 * RETENTION))
    assert store.events(0, T0 * 2) == [still_open, closing]


def test_nothing_stays_of_providers_and_circuits_that_are_gone(opened: Open) -> None:
    store = opened(RETENTION)
    log = Recorder(store)
    for number in range(300):
        at, name = T0 + INTERVAL * number, f"p{number}"
        came = Event(at, "roster", name, "", "absent", "present", "first seen")
        worse = Event(at + 1, "status", name, "", "healthy", "down", "every circuit is OPEN")
        gone = Event(at + 2, "circuit", name, "m", "OPEN", "", "no longer there")
        went = Event(at + 2, "roster", name, "", "present", "absent", "in no family")
        log.good(one_provider(at), came, opening(at, name, "m"), worse, gone, went)
    for number in range(300, 400):
        log.good(one_provider(T0 + INTERVAL * number))
    assert count(store, "events") == 0


def test_layouts_that_nothing_uses_any_more_go_too(opened: Open) -> None:
    store = opened(60.0)
    log = Recorder(store)
    for number in range(600):
        log.good(one_provider(T0 + INTERVAL * number, name=f"provider-{number}"))
    assert count(store, "layouts") < 400
    assert len(polls_of(store, 0, T0 * 2)) >= 4, "and what is used stays"


def test_a_layout_is_stored_once(store: Store) -> None:
    fill(Recorder(store), 50)
    assert count(store, "layouts") == 2, "one of numbers and one of counters"


def test_one_poll_prunes_for_a_bounded_time(opened: Open) -> None:
    store = opened()
    one = one_provider(T0)
    events = [opening(T0, model=f"m{number % 50}") for number in range(20_000)]
    poll = Poll(T0, INTERVAL, "ok", "", 0.1, steady=T0)
    store.append(poll, failing_since=None, events=events, snapshot=one, memory=memory_of(one))
    fill(Recorder(store), 300)
    short = opened(RETENTION)
    later = T0 + WEEK_SECONDS
    Recorder(short).good(one_provider(later))
    left, took = count(store, "events"), []
    while count(store, "events") > 50:
        began = time.perf_counter()
        short.maintain(Moment(later, later))
        took.append(time.perf_counter() - began)
        assert count(store, "events") < left
        left = count(store, "events")
    assert len(took) < 300
    assert sorted(took)[len(took) // 2] < 0.3
    assert count(store, "polls") == 1


@pytest.mark.parametrize("events", [100, 10_000])
def test_events_in_bulk_do_not_pile_up(opened: Open, events: int) -> None:
    store = opened(4 * INTERVAL)
    log = Recorder(store)
    for number in range(14):
        at = T0 + INTERVAL * number
        log.good(one_provider(at), *(Event(at, "status", f"p{n}", "", "healthy", "down", "") for n in range(events)))
    assert count(store, "events") <= 7 * events


@pytest.mark.parametrize("off", [400 * 86_400.0, -400 * 86_400.0])
def test_a_clock_that_is_wrong_prunes_nothing(opened: Open, off: float) -> None:
    store = opened(WEEK_SECONDS)
    log = Recorder(store)
    fill(log, 600)
    kept = [count(store, table) for table in ("polls", "fresh", "blocks", "counters", "events")]
    for _ in range(30):
        store.maintain(Moment(T0 + 599 * INTERVAL + off, T0 + 599 * INTERVAL))
    assert [count(store, table) for table in ("polls", "fresh", "blocks", "counters", "events")] == kept


def test_a_retention_that_is_shorter_than_two_blocks_is_kept_by_every_worker(opened: Open) -> None:
    log, worker = Recorder(opened(100 * INTERVAL)), opened(100 * INTERVAL)
    fill(log, 50)
    assert len(answered(worker, T0 + 49 * INTERVAL)) == 50
    for start in range(50, 1_000, 50):
        fill(log, 50, T0 + start * INTERVAL)
        now = T0 + (start + 49) * INTERVAL
        wanted = [float(n) for n in range(max(0, start + 49 - 100), start + 50)]
        assert answered(worker, now) == wanted
        state = worker.history._known
        assert state is not None
        assert len(state.rows) < 160, "its memory grows"
    assert answered(opened(100 * INTERVAL), now) == wanted


def test_after_a_long_stop_nothing_old_is_answered_though_it_is_removed_little_by_little(opened: Open) -> None:
    retention = 3 * BLOCK_POLLS * INTERVAL
    log = Recorder(opened(retention))
    fill(log, 1_000)
    later = T0 + 3 * retention
    worker = opened(retention)
    assert answered(worker, later) == []
    assert worker.first_at(later) is None
    for number in range(12):
        fill(log, 1, later + number * INTERVAL)
        now = later + number * INTERVAL
        assert answered(worker, now) == [(later - T0) / INTERVAL + n for n in range(number + 1)]
        columns = worker.columns(0, now)
        _, scores = columns.of_providers("provider_health_score")
        assert not np.isnan(scores[columns.good]).any(), "a good poll without values"
    assert count(worker, "blocks") == 0


def test_a_block_that_is_pruned_while_it_is_read_shifts_no_value(opened: Open) -> None:
    store = opened()
    log = Recorder(store)
    fill(log, 4 * BLOCK_POLLS)
    now = T0 + 4 * BLOCK_POLLS * INTERVAL
    columns = store.columns(0, now)
    with store.database.transaction() as connection:
        connection.execute("DELETE FROM block_columns WHERE block = 2")
        connection.execute("DELETE FROM blocks WHERE id = 2")
    _, scores = columns.of_providers("provider_health_score")
    known = ~np.isnan(scores[:, 0])
    assert known.sum() == 3 * BLOCK_POLLS
    np.testing.assert_array_equal(scores[known, 0], (columns.times[known] - T0) / INTERVAL)
    fill(log, 1, now)
    assert len(answered(store, now)) == 3 * BLOCK_POLLS + 1, "asked anew it is left out altogether"


def test_remote_history_is_asked_for_what_is_no_longer_given(opened: Open) -> None:
    store = opened(RETENTION)
    fill(Recorder(store), 20)
    now = T0 + 19 * INTERVAL + RETENTION - 5 * INTERVAL
    assert store.first_at(now) == T0 + 14 * INTERVAL
    panel = Recorded(store, View(now, store.latest(), 45.0), TimeRange(0, now), Steps(1_000))
    [series] = panel.series(metric("provider_health_score"), parse("provider_health_score"), [])
    assert series.points[0] == (14.0, T0 + 14 * INTERVAL)
