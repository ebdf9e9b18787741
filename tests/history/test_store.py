"""The log: whole polls or none, the same in every process and after every restart, and never in the way."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import AVAILABILITY_WINDOW_SECONDS, Memory
from bridge.history import checkpoint, codec
from bridge.history.store import PRUNED_AT_ONCE, Latest, Store
from bridge.model import CounterId, Event, Key, Poll, Snapshot
from bridge.policy import Policy
from tests.captures import replay, scrapes
from tests.history.snapshots import INTERVAL, T0, Recorder, circuit, memory_of, polls_of, snapshot, verdict

PROJECT = Path(__file__).parents[2]
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
OPENS_THE_LOG = """
import sys
from pathlib import Path
from bridge.history.store import Store
print(bool(Store(Path(sys.argv[1]), retention_seconds=60).damage))
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


def count(store: Store, table: str) -> int:
    with sqlite3.connect(store.path) as connection:
        [found] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(found)


def spoil(store: Store, statement: str, *parameters: object) -> None:
    """Change the file behind the bridge's back."""
    connection = sqlite3.connect(store.path)
    with connection:
        assert connection.execute(statement, parameters).rowcount == 1
    connection.close()


class TestReadingBack:
    def test_an_empty_log_has_no_state_no_memory_and_no_rows(self, store: Store) -> None:
        assert store.latest() is None
        assert store.memory().at is None
        assert polls_of(store, 0, T0 * 2) == []
        assert store.events(0, T0 * 2) == []
        assert store.damage == ""

    def test_a_good_poll_is_read_back_as_it_was(self, opened: Open) -> None:
        one = one_provider(T0)
        Recorder(opened()).good(one, opening(T0))
        found = opened()
        assert found.latest() == Latest(1, Poll(T0, INTERVAL, "ok", "", 0.025), one, None)
        assert found.events(T0, T0) == [opening(T0)]
        [row] = polls_of(found, T0, T0)
        assert (row.at, row.interval, row.outcome, row.seconds) == (T0, INTERVAL, "ok", 0.025)
        assert row.layout == codec.PollLayout(("openai",), (Key("openai"),))

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
            broken.setattr(checkpoint, "dump_counters", full_disk)
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


class TestRestarts:
    @pytest.mark.parametrize("gateway", ["gatewayz-data", "gatewayz-metrics"])
    def test_a_restart_after_every_poll_changes_nothing(self, gateway: str, opened: Open) -> None:
        reader, translator = ExpositionReader(), Translator(select("auto"))
        for scrape, undisturbed in zip(scrapes(gateway), replay(gateway), strict=True):
            store = opened()
            signals = translator.translate(reader.read(scrape.body))
            memory, one, events = assess(store.memory(), signals, scrape.at, Policy())
            assert one == undisturbed.snapshot, scrape.name
            assert tuple(events) == undisturbed.events, scrape.name
            poll = Poll(scrape.at, INTERVAL, "ok", "", 0.1)
            store.append(poll, failing_since=None, events=events, snapshot=one, memory=memory)
            found = opened()
            latest = found.latest()
            assert latest is not None
            assert latest.snapshot == one, scrape.name
            assert told_by(found.memory()) == told_by(memory), scrape.name
            store.close()
            found.close()
        told = [event for polled in replay(gateway) for event in polled.events]
        assert opened().events(0, T0 * 2) == told

    def test_the_windows_go_on_over_a_restart_however_long_it_took(self, opened: Open) -> None:
        counter = CounterId("requests", "openai", "", "", "total_requests")
        memory = Memory()
        for number in range(10):
            at = T0 + 60.0 * number
            memory = memory.with_counters(at, {counter: 100.0 * number})
            one = one_provider(at)
            poll = Poll(at, INTERVAL, "ok", "", 0.1)
            opened().append(poll, failing_since=None, snapshot=one, memory=replace(memory, circuits={}))
        found = opened().memory()
        assert found.recent.increases() == memory.recent.increases()
        assert found.hour.increases() == memory.hour.increases()
        later = T0 + 2 * AVAILABILITY_WINDOW_SECONDS
        assert found.with_counters(later, {counter: 5.0}).hour.increases() == {}


def told_by(memory: Memory) -> dict[str, object]:
    """All that a memory says. Arrays have no equality of their own, so its windows speak by their increases."""
    said: dict[str, object] = {name: getattr(memory, name) for name in Memory.__dataclass_fields__}
    return said | {"recent": memory.recent.increases(), "hour": memory.hour.increases()}


class TestDamage:
    def set_aside(self, store: Store, folder: Path) -> None:
        """The damaged file was kept, and said so, and a fresh log works."""
        assert str(folder / "history.sqlite") in store.damage
        assert "set aside" in store.damage
        assert list(folder.glob("history.sqlite.damaged-*"))
        assert store.latest() is None
        Recorder(store).good(one_provider(T0))
        assert len(polls_of(store, T0, T0)) == 1

    @pytest.mark.parametrize("content", [b"this is no database\n" * 300, os.urandom(8192)], ids=["text", "noise"])
    def test_a_file_that_is_no_database_is_set_aside(self, opened: Open, folder: Path, content: bytes) -> None:
        folder.mkdir()
        (folder / "history.sqlite").write_bytes(content)
        self.set_aside(opened(), folder)

    def test_an_empty_file_is_a_fresh_log(self, opened: Open, folder: Path) -> None:
        folder.mkdir()
        (folder / "history.sqlite").touch()
        store = opened()
        assert store.damage == ""
        assert store.latest() is None

    def test_a_log_of_another_version_is_set_aside(self, opened: Open, folder: Path) -> None:
        store = opened()
        store.database.connection().execute("PRAGMA user_version = 99")
        store.close()
        self.set_aside(opened(), folder)

    def test_a_file_that_was_cut_off_is_set_aside(self, opened: Open, folder: Path) -> None:
        store = opened()
        log = Recorder(store)
        fill(log, 200)
        log.store.close()
        store.close()
        file = folder / "history.sqlite"
        for leftover in folder.glob("history.sqlite-*"):
            leftover.unlink()
        file.write_bytes(file.read_bytes()[: 4096 * 3])
        self.set_aside(opened(), folder)

    def test_a_file_with_spoilt_pages_is_set_aside(self, opened: Open, folder: Path) -> None:
        store = opened()
        log = Recorder(store)
        thirty = [verdict(f"provider-{number}", health_score=number / 7) for number in range(30)]
        for number in range(300):
            log.good(snapshot(T0 + INTERVAL * number, thirty))
        log.store.close()
        store.close()
        file = folder / "history.sqlite"
        content = bytearray(file.read_bytes())
        half = len(content) // 2 // 4096 * 4096
        content[half : half + 8 * 4096] = os.urandom(8 * 4096)
        file.write_bytes(content)
        self.set_aside(opened(), folder)

    def test_a_file_that_was_taken_away_is_noticed_and_what_it_left_is_not_taken_for_the_new_ones(
        self, opened: Open, folder: Path
    ) -> None:
        store = opened()
        Recorder(store).good(one_provider(T0))
        assert not store.database.replaced()
        store.path.unlink()
        assert store.database.replaced()
        fresh = opened()
        assert (fresh.damage, fresh.latest()) == ("", None)
        Recorder(fresh).good(one_provider(T0 + 15))
        assert store.database.replaced()
        assert not fresh.database.replaced()
        assert len(polls_of(opened(), 0, T0 * 2)) == 1

    @pytest.mark.parametrize("column", ["snapshot", "memory"])
    @pytest.mark.parametrize("content", [b"", b"noise", zlib.compress(b'{"at": 5}')], ids=["empty", "noise", "else"])
    def test_a_spoilt_checkpoint_does_not_stop_the_service(self, opened: Open, column: str, content: bytes) -> None:
        store = opened()
        Recorder(store).good(one_provider(T0))
        spoil(store, f"UPDATE latest SET {column} = ?", content)
        found = opened()
        found.memory()
        Recorder(found).good(one_provider(T0 + 15))
        latest = found.latest()
        assert latest is not None
        assert latest.poll.at == T0 + 15

    def test_the_damaged_file_is_set_aside_once_when_several_workers_start_at_the_same_time(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "history.sqlite").write_bytes(b"this is no database\n" * 300)
        script = "import sys; from pathlib import Path; from bridge.history.store import Store\n"
        script += "print(bool(Store(Path(sys.argv[1]), retention_seconds=60).damage))"
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        said = [worker.communicate(timeout=30)[0].strip() for worker in workers]
        assert sorted(said) == ["False", "False", "False", "True"]


class TestPruning:
    RETENTION = 600.0

    def test_what_is_older_than_the_retention_goes(self, opened: Open) -> None:
        store = opened(self.RETENTION)
        log = Recorder(store)
        fill(log, 100)
        oldest = polls_of(store, 0, T0 * 2)[0].at
        assert oldest == T0 + 99 * INTERVAL - self.RETENTION

    def test_one_poll_removes_a_bounded_number_of_rows(self, opened: Open) -> None:
        store = opened()
        log = Recorder(store)
        events = [opening(T0) for _ in range(200)]
        log.good(one_provider(T0 - 1), *events)
        fill(log, 240)
        Recorder(opened(self.RETENTION)).good(one_provider(T0 + WEEK_SECONDS / 2))
        assert count(store, "polls") == 241 - PRUNED_AT_ONCE + 1
        assert count(store, "counters") == 241 - PRUNED_AT_ONCE + 1
        assert count(store, "events") == 200 - PRUNED_AT_ONCE

    def test_it_keeps_up_with_what_comes_in(self, opened: Open) -> None:
        store = opened(60.0)
        fill(Recorder(store), 500)
        assert count(store, "polls") <= 6
        assert count(store, "counters") <= AVAILABILITY_WINDOW_SECONDS / INTERVAL + 6

    def test_the_last_event_of_each_circuit_stays_however_old(self, opened: Open) -> None:
        store = opened(self.RETENTION)
        log = Recorder(store)
        closing = replace(opening(T0 + 15), before="OPEN", after="CLOSED")
        still_open = opening(T0, "groq", "llama")
        log.good(one_provider(T0), opening(T0), still_open)
        log.good(one_provider(T0 + 15), closing)
        log.good(one_provider(T0 + 10 * self.RETENTION))
        assert store.events(0, T0 * 2) == [still_open, closing]

    def test_nothing_stays_of_providers_and_circuits_that_are_gone(self, opened: Open) -> None:
        store = opened(self.RETENTION)
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

    def test_layouts_that_nothing_uses_any_more_go_too(self, opened: Open) -> None:
        store = opened(60.0)
        log = Recorder(store)
        for number in range(600):
            log.good(one_provider(T0 + INTERVAL * number, name=f"provider-{number}"))
        assert count(store, "layouts") < 400
        assert len(polls_of(store, 0, T0 * 2)) >= 4, "and what is used stays"

    def test_a_layout_is_stored_once(self, store: Store) -> None:
        fill(Recorder(store), 50)
        assert count(store, "layouts") == 2, "one of numbers and one of counters"


def test_the_folder_is_made_when_it_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "b", retention_seconds=60.0)
    assert store.path.is_file()
    store.close()
