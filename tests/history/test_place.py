"""A folder that cannot be used stops nothing: the history is in memory meanwhile, and goes on there afterwards."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bridge.history import place, spare
from bridge.history.store import Store
from bridge.model import Event, Moment
from tests.history.snapshots import INTERVAL, T0, Recorder, snapshot, verdict

WEEK_SECONDS = 7 * 86_400.0


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where memory is, for this test alone."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(spare, "MEMORY", folder)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A file stands where the folder is to be."""
    (tmp_path / "data").write_text("in the way")
    return tmp_path / "data"


def opened(data_dir: Path) -> Store:
    return Store(data_dir, retention_seconds=WEEK_SECONDS)


def record(store: Store, start: int, polls: int) -> None:
    log = Recorder(store)
    log.store.close()
    log.store = store
    for number in range(start, start + polls):
        at = T0 + INTERVAL * number
        event = Event(at, "status", "openai", "", "healthy", "down", str(number))
        log.good(snapshot(at, [verdict("openai", health_score=float(number))]), event)


def scores(store: Store) -> list[float]:
    columns = store.columns(0, T0 * 2)
    return [float(score) for score in columns.of_providers("provider_health_score")[1][columns.good, 0]]


def test_without_its_folder_the_log_is_in_memory_for_all_processes_and_says_so(data_dir: Path, memory: Path) -> None:
    writer, reader = opened(data_dir), opened(data_dir)
    record(writer, 0, 3)
    assert scores(reader) == [0, 1, 2]
    latest = reader.latest()
    assert latest is not None
    assert f"DATA_DIR={data_dir} cannot be used" in latest.unwritten
    assert memory in reader.path.parents
    assert reader.path.parent.stat().st_mode & 0o777 == 0o700
    writer.close()
    reader.close()


@pytest.mark.parametrize("polls", [3, 700])
@pytest.mark.parametrize("before", [0, 600])
def test_when_the_folder_can_be_used_again_all_goes_on_there(
    data_dir: Path, polls: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.unlink()
    if before:
        first = opened(data_dir)
        record(first, 0, before)
        first.close()
    hidden = data_dir.rename(data_dir.with_name("hidden")) if before else None
    data_dir.write_text("in the way")
    store = opened(data_dir)
    record(store, before + 20, polls)
    data_dir.unlink()
    if hidden:
        hidden.rename(data_dir)
    store.maintain(Moment(T0, T0))  # not yet: it is tried again each minute
    monkeypatch.setattr(place, "RETRY_SECONDS", 0.0)
    store._place._next_try = 0.0
    with pytest.raises(place.MovedError):
        store.maintain(Moment(T0, T0))
    assert store.database.replaced(), "the workers begin anew"
    again = opened(data_dir)
    numbers = [*range(before), *range(before + 20, before + 20 + polls)]
    assert again.unusable == ""
    assert scores(again) == numbers
    assert [event.reason for event in again.events(0, T0 * 2)] == [str(number) for number in numbers]
    latest = again.latest()
    assert latest is not None
    assert latest.poll.at == T0 + INTERVAL * numbers[-1]
    assert latest.poll.epoch == again.epochs()[-1].id, "what the next poll goes on from"
    assert again.set_apart() == 0
    again.close()


def test_steady_time_goes_on_where_the_folder_ended(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir.unlink()
    first = opened(data_dir)
    record(first, 0, 5)
    steady = first.epochs()[-1].steady
    first.close()
    hidden = data_dir.rename(data_dir.with_name("hidden"))
    data_dir.write_text("in the way")
    store = opened(data_dir)
    record(store, 10, 5)
    with store.database.transaction() as connection:  # its own time line began elsewhere
        connection.execute("UPDATE polls SET steady = steady - 1e9")
        connection.execute("UPDATE epochs SET steady = steady - 1e9, first_steady = first_steady - 1e9, shift = 1e9")
    data_dir.unlink()
    hidden.rename(data_dir)
    store._place._next_try = 0.0
    with pytest.raises(place.MovedError):
        store.maintain(Moment(T0, T0 - 1e9))
    again = opened(data_dir)
    assert [epoch.steady for epoch in again.epochs()] == [steady, steady + 10 * INTERVAL]
    assert again.epochs()[1].shift == pytest.approx(0.0, abs=1e-6)
    assert len(scores(again)) == 10
    again.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_the_right_to_write_is_one_that_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o500)
    store = opened(folder)
    assert store.unusable
    store.close()


def test_a_file_that_stays_locked_is_one_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.history.database.BUSY_TIMEOUT_SECONDS", 0.1)
    opened(tmp_path / "data").close()
    with closing(sqlite3.connect(tmp_path / "data" / "history.sqlite")) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        store = opened(tmp_path / "data")
        assert "locked" in store.unusable
        store.close()


def test_a_folder_in_memory_that_is_not_ours_alone_is_not_used(data_dir: Path) -> None:
    spare.in_memory(data_dir).with_suffix(".history").mkdir(mode=0o755)
    with pytest.raises(PermissionError):
        opened(data_dir)


def test_a_worker_that_alone_could_not_open_the_folder_begins_anew(data_dir: Path) -> None:
    worker = opened(data_dir)
    data_dir.unlink()
    opened(data_dir).close()
    assert not worker.database.replaced(), "it is tried again each minute"
    worker._place._next_try = 0.0
    assert worker.database.replaced()
    worker.close()
