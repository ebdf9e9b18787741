"""Incidents and uptimes in the log: what every worker reads, whatever clocks, disks and restarts do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.health.incidents import Watch, update
from bridge.health.observed import Observed
from bridge.history import moving
from bridge.history.database import Database
from bridge.history.retention import LAYOUTS_PRUNED_EVERY
from bridge.history.store import Store, Unwritten
from bridge.history.uptime import DAY, HOUR
from bridge.model import Incident, Moment, Poll, Status
from tests.history.snapshots import INTERVAL, T0, memory_of, snapshot

WELL, UNKNOWN = Observed(Status.HEALTHY), Observed(Status.UNKNOWN)
BAD, DOWN = Observed(Status.DEGRADED, "slow"), Observed(Status.DOWN, "all failed")


class Leader:
    """Writes good polls of one provider down; ``shift`` is how wrong its wall clock is."""

    def __init__(self, folder: Path, retention_seconds: float = 7 * DAY) -> None:
        self.store = Store(folder, retention_seconds=retention_seconds)
        self.watch, self.steady, self.shift, self.epoch = Watch(), T0 - INTERVAL, 0.0, 0
        self.polls = 0

    def poll(self, *said: Observed, after: float = INTERVAL, written: bool = True) -> list[Unwritten]:
        """Polls that say this of groq, one after another."""
        unwritten = []
        for one in said:
            self.steady += after
            at = self.steady + self.shift
            self.watch = update(self.watch, {"groq": one}, Moment(at, self.steady), INTERVAL)
            poll = Poll(at, INTERVAL, "ok", "", 0.1, steady=self.steady, epoch=self.epoch)
            unwritten.append(Unwritten(poll, None, None, self.watch))
            if written:
                self.write(poll)
        return unwritten

    def write(self, poll: Poll, earlier: tuple[Unwritten, ...] = ()) -> None:
        seen = snapshot(poll.at)
        memory = replace(memory_of(seen), watch=self.watch)
        self.polls = self.store.append(poll, failing_since=None, snapshot=seen, memory=memory, earlier=earlier)

    def set_clock(self, by: float) -> None:
        self.shift, self.epoch = self.shift + by, self.epoch + 1
        self.watch = self.watch.dated_anew(by)

    def found(self, start: float = 0.0, end: float = 9e9) -> list[Incident]:
        return self.store.incidents(start, end)

    def uptime(self, span: str = "24h") -> tuple[float, float, float, float]:
        its = self.store.uptimes(self.polls, self.steady + self.shift)["groq"][span]
        return its.unknown, its.healthy, its.degraded, its.down


@pytest.fixture
def leader(tmp_path: Path) -> Leader:
    return Leader(tmp_path)


def test_there_is_one_row_an_incident_which_is_as_it_is_now(leader: Leader) -> None:
    leader.poll(WELL, BAD, DOWN, DOWN)
    assert [(one.start.at, one.phase, one.cause) for one in leader.found()] == [(T0 + 15, "ongoing", "all failed")]
    leader.poll(*[WELL] * 22, BAD)
    assert [one.phase for one in leader.found()] == ["over", "ongoing"]
    assert leader.found() == [*leader.found(end=T0 + 60), *leader.watch.lasting]


def test_those_that_overlap_a_range_are_found(leader: Leader) -> None:
    leader.poll(WELL, BAD, BAD, *[WELL] * 22)
    began, ended = T0 + 15, T0 + 45
    assert len(leader.found(began, began)) == len(leader.found(ended, ended)) == 1
    assert leader.found(ended + 1) == leader.found(0, began - 1) == []


def test_another_process_reads_the_same(leader: Leader, tmp_path: Path) -> None:
    leader.poll(WELL, DOWN, BAD)
    other = Store(tmp_path, retention_seconds=DAY)
    assert other.incidents(0, 9e9) == list(leader.watch.lasting)
    assert other.memory().watch == leader.watch
    other.close()


def test_what_could_not_be_written_in_its_time_is_written_later(leader: Leader) -> None:
    leader.poll(WELL)
    waiting = leader.poll(BAD, *[WELL] * 22, written=False)
    assert leader.found() == []
    leader.write(waiting[-1].poll, tuple(waiting[:-1]))
    assert [one.phase for one in leader.found()] == ["over"]
    assert leader.uptime() == (0.0, 22 * 15.0, 15.0, 0.0)


def test_one_that_nothing_follows_any_more_is_lost_sight_of(leader: Leader) -> None:
    leader.poll(WELL, DOWN, DOWN)
    leader.watch = Watch()  # as with a checkpoint that could not be read
    leader.poll(WELL)
    [found] = leader.found()
    assert (found.phase, found.lost, found.end and found.end.at) == ("over", True, T0 + 30)


def test_one_that_cannot_be_read_is_left_out(leader: Leader) -> None:
    leader.poll(WELL, DOWN)
    leader.store.database.connection().execute("UPDATE incidents SET content = 'noise'")
    assert leader.found() == []
    leader.poll(DOWN)
    assert len(leader.found()) == 1


class TestWrongClock:
    def test_one_that_begins_and_ends_in_it_is_dated_by_the_one_that_is_right(self, leader: Leader) -> None:
        leader.poll(*[WELL] * 4)
        leader.set_clock(DAY)
        leader.poll(BAD, *[WELL] * 22)
        assert [one.start.at for one in leader.found()] == [T0 + 60 + DAY]
        leader.set_clock(-DAY)
        leader.poll(WELL)
        assert [(one.start.at, one.end and one.end.at) for one in leader.found()] == [(T0 + 60, T0 + 75)]

    def test_one_that_lasts_is_dated_by_the_one_that_runs(self, leader: Leader) -> None:
        leader.poll(WELL, BAD)
        leader.set_clock(-DAY)
        leader.poll(BAD)
        assert [one.start.at for one in leader.found()] == [T0 + 15 - DAY]
        leader.set_clock(DAY)
        leader.poll(BAD)
        assert [(one.start.at, one.bad_seconds) for one in leader.found()] == [(T0 + 15, 30.0)]

    def test_one_that_was_over_before_stays_where_it_was(self, leader: Leader) -> None:
        leader.poll(BAD, *[WELL] * 22)
        leader.set_clock(HOUR)
        leader.poll(WELL)
        assert [one.start.at for one in leader.found()] == [T0]

    def test_time_that_a_wrong_clock_dated_does_not_count_for_days_to_come(self, leader: Leader) -> None:
        leader.poll(*[WELL] * 5)
        leader.set_clock(3 * DAY)
        leader.poll(*[DOWN] * 5)
        leader.set_clock(-3 * DAY)
        leader.poll(WELL)
        leader.poll(WELL, after=3 * DAY)
        assert leader.uptime("7d")[3] == 15.0, "the last of them, up to the poll after it"


class TestUptime:
    def test_is_the_time_with_each_status_and_what_is_unknown_is_left_out(self, leader: Leader) -> None:
        leader.poll(UNKNOWN, UNKNOWN, *[WELL] * 5, BAD, BAD, DOWN, WELL)
        assert leader.uptime() == leader.uptime("7d") == leader.uptime("30d") == (30.0, 75.0, 30.0, 15.0)
        its = leader.store.uptimes(leader.polls, leader.steady)["groq"]["24h"]
        assert (its.up_percent, its.healthy_percent) == (87.5, 62.5)

    def test_of_time_in_which_nobody_looked_is_unknown(self, leader: Leader) -> None:
        leader.poll(WELL)
        leader.poll(WELL, after=2 * HOUR)
        assert leader.uptime() == (2 * HOUR - INTERVAL, INTERVAL, 0.0, 0.0)

    def test_a_long_time_is_split_between_the_days_it_lies_in(self, leader: Leader) -> None:
        leader.poll(WELL)
        leader.poll(WELL, after=40 * DAY)
        assert [round(sum(leader.uptime(span)) / DAY, 2) for span in ("7d", "30d")] == [6.33, 29.33], "T0 is 08:00 UTC"
        assert sum(leader.uptime()) / HOUR == pytest.approx(23.0)
        rows = leader.store.database.connection().execute(
            "SELECT sum(unknown + healthy) FROM uptime WHERE span = 86400"
        )
        assert rows.fetchone()[0] == pytest.approx(40 * DAY)

    def test_what_is_older_is_left_out(self, leader: Leader) -> None:
        leader.poll(DOWN, DOWN)
        leader.poll(WELL, after=2 * DAY)
        assert leader.uptime()[3] == 0.0
        assert leader.uptime("7d")[3] == 30.0

    def test_where_nothing_is_known_there_is_none(self, leader: Leader) -> None:
        leader.poll(UNKNOWN, UNKNOWN)
        assert leader.store.uptimes(leader.polls, leader.steady)["groq"]["24h"].up_percent is None

    def test_is_kept_for_ninety_days_and_hours_for_two(self, leader: Leader) -> None:
        leader.poll(WELL, WELL)

        def kept(days: float) -> list[float]:
            leader.steady = T0 + days * DAY
            connection = leader.store.database.connection()
            for _ in range(LAYOUTS_PRUNED_EVERY):
                leader.polls = leader.store.append(
                    Poll(leader.steady, INTERVAL, "timeout", "", 0.1, steady=leader.steady), failing_since=T0
                )
                leader.store.maintain(Moment(leader.steady, leader.steady))
            return [span for (span,) in connection.execute("SELECT DISTINCT span FROM uptime ORDER BY span")]

        assert kept(1.9) == [HOUR, DAY]
        assert kept(2.1) == [DAY]
        assert kept(89.9) == [DAY]
        assert kept(90.1) == []


def test_incidents_are_kept_for_as_long_as_the_history(tmp_path: Path) -> None:
    leader = Leader(tmp_path, retention_seconds=HOUR)
    leader.poll(BAD, *[WELL] * 22)

    def kept(seconds: float) -> int:
        leader.steady = T0 + seconds
        for _ in range(LAYOUTS_PRUNED_EVERY):
            poll = Poll(leader.steady, INTERVAL, "timeout", "", 0.1, steady=leader.steady)
            leader.store.append(poll, failing_since=T0)
            leader.store.maintain(Moment(leader.steady, leader.steady))
        return len(leader.found())

    assert kept(HOUR) == 1
    assert kept(HOUR + 30) == 0


def test_what_was_written_in_memory_is_added_to_the_file(tmp_path: Path) -> None:
    home, memory = Leader(tmp_path / "home"), Leader(tmp_path / "memory")
    home.poll(WELL, DOWN, *[WELL] * 22)
    memory.steady = home.steady
    memory.poll(WELL, BAD, BAD)
    target = Database(tmp_path / "home")
    moving.append(memory.store.database, target)
    moved = Store(tmp_path / "home", retention_seconds=DAY)
    assert [(one.peak, one.phase) for one in moved.incidents(0, 9e9)] == [
        (Status.DOWN, "over"),
        (Status.DEGRADED, "ongoing"),
    ]
    its = moved.uptimes(99, memory.steady)["groq"]["24h"]
    assert (its.healthy, its.degraded, its.down) == (15.0 + 21 * 15.0 + 15.0, 15.0, 15.0)


@pytest.mark.parametrize("tear", [lambda file: file.write_bytes(file.read_bytes()[:-4096])], ids=["cut off"])
def test_a_damaged_file_keeps_what_can_be_read(tmp_path: Path, tear: Callable[[Path], None]) -> None:
    leader = Leader(tmp_path)
    leader.poll(*[one for _ in range(30) for one in (DOWN, *[WELL] * 22)])
    leader.store.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    leader.store.close()
    tear(tmp_path / "history.sqlite")
    store = Store(tmp_path, retention_seconds=DAY)
    assert "kept as" in store.damage
    assert len(store.incidents(0, 9e9)) > 10
    store.close()
