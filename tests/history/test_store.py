"""The log: whole polls or none, the same in every process and after every restart, and never in the way."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.history import checkpoint, codec
from bridge.history.store import Latest, Store
from bridge.model import FLEET_METRICS, MODEL_METRICS, PROVIDER_METRICS, CounterId, Event, Key, Poll, Snapshot
from tests.history.snapshots import INTERVAL, T0, Recorder, circuit, memory_of, polls_of, snapshot, verdict

WEEK_SECONDS = 7 * 86_400.0

Open = Callable[..., Store]

KILLED_HALF_WAY = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO polls (at, interval, outcome, message, seconds) VALUES (1, 1, '', '', 1)")
connection.execute("UPDATE latest SET poll = 2")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    """Opens the log anew, as another process would."""
    stores: list[Store] = []

    def open_it(retention_seconds: float = WEEK_SECONDS) -> Store:
        stores.append(Store(folder, retention_seconds=retention_seconds))
        return stores[-1]

    yield open_it
    for one in stores:
        one.close()


def one_provider(at: float, score: float | None = 99.0, name: str = "openai") -> Snapshot:
    return snapshot(at, [verdict(name, health_score=score)], [circuit(name, "gpt")], model_error_rates={Key(name): 0.5})


def opening(at: float, provider: str = "openai", model: str = "gpt") -> Event:
    return Event(at, "circuit", provider, model, "CLOSED", "OPEN", "reported by the gateway")


def fill(log: Recorder, polls: int, start: float = T0) -> None:
    for number in range(polls):
        log.good(one_provider(start + INTERVAL * number, score=float(number)))


class TestReadingBack:
    def test_an_empty_log_has_no_state_no_memory_and_no_rows(self, store: Store) -> None:
        assert store.latest() is None
        assert store.memory().moment is None
        assert polls_of(store, 0, T0 * 2) == []
        assert store.events(0, T0 * 2) == []
        assert store.damage == ""

    def test_a_good_poll_is_read_back_as_it_was(self, opened: Open) -> None:
        one = one_provider(T0)
        Recorder(opened()).good(one, opening(T0))
        found = opened()
        assert found.latest() == Latest(1, Poll(T0, INTERVAL, "ok", "", 0.025, steady=T0), one, None)
        assert found.events(T0, T0) == [opening(T0)]
        [row] = polls_of(found, T0, T0)
        assert (row.at, row.interval, row.outcome, row.seconds) == (T0, INTERVAL, "ok", 0.025)
        assert row.layout == codec.PollLayout(
            codec.Level(("openai",), PROVIDER_METRICS),
            codec.Level(("fleet",), FLEET_METRICS),
            codec.Level((Key("openai"), Key("openai", "gpt")), MODEL_METRICS),
        )

    def test_a_failed_poll_keeps_the_last_good_snapshot_and_says_since_when_it_fails(self, opened: Open) -> None:
        log = Recorder(opened())
        good = log.good(one_provider(T0))
        log.failed(T0 + 15)
        log.failed(T0 + 30, outcome="timeout", message="no answer within 10 s")
        latest = opened().latest()
        assert latest is not None
        assert (latest.snapshot, latest.failing_since) == (good, T0 + 15)
        assert (latest.poll.outcome, latest.poll.message, latest.poll.good) == (
            "timeout",
            "no answer within 10 s",
            False,
        )

    def test_a_failed_poll_is_a_row_without_numbers(self, store: Store) -> None:
        Recorder(store).failed(T0)
        [row] = polls_of(store, T0, T0)
        assert (row.outcome, row.layout, row.numbers) == ("refused", None, None)

    def test_the_first_good_poll_after_failures_ends_them(self, opened: Open) -> None:
        log = Recorder(opened())
        log.failed(T0)
        good = log.good(one_provider(T0 + 15))
        latest = opened().latest()
        assert latest is not None
        assert (latest.snapshot, latest.failing_since) == (good, None)

    def test_ranges_are_closed_at_both_ends_and_in_the_order_of_time(self, store: Store) -> None:
        fill(Recorder(store), 5)
        assert [row.at - T0 for row in polls_of(store, T0 + 15, T0 + 45)] == [15, 30, 45]
        assert [row.at - T0 for row in polls_of(store, T0 + 15.001, T0 + 44.999)] == [30]

    def test_events_of_one_poll_stay_in_the_order_they_happened(self, store: Store) -> None:
        moves = [replace(opening(T0), before=a, after=b) for a, b in (("OPEN", "HALF_OPEN"), ("HALF_OPEN", "OPEN"))]
        Recorder(store).good(one_provider(T0), *moves, Event(T0, "status", "openai", "", "healthy", "down", ""))
        assert store.events(T0, T0, ("circuit",)) == moves
        assert len(store.events(T0, T0, ("circuit", "status"))) == 3
        assert len(store.events(T0, T0)) == 3

    def test_what_is_not_known_stays_not_known(self, opened: Open) -> None:
        Recorder(opened()).good(one_provider(T0, score=None))
        found = opened()
        latest = found.latest()
        assert latest is not None
        assert latest.snapshot is not None
        assert latest.snapshot.verdicts[0].values["provider_health_score"] is None
        [row] = polls_of(found, T0, T0)
        assert row.numbers is not None
        assert row.numbers[0] != row.numbers[0], "NaN, and not 0"

    def test_any_name_is_read_back_as_it_was(self, opened: Open) -> None:
        name = 'we"ird\\pro\nvider \u202e\0 名前'
        one = snapshot(T0, [verdict(name)], [circuit(name, name)], model_error_rates={Key(name, name): 0.5})
        counters = {CounterId("requests", name, name, "", name): 5.0}
        Recorder(opened()).store.append(
            Poll(T0, INTERVAL, "ok", "", 0.1), failing_since=None, snapshot=one, memory=memory_of(one, counters)
        )
        found = opened()
        latest = found.latest()
        assert latest is not None
        assert latest.snapshot == one
        assert found.memory().counters == counters


class TestOneLogManyReaders:
    def test_two_stores_see_each_others_polls(self, opened: Open) -> None:
        stores = [opened(), opened()]
        for number in range(4):
            writer, reader = stores[number % 2], stores[1 - number % 2]
            one = one_provider(T0 + number)
            poll = Poll(one.at, INTERVAL, "ok", "", 0.1)
            writer.append(poll, failing_since=None, snapshot=one, memory=memory_of(one))
            latest = reader.latest()
            assert latest is not None
            assert latest.snapshot == one

    def test_a_failed_poll_is_seen_by_others_too(self, store: Store) -> None:
        log = Recorder(store)
        log.good(one_provider(T0))
        store.latest()
        log.failed(T0 + 15)
        latest = store.latest()
        assert latest is not None
        assert (latest.poll.outcome, latest.failing_since) == ("refused", T0 + 15)

    def test_a_store_sees_what_it_wrote_itself(self, store: Store) -> None:
        for number in range(3):
            one = one_provider(T0 + number)
            poll = Poll(one.at, INTERVAL, "ok", "", 0.1)
            store.append(poll, failing_since=None, snapshot=one, memory=memory_of(one))
            latest = store.latest()
            assert latest is not None
            assert latest.snapshot == one

    def test_every_thread_of_a_worker_sees_the_newest_poll(self, store: Store) -> None:
        log = Recorder(store)
        seen: list[float | None] = []

        def look() -> None:
            latest = store.latest()
            seen.append(latest.poll.at if latest else None)
            store.close()

        for number in range(3):
            log.good(one_provider(T0 + number))
            for _ in range(3):
                thread = threading.Thread(target=look)
                thread.start()
                thread.join()
        assert seen == [T0] * 3 + [T0 + 1] * 3 + [T0 + 2] * 3

    def test_a_slow_reader_does_not_take_others_back_to_an_older_poll(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = Recorder(store)
        log.good(one_provider(T0))
        store.latest()
        log.good(one_provider(T0 + 1))
        reading, go_on = threading.Event(), threading.Event()
        load, slow = codec.load_snapshot, threading.local()

        def load_snapshot(data: bytes) -> Snapshot:
            if getattr(slow, "down", False):
                reading.set()
                go_on.wait(5)
            return load(data)

        def read_slowly() -> None:
            slow.down = True
            store.latest()
            store.close()

        monkeypatch.setattr(codec, "load_snapshot", load_snapshot)
        thread = threading.Thread(target=read_slowly)
        thread.start()
        assert reading.wait(5)
        log.good(one_provider(T0 + 2))
        before = store.latest()
        go_on.set()
        thread.join()
        after = store.latest()
        assert before is not None
        assert after is not None
        assert (before.poll.at, after.poll.at) == (T0 + 2, T0 + 2)

    def test_a_reader_is_not_kept_waiting_by_a_writer(self, opened: Open) -> None:
        reader, writer = opened(), opened()
        Recorder(writer).good(one_provider(T0))
        with writer.database.transaction() as connection:
            connection.execute("DELETE FROM polls")
            assert len(polls_of(reader, T0, T0)) == 1
            latest = reader.latest()
            connection.execute("INSERT INTO polls (at, interval, outcome, message, seconds) VALUES (1, 1, '', '', 1)")
        assert latest is not None

    def test_the_snapshot_is_not_read_again_while_nothing_has_changed(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Recorder(store).good(one_provider(T0))
        first = store.latest()
        monkeypatch.setattr(codec, "load_snapshot", None)
        assert store.latest() is first


class TestWholeOrNotAtAll:
    def test_half_of_a_poll_is_never_written(self, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        store = opened()
        log = Recorder(store)
        log.good(one_provider(T0))
        before = opened().latest()

        def full_disk(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(checkpoint, "write", full_disk)
            with pytest.raises(sqlite3.OperationalError):
                log.good(one_provider(T0 + 15), opening(T0 + 15))
        after = opened()
        assert after.latest() == before
        assert [row.at for row in polls_of(after, 0, T0 * 2)] == [T0]
        assert after.events(0, T0 * 2) == []
        log.good(one_provider(T0 + 30))
        assert [row.at for row in polls_of(after, 0, T0 * 2)] == [T0, T0 + 30]

    def test_a_process_killed_in_the_middle_of_a_poll_leaves_the_polls_before(self, opened: Open) -> None:
        store = opened()
        log = Recorder(store)
        log.good(one_provider(T0))
        ended = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, str(store.path)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert [row.at for row in polls_of(opened(), 0, T0 * 2)] == [T0]
        log.good(one_provider(T0 + 15))
        assert [row.at for row in polls_of(opened(), 0, T0 * 2)] == [T0, T0 + 15]
