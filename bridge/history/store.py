"""The durable log: one SQLite file (WAL) with a row for every poll, good or failed, and one for every event.

One process writes (the poller's leader), every worker reads. All that one poll brings is one transaction, so a killed
process loses at most the poll in flight, and a reader never sees half of one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from bridge.health.incidents import Watch
from bridge.health.memory import Memory
from bridge.history import checkpoint, codec, events, incidents, mending, place, retention, uptime
from bridge.history import latest as newest
from bridge.history.blocks import History, seal
from bridge.history.codec import Floats, PollLayout
from bridge.history.columns import GAP_INTERVALS, Columns
from bridge.history.epochs import Epoch
from bridge.history.latest import Latest
from bridge.history.leavers import Leavers
from bridge.history.names import Names
from bridge.history.spare import Spare
from bridge.model import Event, Incident, Key, Moment, Poll, Snapshot

__all__ = ["Latest", "Store", "Unwritten"]

MOST_GONE = 100_000
"""No journal holds more polls: a number that is further on than this is none."""

log = structlog.get_logger("bridge.history")


@dataclass(frozen=True, slots=True)
class Unwritten:
    """What the log is to hold of a poll that could not be written down in its time."""

    poll: Poll
    layout: PollLayout | None
    """None, as the numbers, for a failed poll."""
    numbers: Floats | None
    watch: Watch | None = None
    """What it changed of incidents, and of uptimes."""


class Store:
    """The log in ``data_dir``, made if missing. Any number of threads may use one; each has its own connection."""

    def __init__(self, data_dir: Path, *, retention_seconds: float) -> None:
        """Open the log; in memory where ``data_dir`` cannot be used. ``damage`` says what was wrong with a file.

        Raises OSError or sqlite3.OperationalError when there is no room in memory either.
        """
        self._place = place.Place(data_dir)
        self.spare = Spare(data_dir)
        self._retention_seconds = retention_seconds
        self._lock = threading.Lock()
        self._names = Names(retention_seconds)
        self._open()

    def _open(self) -> None:
        self.database = self._place.open()
        self.history = History(self.database)
        self._leavers = Leavers(self.database)
        self._uptimes = uptime.UptimeReader(self.database)
        self._cached: Latest | None = None
        self._pruning = retention.Pruning(self.database, self._retention_seconds)
        self._scrubbed: int | None = 0
        self._written = 0
        """The number of the last poll that was written down through this object."""
        self._counter_layouts = checkpoint.CounterLayouts()
        self.damage = self.database.damage
        """What was wrong with the file when it was opened, and what that cost; empty when nothing was."""
        if self.database.salvaged:
            self.damage += f": {mending.tidy(self.database)} polls lost"

    def reopen(self) -> None:
        """Open the file again after it was damaged or taken away while it was open. For the process that polls.

        Raises as the constructor does.
        """
        self.database.close()
        self._open()

    @property
    def path(self) -> Path:
        """The file."""
        return self.database.path

    @property
    def retention_seconds(self) -> float:
        """How long the log is kept."""
        return self._retention_seconds

    @property
    def unusable(self) -> str:
        """Why the log is in memory, and not in its folder; empty when it is not."""
        return self._place.unusable

    def close(self) -> None:
        """Close this thread's connection."""
        self.database.close()

    # Reading

    def latest(self) -> Latest | None:
        """The newest state; None before the first poll. Costs next to nothing while nothing has changed."""
        number = self.database.changes.look()
        cached = self._cached
        if number is None:
            return cached
        connection = self.database.connection()
        row = connection.execute("SELECT poll, good_at FROM latest").fetchone()
        if row is None or (cached is not None and cached.poll_id >= row[0]):
            self.database.changes.seen(number)
            return cached
        known = cached.snapshot if cached is not None else None
        found = newest.read(self.database, known if known is not None and known.at == row[1] else None, self.unusable)
        with self._lock:
            if found is not None and (self._cached is None or self._cached.poll_id < found.poll_id):
                self._cached = found
            self.database.changes.seen(number)
            return self._cached

    def state(self, now: float) -> Latest | None:
        """The newest state at ``now``, also where the log could not be written, or cannot be read."""
        try:
            latest = self.latest()
        except sqlite3.Error as error:
            self.doubt()
            latest = self._cached
            if latest is not None:
                latest = replace(latest, unwritten=f"{self.path} cannot be read: {error}")
        if latest is not None and abs(now - latest.poll.at) <= GAP_INTERVALS * latest.poll.interval:
            return latest
        spared = self.spare.read()
        if spared is None or (latest is not None and spared.poll.steady <= latest.poll.steady):
            return latest
        poll_id = latest.poll_id if latest is not None else 0
        return Latest(poll_id, spared.poll, spared.snapshot, spared.failing_since, spared.good_reading, spared.why)

    def doubt(self) -> None:
        """Something could not be read: the process that polls looks through the file."""
        self.database.changes.doubt()

    def memory(self) -> Memory:
        """What the next poll needs to go on where the last one stood; an empty memory for an empty log.

        For the process that polls: what is damaged is taken out first. A checkpoint that cannot be read is lost alone.
        """
        try:
            mending.tidy(self.database)
        except sqlite3.OperationalError as error:  # a full disk, for one: what is damaged is left out all the same
            log.warning("history_not_mended", message=f"what is damaged could not be taken out: {error}")
        self._names.read(self.database)
        try:
            return checkpoint.read(self.database)
        except codec.CORRUPT:
            mending.tidy_counters(self.database)
        try:
            return checkpoint.read(self.database)
        except codec.CORRUPT as error:
            why = f"what windows and breakers go on from could not be read, they begin anew: {type(error).__name__}"
            log.error("memory_lost", message=f"{why}: {error}")
            with self.database.transaction() as connection:
                connection.execute("UPDATE latest SET memory = NULL")
                connection.execute("DELETE FROM counters")
            self.database.note(0, why)
            return Memory()

    def expect(self, last: int) -> None:
        """Polls up to number ``last`` were recorded: those that are gone without a trace, with the journal, are lost.

        ``memory`` counts and tells them. For the process that polls.
        """
        try:
            with self.database.transaction() as connection:
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'polls' AND seq BETWEEN ?1 - ?2 AND ?1 - 1",
                    (last, MOST_GONE),
                )
        except sqlite3.OperationalError as error:
            log.warning("history_not_mended", message=f"lost polls are not looked for: {error}")

    def epochs(self) -> list[Epoch]:
        """Each time for which the wall clock was not set, oldest first."""
        return self.database.epochs()

    def set_apart(self) -> int:
        """How many recorded polls do not count, as a wrong clock dated them."""
        row = self.database.connection().execute(
            "SELECT count(*) FROM polls p JOIN epochs e ON e.id = p.epoch AND p.at >= e.cutoff WHERE e.cutoff < 9e999"
        )
        return int(row.fetchone()[0])

    def columns(self, start: float, end: float, now: float | None = None) -> Columns:
        """The recorded polls from ``start`` to ``end`` (epoch seconds, both included) as columns.

        Of ``now`` on what is older than the retention is not given, whether or not it was removed.
        """
        latest = self.latest()
        kept = start if now is None else max(start, now - self._retention_seconds)
        return self.history.columns(kept, end, latest.poll_id if latest else 0)

    def last_good_before(self, at: float) -> float | None:
        """When the last good poll was before a time (epoch seconds); None when none is recorded."""
        row = self.database.connection().execute(
            "SELECT p.at FROM polls p LEFT JOIN epochs e ON e.id = p.epoch WHERE p.at < ? AND p.outcome = 'ok'"
            " AND p.at < coalesce(e.cutoff, 9e999) ORDER BY p.at DESC LIMIT 1",
            (at,),
        )
        found = row.fetchone()
        return float(found[0]) if found else None

    def first_at(self, now: float) -> float | None:
        """When the oldest poll was that is given at ``now``; None when there is none."""
        latest = self.latest()
        return self.history.first_at(latest.poll_id, now - self._retention_seconds) if latest else None

    def events(self, start: float, end: float, kinds: Sequence[str] = ()) -> list[Event]:
        """The events from ``start`` to ``end`` (both included), oldest first; of some kinds, or of all."""
        return events.between(self.database.connection(), start, end, kinds)

    def events_reach(self, start: float, end: float, most: int, kinds: Sequence[str] = ()) -> float:
        """From when on there are at most ``most`` events up to ``end``: ``start``, or later where there are more."""
        return events.reach(self.database.connection(), start, end, most, kinds)

    def events_from_state(self, start: float, end: float, kind: str) -> list[Event]:
        """One kind's events in a range, after the last one of each circuit before it: the state it was in."""
        return events.from_state(self.database.connection(), start, end, kind)

    def events_from_outages(self, start: float, end: float, kind: str, out: Collection[str], most: int) -> list[Event]:
        """The same from where every outage began that lasted at ``start``; ``out`` are the states they consist of.

        Beside the states there are at most ``most`` events, the newest: what began before them is not known then.
        """
        connection = self.database.connection()
        began = events.unrest_began(connection, start, kind, out)
        return events.from_state(connection, events.reach(connection, began, end, most, (kind,)), end, kind)

    def leavers(self, now: float) -> dict[Key, float]:
        """Who left within the retention, and when, newest first; a whole provider has an empty model.

        Whether one has come back is for the newest snapshot to say.
        """
        return self._leavers.since(now - self._retention_seconds)

    def incidents(self, start: float, end: float) -> list[Incident]:
        """The incidents that overlap a range (both included), by the time they began."""
        return incidents.between(self.database.connection(), start, end)

    def uptimes(self, poll: int, now: float) -> uptime.Uptimes:
        """For how long each provider had which status, after the poll with this number."""
        return self._uptimes.read(poll, now)

    # Writing

    def numbers(self, snapshot: Snapshot, poll: Poll) -> tuple[PollLayout, Floats]:
        """What is to be recorded of a good poll; of more names than the history may know, some are left out."""
        return self._names.admit(*codec.poll_numbers(snapshot), poll.steady)

    def append(
        self,
        poll: Poll,
        *,
        failing_since: float | None,
        events: Sequence[Event] = (),
        snapshot: Snapshot | None = None,
        memory: Memory | None = None,
        earlier: Sequence[Unwritten] = (),
    ) -> int:
        """Write one poll down, whole or not at all; its number. A good one comes with its snapshot and memory.

        ``earlier`` are polls that could not be written in their time, oldest first. Raises sqlite3.Error when it is not
        possible now either (a full disk, for one), or where what was written before cannot be read any more.
        """
        self.database.check(self._written)
        with self._counter_layouts.kept_if_written(), self.database.transaction() as connection:
            layout, numbers = (None, None) if snapshot is None else self.numbers(snapshot, poll)
            if snapshot is not None and self._names.notice:
                snapshot = replace(snapshot, notices=(*snapshot.notices, self._names.notice))
            of_poll: dict[float, list[Event]] = {one.poll.at: [] for one in earlier}
            own = of_poll[poll.at] = []
            for event in filter(self._names.knows, events):
                of_poll.get(event.at, own).append(event)
            for one in (*earlier, Unwritten(poll, layout, numbers, memory.watch if memory else None)):
                poll_id = self._insert(connection, one)
                if one.watch is not None:
                    watch = self._names.known_of(one.watch)
                    incidents.write(connection, one.poll, watch)
                    uptime.write(connection, one.poll, watch)
                _insert_events(connection, one.poll, of_poll[one.poll.at])
            reading = newest.written(poll.reading)
            if snapshot is None or memory is None:
                connection.execute(
                    "INSERT INTO latest (id, poll, failing_since, reading) VALUES (1, ?, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET poll = excluded.poll, failing_since = excluded.failing_since,"
                    " reading = excluded.reading",
                    (poll_id, failing_since, reading),
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO latest"
                    " (id, poll, good_at, failing_since, reading, good_reading, snapshot, memory)"
                    " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        poll_id,
                        snapshot.at,
                        failing_since,
                        reading,
                        reading,
                        codec.dump_snapshot(snapshot),
                        checkpoint.write(connection, self.database, self._counter_layouts, poll_id, memory),
                    ),
                )
        self._written = poll_id
        return poll_id

    def _insert(self, connection: sqlite3.Connection, one: Unwritten) -> int:
        """Write down what is to be read over time; the poll's number."""
        poll = one.poll
        poll_id = connection.execute(
            "INSERT INTO polls (at, steady, epoch, interval, outcome, message, seconds) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (poll.at, poll.steady, poll.epoch, poll.interval, poll.outcome, poll.message, poll.seconds),
        ).lastrowid
        if one.layout is not None and one.numbers is not None:
            layout = self.database.id_of(connection, one.layout)
            connection.execute(
                "INSERT INTO fresh (poll, layout, numbers) VALUES (?, ?, ?)", (poll_id, layout, codec.pack(one.numbers))
            )
        self._date(connection, poll)
        return int(poll_id or 0)

    def _date(self, connection: sqlite3.Connection, poll: Poll) -> None:
        """Keep the poll's epoch up to date. With the first poll of one it may turn out which others count."""
        shift = poll.at - poll.steady
        updated = connection.execute(
            "UPDATE epochs SET shift = ?, steady = ? WHERE id = ?", (shift, poll.steady, poll.epoch)
        )
        if updated.rowcount:
            return
        connection.execute(
            "INSERT INTO epochs (id, first_at, first_steady, shift, steady, cutoff) VALUES (?, ?, ?, ?, ?, 9e999)",
            (poll.epoch, poll.at, poll.steady, shift, poll.steady),
        )
        self.database.date(connection)
        events.carry_over(connection, poll)
        incidents.date_anew(connection, poll)

    def maintain(self, now: Moment) -> None:
        """Remove a little of what is too old at ``now``, seal what can be, and look for damage. After every poll.

        Raises sqlite3.Error when the file cannot be written: nothing is lost by that. Raises place.MovedError where the
        log was in memory and its folder can be used again: this store is of no more use then.
        """
        self._pruning.step(now)
        seal(self.database)
        if self._scrubbed is not None:
            self._scrubbed = mending.scrub(self.database, self._scrubbed)
        self.database.shorten_journal()
        self._place.try_again(self.database)


def _insert_events(connection: sqlite3.Connection, of: Poll, its_events: Sequence[Event]) -> None:
    connection.executemany(
        "INSERT INTO events (at, steady, epoch, kind, provider, model, before, after, reason)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        [(e.at, of.steady, of.epoch, e.kind, e.provider, e.model, e.before, e.after, e.reason) for e in its_events],
    )
