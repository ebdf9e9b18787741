"""An upgrade keeps the history: files of every earlier version are read, and a newer one's is left as it is."""

from __future__ import annotations

import gzip
import json
import sqlite3
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.health.assess import assess
from bridge.health.rounding import rounded_all
from bridge.history import schema
from bridge.history.blocks import seal
from bridge.history.database import Database
from bridge.history.store import Store
from bridge.model import Moment, Poll, Status
from bridge.policy import Policy
from bridge.queries.catalog import METRICS
from bridge.queries.series import Recorded, Steps
from bridge.queries.targets import parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.health.polls import says
from tests.history.snapshots import INTERVAL, Recorder, snapshot, verdict

FIXTURES = Path(__file__).parents[1] / "fixtures" / "history"
VERSIONS = (1, 2)


def said_by(version: int) -> dict[str, Any]:
    """What the version that wrote a file answered from it."""
    answers: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / f"schema-{version}.answers.json.gz").read_bytes()))
    return answers


SAID = said_by(1)
YEARS = 1e9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written_by(1, tmp_path)


def written_by(version: int, folder: Path) -> Path:
    """A folder with the file of a schema."""
    (folder / "history.sqlite").write_bytes(gzip.decompress((FIXTURES / f"schema-{version}.sqlite.gz").read_bytes()))
    return folder


def opened(folder: Path) -> Store:
    return Store(folder, retention_seconds=YEARS)


def assert_the_same(store: Store, said: dict[str, Any] = SAID) -> None:
    """Every metric's points over the range of the fixture are what they were, rounded."""
    end = said["end"]
    recorded = Recorded(store, View(end, store.latest(), 45.0), TimeRange(end - 530 * INTERVAL, end), Steps(1_000_000))
    for name, metric in METRICS.items():
        if name == "gateway_data_age_seconds":
            continue  # it counts from the poll before, since
        found = {json.dumps(one.labels): one for one in recorded.series(metric, parse(name), [])}
        if name not in said["series"]:
            assert all(np.isnan(one.values).all() for one in found.values()), f"{name} came later"
            continue
        wanted = {json.dumps(labels): (times, values) for labels, times, values in said["series"].get(name, [])}
        assert found.keys() == wanted.keys(), name
        for labels, (times, values) in wanted.items():
            known = ~np.isnan(found[labels].values)
            before = np.array(values, dtype=float)
            were_known = ~np.isnan(before)
            np.testing.assert_array_equal(found[labels].times[known], np.array(times)[were_known], name)
            expected = rounded_all(name, before[were_known])
            np.testing.assert_array_equal(found[labels].values[known], expected, f"{name} {labels}")
            assert known.all() <= were_known.all()


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_was_answered_from_a_file_of_an_earlier_schema_is_answered_still(version: int, tmp_path: Path) -> None:
    store, said = opened(written_by(version, tmp_path)), said_by(version)
    assert store.damage == ""
    assert_the_same(store, said)
    assert [list(astuple(event)) for event in store.events(0, said["end"])] == said["events"]
    latest = store.latest()
    assert latest is not None
    assert latest.snapshot is not None
    assert (latest.poll.at, latest.snapshot.at) == (said["end"], said["end"])
    assert latest.poll.steady == latest.poll.at, "what steady time goes on from"
    moment = store.memory().moment
    assert moment is not None
    assert moment.at == said["memory_at"]
    assert store.set_apart() == said.get("set_apart", 0)
    store.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_earlier_schema_did_not_hold_begins_with_the_next_poll(version: int, tmp_path: Path) -> None:
    store, end = opened(written_by(version, tmp_path)), said_by(version)["end"]
    assert (store.incidents(0, end), store.uptimes(0, end)) == ([], {})
    memory, latest = store.memory(), store.latest()
    assert latest is not None
    for at in (end + INTERVAL, end + 2 * INTERVAL):
        signals = says(circuits={"groq": "OPEN"})
        memory, one, _ = assess(memory, signals, Moment(at, at), Policy())
        poll = Poll(at, INTERVAL, "ok", "", 0.1, steady=at, epoch=latest.poll.epoch)
        store.append(poll, failing_since=None, snapshot=one, memory=memory)
    [found] = [one for one in store.incidents(0, at) if one.provider == "groq"]
    assert (found.start.at, found.phase, found.peak) == (end + INTERVAL, "ongoing", Status.DOWN)
    assert store.uptimes(1, at)["groq"]["24h"].down == INTERVAL
    store.close()


def test_it_is_the_same_when_polls_of_schema_1_are_sealed_among_new_ones(folder: Path) -> None:
    store = opened(folder)
    log = Recorder(store)
    for number in range(1, 440):
        log.good(snapshot(SAID["end"] + INTERVAL * number, [verdict("openai")]))
    connection = store.database.connection()
    assert connection.execute("SELECT count(*), count(polls) FROM blocks").fetchone() == (3, 2)
    assert_the_same(store)
    store.close()


def test_files_of_schema_1_are_upgraded_in_no_time(folder: Path) -> None:
    with sqlite3.connect(folder / "history.sqlite") as connection:
        rows = ((1e9 + number, 15.0, "timeout", "no answer", 1.0) for number in range(200_000))
        connection.executemany("INSERT INTO polls (at, interval, outcome, message, seconds) VALUES (?,?,?,?,?)", rows)
    statements: list[str] = []
    database = Database(folder)
    connection = database.connection()
    connection.set_trace_callback(statements.append)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
    assert connection.execute("SELECT count(*) FROM polls WHERE steady IS NOT NULL").fetchone()[0] == 0, "rewritten"
    database.close()


@pytest.mark.parametrize("column", ["memory", "snapshot"])
def test_a_checkpoint_that_cannot_be_read_costs_the_checkpoint(folder: Path, column: str) -> None:
    with sqlite3.connect(folder / "history.sqlite") as connection:
        connection.execute(f"UPDATE latest SET {column} = x'00'")
    store = opened(folder)
    assert (store.memory().moment is None) == (column == "memory")
    latest = store.latest()
    assert latest is not None
    assert (latest.snapshot is None) == (column == "snapshot")
    assert_the_same(store)
    assert not list(folder.glob("*damaged*"))
    store.close()


def test_a_newer_versions_file_is_left_untouched_and_this_one_writes_beside_it_and_says_so(folder: Path) -> None:
    file = folder / "history.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = file.read_bytes()
    for start in range(3):
        store = opened(folder)
        assert f"written by a newer version (schema 99, this one writes {schema.VERSION})" in store.damage
        assert store.path.name == "history-2.sqlite"
        Recorder(store).good(snapshot(SAID["end"] + INTERVAL * start, [verdict("openai")]))
        assert store.columns(0, 2e9).good.sum() == start + 1, "it goes on in its own file"
        latest = store.latest()
        assert latest is not None
        assert latest.snapshot is not None
        assert any("this version goes on in history-2.sqlite" in notice for notice in latest.snapshot.notices)
        store.close()
    assert file.read_bytes() == before


def test_a_file_of_schema_1_can_be_pruned(folder: Path) -> None:
    store = Store(folder, retention_seconds=60.0)
    Recorder(store).good(snapshot(SAID["end"] + 1e6, [verdict("openai")]))
    for _ in range(20):
        store.maintain(Moment(SAID["end"] + 1e6, SAID["end"] + 1e6))
    connection = store.database.connection()
    for table, left in (("polls", 1), ("fresh", 1), ("blocks", 0), ("block_columns", 0), ("counters", 1)):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == left, table
    assert not seal(store.database)
    store.close()
