"""How large the history is: right after any number of polls, events and removals, and found without reading it all."""

from __future__ import annotations

import time
from pathlib import Path

from bridge.history.size import measure
from bridge.history.store import Store
from bridge.model import Event, Moment, Poll
from tests.history.snapshots import INTERVAL, T0


def record(store: Store, polls: int, *, since: float = T0, maintain: bool = False) -> None:
    """Failed polls, each with an event."""
    for number in range(polls):
        at = since + number * INTERVAL
        store.append(
            Poll(at, INTERVAL, "timeout", "", 1.0, steady=at),
            failing_since=T0,
            events=[Event(at, "gateway", "", "", "", "", "")],
        )
        if maintain:
            store.maintain(Moment(at, at))


def counted(store: Store, table: str) -> int:
    count: int = store.database.connection().execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


def test_an_empty_history_holds_nothing(store: Store) -> None:
    assert measure(store.database)[:2] == (0, 0)


def test_polls_and_events_are_told(store: Store) -> None:
    record(store, 25)
    assert measure(store.database)[:2] == (25, 25)


def test_what_was_too_old_to_keep_is_no_longer_in_the_rows_but_still_in_the_events(tmp_path: Path) -> None:
    store = Store(tmp_path, retention_seconds=10 * INTERVAL)
    record(store, 40, maintain=True)
    size = measure(store.database)
    assert size.polls == counted(store, "polls") < 40
    assert size.events == 40 > counted(store, "events")
    store.close()


def test_the_bytes_are_those_of_the_files(store: Store) -> None:
    record(store, 200)
    files = store.path.parent.glob("history.sqlite*")
    assert measure(store.database).bytes == sum(file.stat().st_size for file in files)


def test_measuring_costs_the_same_however_long_the_history_is(store: Store) -> None:
    with store.database.transaction() as connection:
        rows = ((T0 + n, T0 + n, 15.0, "ok", "", 0.1) for n in range(100_000))
        connection.executemany(
            "INSERT INTO polls (at, steady, interval, outcome, message, seconds) VALUES (?,?,?,?,?,?)", rows
        )
    took = []
    for _ in range(20):
        began = time.perf_counter()
        assert measure(store.database).polls == 100_000
        took.append(time.perf_counter() - began)
    assert min(took) < 0.0005


def test_a_folder_that_is_none_any_more_takes_no_bytes(store: Store) -> None:
    """What is written down is still read by connections that were open before."""
    record(store, 3)
    folder = store.path.parent
    folder.rename(folder.with_name("gone"))
    folder.touch()
    assert measure(store.database) == (3, 3, 0)
