"""The only loop: it goes on whatever happens, keeps time's order, and there is one of it."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge import clock
from bridge.gateway.errors import GatewayError, GatewayUnreachable
from bridge.history import database as database_module
from bridge.history.store import Store
from bridge.model import CircuitState, CounterId, Counters, Key, Learnt, Named, Reading, Signals
from bridge.policy import Policy
from bridge.polling import election as lead_module
from bridge.polling import loop as poller_module
from bridge.polling.election import Candidate, Lead
from bridge.polling.loop import Poller
from tests.history.snapshots import INTERVAL, T0
from tests.one_poller import polled

REFUSED = GatewayUnreachable("connection refused", code="refused")


def signals(state: CircuitState = CircuitState.CLOSED, score: float = 99.0) -> Signals:
    """What a gateway with one provider and one circuit says."""
    key = Key("openai", "gpt")
    return Signals(
        gauges={"reported_score": {Key("openai"): score}},
        circuits={key: state},
        families={"health_score": frozenset({"openai"}), "circuit_breaker_state": frozenset({"openai"})},
        sources={
            "reported_score": ("health_score", "gatewayz-data"),
            "circuit_state": ("circuit_breaker_state", "gatewayz-data"),
        },
        dialects=("gatewayz-data",),
        samples=4,
    )


def near(at: float) -> Any:
    """A time to within a few ticks of the clock."""
    return pytest.approx(at, rel=0, abs=0.001)


class Source:
    """A gateway as the poller sees it: says, or raises, what it is set to."""

    def __init__(self) -> None:
        self.says: Signals | Exception = signals()
        self.read_at: list[float] = []
        self.learnt: list[Learnt] = []

    def read(self, learnt: Learnt) -> Signals:
        self.learnt.append(learnt)
        self.read_at.append(time.monotonic())
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class Time:
    """The poller's clocks. ``passes`` moves both, ``wall`` alone is a clock that is set."""

    def __init__(self) -> None:
        self.wall = T0
        self.steady = 5000.0

    def read(self) -> Reading:
        """What they say. They tick at every read, as clocks do."""
        now = Reading(self.wall, self.steady, "test")
        self.passes(1e-6)
        return now

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Time that only passes when the test says so."""
    clocks = Time()
    monkeypatch.setattr(poller_module, "time", SimpleNamespace(monotonic=lambda: clocks.steady))
    return clocks


@pytest.fixture
def poller(source: Source, store: Store, clocks: Time) -> Poller:
    """A poller that polls when the test says so."""
    return make(source, store, clock=clocks.read)


def make(source: Source, store: Store, *, interval: float = INTERVAL, **more: Any) -> Poller:
    return Poller(source, store, Policy(), interval_seconds=interval, **more)  # type: ignore[arg-type]


def read_again(store: Store) -> Store:
    """The same log, as another worker reads it."""
    return Store(store.path.parent, retention_seconds=1e6)


def times(store: Store) -> list[float]:
    found = store.columns(0, T0 * 2)
    return (found.times - T0).round(3).tolist()


def moves(store: Store, kind: str) -> list[tuple[str, str, str]]:
    return [(event.before, event.after, event.reason) for event in store.events(0, T0 * 2, (kind,))]


class TestOnePoll:
    def test_a_good_poll_is_recorded_with_what_it_brought(self, poller: Poller, store: Store) -> None:
        poll = polled(poller)
        latest = read_again(store).latest()
        assert latest is not None
        assert latest.poll == poll
        assert (poll.at, poll.outcome, poll.interval) == (T0, "ok", INTERVAL)
        assert latest.snapshot is not None
        assert latest.snapshot.verdicts[0].values["provider_reported_health_score"] == 99.0
        assert latest.snapshot.at == T0

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (REFUSED, "refused"),
            (GatewayError("something"), "gateway_error"),
            (ZeroDivisionError("a mistake"), "internal_error"),
            (RecursionError(), "internal_error"),
            (MemoryError(), "internal_error"),
        ],
        ids=lambda value: str(value) if isinstance(value, str) else type(value).__name__,
    )
    def test_a_poll_that_fails_is_recorded_as_such_and_keeps_the_last_good_one(
        self, poller: Poller, store: Store, source: Source, clocks: Time, error: Exception, outcome: str
    ) -> None:
        polled(poller)
        source.says = error
        clocks.passes(INTERVAL)
        poll = polled(poller)
        latest = read_again(store).latest()
        assert (poll.good, poll.outcome) == (False, outcome)
        assert poll.message
        assert latest is not None
        assert latest.failing_since == near(T0 + INTERVAL)
        assert latest.snapshot is not None
        assert latest.snapshot.at == T0

    def test_a_mistake_in_assessing_counts_as_a_failed_poll_and_the_next_one_goes_on_from_before(
        self, poller: Poller, store: Store, source: Source, clocks: Time, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        polled(poller)
        clocks.passes(INTERVAL)
        with monkeypatch.context() as broken:
            broken.setattr(poller_module, "assess", lambda *_: 1 / 0)
            poll = polled(poller)
        assert poll.outcome == "internal_error"
        assert "ZeroDivisionError" in poll.message
        clocks.passes(INTERVAL)
        source.says = signals(CircuitState.OPEN)
        assert polled(poller).good
        assert [(before, after) for before, after, _ in moves(store, "circuit")] == [("", "CLOSED"), ("CLOSED", "OPEN")]

    def test_what_readings_teach_is_kept_when_their_poll_is_accepted_and_handed_to_the_next_also_after_a_restart(
        self, poller: Poller, source: Source, clocks: Time
    ) -> None:
        learnt = Learnt((Named("gw", "id-1", 0, Key("acme", "swift"), 2, 1),), {"gw: score": "percent"}, ("gw",))
        for says in (replace(signals(), learnt=learnt), REFUSED, signals()):
            source.says = says
            polled(poller)
            poller.resume()
            clocks.passes(INTERVAL)
        assert source.learnt == [Learnt(), learnt, learnt]


class TestOutages:
    def test_going_down_and_coming_back_are_one_event_each(
        self, poller: Poller, store: Store, source: Source, clocks: Time
    ) -> None:
        for says in (signals(), REFUSED, REFUSED, REFUSED, signals(), signals()):
            source.says = says
            polled(poller)
            clocks.passes(INTERVAL)
        assert moves(store, "gateway") == [
            ("up", "down", "connection refused"),
            ("down", "up", "polls succeed again"),
        ]
        assert [round(event.at - T0, 3) for event in store.events(0, T0 * 2, ("gateway",))] == [15, 60]

    def test_a_gateway_that_was_never_up_did_not_go_down_from_up(
        self, poller: Poller, store: Store, source: Source
    ) -> None:
        source.says = REFUSED
        polled(poller)
        assert moves(store, "gateway") == [("", "down", "connection refused")]

    def test_a_restart_in_an_outage_remembers_since_when_and_tells_it_once(
        self, poller: Poller, store: Store, source: Source, clocks: Time
    ) -> None:
        polled(poller)
        source.says = REFUSED
        clocks.passes(INTERVAL)
        polled(poller)
        clocks.passes(INTERVAL)
        restarted = make(source, read_again(store), clock=clocks.read)
        restarted.resume()
        polled(restarted)
        latest = read_again(store).latest()
        assert latest is not None
        assert latest.failing_since == near(T0 + INTERVAL)
        source.says = signals()
        clocks.passes(INTERVAL)
        polled(restarted)
        assert [(before, after) for before, after, _ in moves(store, "gateway")] == [("up", "down"), ("down", "up")]

    def test_a_restart_goes_on_with_circuits_where_the_last_poll_stood(
        self, poller: Poller, store: Store, source: Source, clocks: Time
    ) -> None:
        polled(poller)
        clocks.passes(INTERVAL)
        source.says = signals(CircuitState.OPEN)
        polled(poller)
        clocks.passes(INTERVAL)
        restarted = make(source, read_again(store), clock=clocks.read)
        restarted.resume()
        polled(restarted)
        latest = read_again(store).latest()
        assert latest is not None
        assert latest.snapshot is not None
        [circuit] = latest.snapshot.circuits
        assert (circuit.state, circuit.since, circuit.since_known) == (CircuitState.OPEN, near(T0 + INTERVAL), True)
        assert len(moves(store, "circuit")) == 2


class TestClocks:
    """The wall clock dates polls; what they mean goes by seconds that really passed."""

    requests = CounterId("requests", "openai", "gpt", "", "")
    failures = CounterId("failures", "openai", "gpt", "", "")

    def polls(self, poller: Poller, source: Source, clocks: Time, count: int, *, failing: bool = False) -> float | None:
        """So many polls of a gateway that serves a request a second; the request rate after the last."""
        for _ in range(count):
            clocks.passes(INTERVAL)
            served = clocks.steady - 5000
            given = {**signals().sources, **dict.fromkeys(("requests", "failures"), ("requests_total", "test"))}
            counters = {self.requests: served, self.failures: served if failing else 0.0}
            source.says = replace(signals(), circuits={}, counters=Counters.of(counters), sources=given)
            poller.poll_once(clocks.read())
        return poller._memory.window.increases(poller._memory.window.times[-1] - 300)[0] / 300

    @pytest.mark.parametrize("set_by", [-86_400, -3600, -15, -0.5, 0.5, 3600, 400 * 86_400])
    def test_rates_go_on_while_the_clock_is_set(
        self, poller: Poller, source: Source, clocks: Time, set_by: float
    ) -> None:
        assert self.polls(poller, source, clocks, 40) == pytest.approx(1.0, abs=1e-3)
        clocks.wall += set_by
        assert self.polls(poller, source, clocks, 1) == pytest.approx(1.0, abs=1e-3)
        clocks.wall -= set_by
        assert self.polls(poller, source, clocks, 1) == pytest.approx(1.0, abs=1e-3)

    def test_a_breaker_opens_under_a_clock_that_was_put_back(
        self, poller: Poller, source: Source, clocks: Time, store: Store
    ) -> None:
        self.polls(poller, source, clocks, 8)
        clocks.wall -= 3600
        self.polls(poller, source, clocks, 1)
        self.polls(poller, source, clocks, 8, failing=True)
        [circuit] = poller._memory.circuits.values()
        assert circuit.state is CircuitState.OPEN
        assert circuit.first_opened is not None
        assert clocks.wall - 9 * INTERVAL < circuit.first_opened < clocks.wall, "dated by the clock that runs now"

    def test_what_an_earlier_clock_dated_is_dated_by_the_one_that_runs_now(
        self, poller: Poller, source: Source, clocks: Time
    ) -> None:
        for says in (signals(), signals(CircuitState.OPEN), signals(CircuitState.OPEN)):
            source.says = says
            clocks.passes(INTERVAL)
            polled(poller)
        clocks.wall -= 3600
        clocks.passes(INTERVAL)
        polled(poller)
        [circuit] = poller._memory.circuits.values()
        assert clocks.wall - circuit.since == near(2 * INTERVAL)

    def test_polls_count_under_a_clock_that_was_put_back_also_once_the_newest_state_was_lost(
        self, poller: Poller, source: Source, store: Store, clocks: Time
    ) -> None:
        self.polls(poller, source, clocks, 10)
        clocks.wall -= 3600.0
        self.polls(poller, source, clocks, 3)
        store.database.connection().execute("DELETE FROM latest")
        again = read_again(store)
        after = make(source, again, clock=clocks.read)
        after.resume()
        self.polls(after, source, clocks, 3)
        assert len(times(again)) == 6
        assert [epoch.id for epoch in again.epochs()] == [0, 1]
        again.close()

    def test_it_is_told_in_the_log_and_for_an_hour_in_every_snapshot(
        self, poller: Poller, store: Store, clocks: Time
    ) -> None:
        polled(poller)
        clocks.passes(INTERVAL)
        clocks.wall -= 3600
        polled(poller)
        latest = store.latest()
        assert latest is not None
        assert latest.snapshot is not None
        assert any("the clock was set back by 3600 s" in notice for notice in latest.snapshot.notices)

    def test_dates_of_one_clock_rise_strictly_also_where_it_stands_still(self, poller: Poller, clocks: Time) -> None:
        found = [poller.poll_once(Reading(clocks.wall, clocks.steady + number, "test")).at for number in range(3)]
        assert all(earlier < later for earlier, later in pairwise(found))


class TestAnUnwritableLog:
    @pytest.fixture
    def locked(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
        """Another process holds the log's write lock until the function is called."""
        monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 0.02)
        store.close()
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def let_go() -> None:
            if other.in_transaction:
                other.execute("ROLLBACK")

        yield let_go
        let_go()
        other.close()

    def test_polling_goes_on_and_no_event_is_lost(
        self, poller: Poller, store: Store, source: Source, clocks: Time, locked: Callable[[], None]
    ) -> None:
        for says in (signals(), signals(CircuitState.OPEN), REFUSED):
            source.says = says
            polled(poller)
            clocks.passes(INTERVAL)
        assert len(source.read_at) == 3
        assert times(store) == []
        locked()
        source.says = signals(CircuitState.HALF_OPEN)
        polled(poller)
        assert times(store) == [0, 15, 30, 45]
        told = [(round(event.at - T0, 3), event.kind, event.after) for event in store.events(0, T0 * 2)]
        assert [one for one in told if one[1] in ("circuit", "gateway")] == [
            (0, "circuit", "CLOSED"),
            (15, "circuit", "OPEN"),
            (30, "gateway", "down"),
            (45, "gateway", "up"),
            (45, "circuit", "HALF_OPEN"),
        ]
        polled(poller)
        assert len(store.events(0, T0 * 2)) == len(told), "no event is written twice"

    def test_the_workers_see_what_the_log_cannot_hold_and_why(
        self, poller: Poller, store: Store, source: Source, clocks: Time, locked: Callable[[], None]
    ) -> None:
        source.says = signals(score=77.0)
        polled(poller)
        clocks.passes(INTERVAL)
        source.says = REFUSED
        polled(poller)
        worker = read_again(store)
        assert worker.latest() is None
        state = worker.state(clocks.wall)
        assert state is not None
        assert state.snapshot is not None
        assert state.snapshot.verdicts[0].values["provider_reported_health_score"] == 77.0
        assert (state.poll.at, state.poll.good, state.failing_since) == (near(T0 + 15), False, near(T0 + 15))
        assert "database is locked" in state.unwritten
        assert str(store.path) in state.unwritten
        locked()
        clocks.passes(INTERVAL)
        source.says = signals(score=88.0)
        polled(poller)
        for now in (clocks.wall, clocks.wall + 3600):
            again = worker.state(now)
            assert again is not None
            assert (again.poll.at, again.unwritten) == (near(T0 + 30), "")
        assert not store.spare.path.exists()

    def test_what_another_left_in_memory_is_not_taken_for_news(
        self, poller: Poller, store: Store, clocks: Time, locked: Callable[[], None]
    ) -> None:
        polled(poller)
        left = store.spare.path.read_bytes()
        locked()
        polled(poller)
        for content in (left, b"", b"[]", b"noise", left[:-5], b'[{"at": 1}, null, null, null, ""]'):
            store.spare.path.write_bytes(content)
            state = store.state(clocks.wall + 3600)
            assert state is not None
            assert state.unwritten == ""
        poller.resume()
        assert not store.spare.path.exists()

    @pytest.mark.parametrize("planted", ["pipe", "folder", "link"])
    def test_what_others_put_where_the_state_is_shared_stops_nobody(
        self, poller: Poller, store: Store, clocks: Time, locked: Callable[[], None], planted: str, tmp_path: Path
    ) -> None:
        path = store.spare.path
        if planted == "pipe":
            os.mkfifo(path)
        elif planted == "folder":
            path.mkdir()
        else:
            polled(poller)
            (tmp_path / "state").write_bytes(path.read_bytes())
            path.unlink()
            path.symlink_to(tmp_path / "state")
        try:
            assert store.state(clocks.wall + 3600) is None
            descriptors = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(3):
                assert store.state(clocks.wall + 3600) is None
            assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
            poller.resume()
            for _ in range(2):
                assert polled(poller).good
                clocks.passes(INTERVAL)
            locked()
            assert polled(poller).good
            assert times(store)[-1] == 30
        finally:
            if path.is_dir():
                path.rmdir()

    def test_a_clock_that_is_set_back_meanwhile_does_not_hide_what_the_log_cannot_hold(
        self, poller: Poller, store: Store, clocks: Time, locked: Callable[[], None]
    ) -> None:
        locked()
        polled(poller)
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        clocks.passes(INTERVAL)
        clocks.wall -= 3600
        polled(poller)
        state = read_again(store).state(clocks.wall + 1)
        other.close()
        assert state is not None
        assert (state.poll.at, bool(state.unwritten)) == (near(clocks.wall), True)

    def test_polls_that_wait_share_what_they_have_in_common(
        self, poller: Poller, source: Source, clocks: Time, locked: Callable[[], None]
    ) -> None:
        for _ in range(3):
            polled(poller)
            clocks.passes(INTERVAL)
        assert len({id(one.layout) for one in poller._unwritten}) == 1

    def test_polls_that_wait_for_the_log_are_bounded(
        self, poller: Poller, store: Store, clocks: Time, locked: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poller_module, "MAX_POLLS_KEPT", 3)
        for _ in range(6):
            polled(poller)
            clocks.passes(INTERVAL)
        locked()
        polled(poller)
        assert times(store) == [45, 60, 75, 90]

    def test_a_broken_file_does_not_stop_polling(
        self, poller: Poller, source: Source, clocks: Time, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise sqlite3.DatabaseError("database disk image is malformed")

        monkeypatch.setattr(Store, "append", broken)
        for _ in range(3):
            assert polled(poller).good
            clocks.passes(INTERVAL)
        assert len(source.read_at) == 3

    def test_a_file_that_is_damaged_between_two_polls_is_opened_anew_and_the_second_stands_in_it(
        self, poller: Poller, store: Store, clocks: Time
    ) -> None:
        polled(poller)
        store.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = store.path.stat().st_size
        with store.path.open("r+b") as file:
            file.write(b"\xa5" * size)
        clocks.passes(INTERVAL)
        assert polled(poller).good
        state = read_again(store).latest()
        assert state is not None
        assert (state.poll.at, state.poll.good) == (near(T0 + INTERVAL), True)
        assert state.snapshot is not None
        assert any("damaged history" in notice for notice in state.snapshot.notices)
        assert poller._unwritten == []

    def test_events_that_wait_for_the_log_are_bounded(
        self, poller: Poller, source: Source, clocks: Time, locked: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poller_module, "MAX_EVENTS_KEPT", 5)
        for number in range(10):
            source.says = signals(CircuitState(number % 2))
            polled(poller)
            clocks.passes(INTERVAL)
        assert len(poller._events) == 5


class TestTheLead:
    """Real threads and a real lock."""

    @pytest.fixture
    def started(self, source: Source, store: Store) -> Iterator[Callable[..., Candidate]]:
        """Starts pollers on one log, each with a store of its own as in a worker of its own."""
        running: list[Candidate] = []

        def start(interval: float = 1.0) -> Candidate:
            poller = make(source, read_again(store), interval=interval)
            running.append(Candidate(store.path.with_name("leader.lock"), poller.run))
            running[-1].start()
            return running[-1]

        yield start
        for one in running:
            one.stop()

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_the_first_poll_is_made_at_once(self, started: Callable[..., Candidate], source: Source) -> None:
        began = time.monotonic()
        started(interval=60.0)
        self.until(lambda: len(source.read_at) == 1)
        assert source.read_at[0] - began < 30.0

    def test_of_several_pollers_one_polls(self, started: Callable[..., Candidate], source: Source) -> None:
        for _ in range(4):
            started(interval=0.5)
        self.until(lambda: len(source.read_at) == 4)
        gaps = [later - earlier for earlier, later in pairwise(source.read_at)]
        assert min(gaps) > 0.3

    def test_the_next_leader_waits_for_the_interval(self, started: Callable[..., Candidate], source: Source) -> None:
        first = started(interval=1.2)
        self.until(lambda: len(source.read_at) == 1)
        started(interval=1.2)
        first.stop()
        self.until(lambda: len(source.read_at) == 2)
        assert source.read_at[1] - source.read_at[0] > 1.1

    def test_the_next_leader_waits_even_where_the_last_one_died_in_the_middle_of_its_poll(
        self, started: Callable[..., Candidate], source: Source, store: Store
    ) -> None:
        began = time.time()
        store.path.with_name("leader.lock").write_text(f"{began:020.3f}\n")
        started(interval=1.0)
        self.until(lambda: len(source.read_at) == 1)
        assert time.time() - began > 0.9

    def test_a_clock_that_was_ahead_does_not_make_the_next_leader_wait_longer_than_an_interval(
        self, started: Callable[..., Candidate], source: Source, store: Store
    ) -> None:
        store.path.with_name("leader.lock").write_text(f"{time.time() + 86_400:020.3f}\n")
        started(interval=0.5)
        self.until(lambda: len(source.read_at) == 1)

    @pytest.mark.parametrize("content", ["", "noise\n", "\0" * 40])
    def test_a_lock_file_that_says_nothing_is_no_reason_to_wait(
        self, started: Callable[..., Candidate], source: Source, store: Store, content: str
    ) -> None:
        store.path.with_name("leader.lock").write_text(content)
        began = time.monotonic()
        started(interval=60.0)
        self.until(lambda: len(source.read_at) == 1)
        assert time.monotonic() - began < 30.0

    def test_a_leader_that_stumbles_begins_again(
        self, started: Callable[..., Candidate], source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = [sqlite3.OperationalError("database is locked")]
        memory = Store.memory

        def stumbles(store: Store) -> object:
            if failures:
                raise failures.pop()
            return memory(store)

        monkeypatch.setattr(Store, "memory", stumbles)
        started()
        self.until(lambda: len(source.read_at) == 1)
        assert failures == []

    def test_a_leader_that_fails_again_and_again_takes_its_time(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lead_module, "TAKEOVER_SECONDS", 0.05)
        monkeypatch.setattr(lead_module, "LONGEST_PAUSE_SECONDS", 0.4)
        failed_at: list[float] = []
        waits: list[float] = []

        class Stop(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                waits.append(timeout or 0.0)
                return super().wait(timeout)

        def fails(*_: object) -> None:
            failed_at.append(time.monotonic())
            raise OSError("no more processes")

        candidate = Candidate(store.path.with_name("leader.lock"), fails)
        candidate._stop = Stop()
        candidate.start()
        self.until(lambda: len(failed_at) == 6)
        candidate.stop()
        assert waits[:5] == [0.05, 0.1, 0.2, 0.4, 0.4]
        waited = [later - earlier for earlier, later in pairwise(failed_at[:6])]
        assert all(least <= had_to_wait for had_to_wait, least in zip(waited, waits, strict=False))

    def test_a_disk_that_takes_nothing_does_not_keep_a_poll_from_beginning(self, tmp_path: Path) -> None:
        lead = Lead(os.open("/dev/full", os.O_RDWR), Path("/dev/full"))
        lead.begins(clock.read())
        lead.give_up()

    def test_after_standing_still_the_gateway_is_asked_once_and_then_after_an_interval(
        self, poller: Poller, source: Source, clocks: Time, tmp_path: Path
    ) -> None:
        waits: list[float] = []

        class StandsStill(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                waits.append(timeout or 0.0)
                clocks.passes(20 * INTERVAL if len(waits) == 2 else waits[-1])
                return len(waits) > 4

        lead = Lead.take(tmp_path / "leader.lock")
        assert lead is not None
        poller.run(lead, StandsStill())
        assert [round(wait, 3) for wait in waits] == [0.0, INTERVAL, INTERVAL, INTERVAL, INTERVAL]

    def test_polls_that_went_with_the_journal_are_counted_and_told(
        self, poller: Poller, source: Source, store: Store, clocks: Time
    ) -> None:
        class After(threading.Event):
            """Set after so many polls."""

            def __init__(self, polls: int) -> None:
                super().__init__()
                self._left = polls

            def wait(self, timeout: float | None = None) -> bool:
                clocks.passes(timeout or 0.0)
                self._left -= 1
                return self._left < 0

        lead = Lead.take(store.path.with_name("leader.lock"))
        assert lead is not None
        poller.run(lead, After(2))
        store.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = store.path.read_bytes()
        poller.run(lead, After(5))
        store.close()
        for suffix in ("-wal", "-shm"):
            store.path.with_name(store.path.name + suffix).unlink(missing_ok=True)
        store.path.write_bytes(content)
        again = read_again(store)
        make(source, again, clock=clocks.read).run(lead, After(1))
        lead.give_up()
        latest = again.latest()
        assert latest is not None
        assert latest.snapshot is not None
        assert "damaged history: 4 polls were lost in all" in latest.snapshot.notices, "of five the last is in flight"
        assert len(times(again)) == 3
        again.close()

    def test_stopping_ends_the_thread_and_waits_for_nothing(
        self, started: Callable[..., Candidate], source: Source
    ) -> None:
        candidate = started(interval=60.0)
        self.until(lambda: len(source.read_at) == 1)
        before = {thread.name for thread in threading.enumerate()}
        began = time.monotonic()
        candidate.stop()
        assert "lead" in before
        assert time.monotonic() - began < 2.0
        assert "lead" not in {thread.name for thread in threading.enumerate()}

    def test_one_that_was_never_started_can_be_stopped(self, source: Source, store: Store) -> None:
        Candidate(store.path.with_name("leader.lock"), make(source, store).run).stop()
