"""The durable log: one SQLite file (WAL) with a row for every poll, good or failed, and one for every event.

One process writes (the poller's leader), every worker reads. All that one poll brings is one transaction, so a killed
process loses at most the poll in flight, and a reader never sees half of one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.health.memory import Memory
from bridge.history import checkpoint, codec, events
from bridge.history.blocks import History, seal
from bridge.history.codec import Floats, PollLayout
from bridge.history.columns import GAP_INTERVALS, Columns
from bridge.history.database import Database
from bridge.history.spare import Spare
from bridge.model import Event, Poll, Snapshot

PRUNED_AT_ONCE = 100
"""Rows that one poll removes at most, so that pruning never holds an answer up."""
LAYOUTS_PRUNED_EVERY = 100


@dataclass(frozen=True, slots=True)
class Latest:
    """The state of things that every worker answers from."""

    poll_id: int
    poll: Poll
    """The last poll, good or failed."""
    snapshot: Snapshot | None
    """The last good poll's; None when there never was one."""
    failing_since: float | None
    """When the first of the failed polls in a row was; None while polls succeed."""
    good_clock: float | None = None
    """What the clock said at the last good poll, where that is not its time."""
    unwritten: str = ""
    """Why the log does not hold this poll; empty for one that it holds."""

    @property
    def good_seen_at(self) -> float | None:
        """When the last good poll was, by the clock; None when there never was one."""
        return self.snapshot.at if self.snapshot and self.good_clock is None else self.good_clock


@dataclass(frozen=True, slots=True)
class Unwritten:
    """What the log is to hold of a poll that could not be written down in its time."""

    poll: Poll
    layout: PollLayout | None
    """None, as the numbers, for a failed poll."""
    numbers: Floats | None


class Store:
    """The log in ``data_dir``, made if missing. Any number of threads may use one; each has its own connection."""

    def __init__(self, data_dir: Path, *, retention_seconds: float) -> None:
        """Open the log. ``damage`` says so when a damaged file was set aside and a fresh one begun.

        Raises OSError when the folder can't be made or written.
        """
        self.database = Database(data_dir)
        self.history = History(self.database)
        self.spare = Spare(data_dir)
        self._retention_seconds = retention_seconds
        self._cached: Latest | None = None
        self._counter_layouts = checkpoint.CounterLayouts()
        self._lock = threading.Lock()
        with self.database.opening():
            self._check()

    def _check(self) -> None:
        """Set a file aside that holds what cannot be understood."""
        try:
            self.latest()
            row = self.database.connection().execute("SELECT memory FROM latest").fetchone()
            if row is not None and row[0] is not None:
                checkpoint.load(row[0], ())
        except codec.CORRUPT as error:
            self._cached = None
            self.database.set_aside(f"its newest state: {type(error).__name__}: {error}")

    @property
    def path(self) -> Path:
        """The file."""
        return self.database.path

    @property
    def retention_seconds(self) -> float:
        """How long the log is kept."""
        return self._retention_seconds

    @property
    def damage(self) -> str:
        """What was wrong with a file that was set aside; empty when none was."""
        return self.database.damage

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
        wanted = "NULL" if known is not None and known.at == row[1] else "l.snapshot"
        poll_id, failing_since, good_clock, content, *poll = connection.execute(
            f"SELECT l.poll, l.failing_since, l.good_clock, {wanted}, p.at, p.interval, p.outcome, p.message,"
            " p.seconds, p.clock FROM latest l JOIN polls p ON p.id = l.poll"
        ).fetchone()
        snapshot = codec.load_snapshot(content) if content is not None else known
        found = Latest(poll_id, Poll(*poll), snapshot, failing_since, good_clock)
        with self._lock:
            if self._cached is None or self._cached.poll_id < poll_id:
                self._cached = found
            self.database.changes.seen(number)
            return self._cached

    def state(self, now: float) -> Latest | None:
        """The newest state at ``now``, also where the log could not be written."""
        latest = self.latest()
        if latest is not None and abs(now - latest.poll.seen_at) <= GAP_INTERVALS * latest.poll.interval:
            return latest
        spared = self.spare.read()
        if spared is None or (latest is not None and spared.poll.at <= latest.poll.at):
            return latest
        poll_id = latest.poll_id if latest is not None else 0
        return Latest(poll_id, spared.poll, spared.snapshot, spared.failing_since, spared.good_clock, spared.why)

    def memory(self) -> Memory:
        """What the next poll needs to go on where the last one stood; an empty memory for an empty log."""
        return checkpoint.read(self.database)

    def columns(self, start: float, end: float) -> Columns:
        """The recorded polls from ``start`` to ``end`` (epoch seconds, both included) as columns."""
        latest = self.latest()
        return self.history.columns(start, end, latest.poll_id if latest else 0)

    def events(self, start: float, end: float, kinds: Sequence[str] = ()) -> list[Event]:
        """The events from ``start`` to ``end`` (both included), oldest first; of some kinds, or of all."""
        return events.between(self.database, start, end, kinds)

    def events_from_state(self, start: float, end: float, kind: str) -> list[Event]:
        """One kind's events in a range, after the last one of each circuit before it: the state it was in."""
        return events.from_state(self.database, start, end, kind)

    def events_from_outages(self, start: float, end: float, kind: str, out: Collection[str]) -> list[Event]:
        """The same from where every outage began that lasted at ``start``; ``out`` are the states they consist of."""
        return events.from_state(self.database, events.unrest_began(self.database, start, kind, out), end, kind)

    # Writing

    def append(
        self,
        poll: Poll,
        *,
        failing_since: float | None,
        events: Sequence[Event] = (),
        snapshot: Snapshot | None = None,
        memory: Memory | None = None,
        earlier: Sequence[Unwritten] = (),
    ) -> None:
        """Write one poll down, whole or not at all. A good one comes with its snapshot and memory.

        ``earlier`` are polls that could not be written in their time, oldest first. Raises sqlite3.Error when it is not
        possible now either (a full disk, for one).
        """
        with self.database.transaction() as connection:
            for one in earlier:
                self._insert(connection, one)
            numbers = (None, None) if snapshot is None else codec.poll_numbers(snapshot)
            poll_id = self._insert(connection, Unwritten(poll, *numbers))
            connection.executemany(
                "INSERT INTO events (at, kind, provider, model, before, after, reason) VALUES (?,?,?,?,?,?,?)",
                [(e.at, e.kind, e.provider, e.model, e.before, e.after, e.reason) for e in events],
            )
            if snapshot is None or memory is None:
                connection.execute(
                    "INSERT INTO latest (id, poll, failing_since) VALUES (1, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET poll = excluded.poll, failing_since = excluded.failing_since",
                    (poll_id, failing_since),
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO latest (id, poll, good_at, good_clock, failing_since, snapshot, memory)"
                    " VALUES (1, ?, ?, ?, ?, ?, ?)",
                    (
                        poll_id,
                        snapshot.at,
                        poll.clock,
                        failing_since,
                        codec.dump_snapshot(snapshot),
                        checkpoint.write(connection, self.database, self._counter_layouts, poll_id, memory),
                    ),
                )

    def _insert(self, connection: sqlite3.Connection, one: Unwritten) -> int:
        """Write down what is to be read over time; the poll's number."""
        poll = one.poll
        poll_id = connection.execute(
            "INSERT INTO polls (at, interval, outcome, message, seconds, clock) VALUES (?, ?, ?, ?, ?, ?)",
            (poll.at, poll.interval, poll.outcome, poll.message, poll.seconds, poll.clock),
        ).lastrowid
        if one.layout is not None and one.numbers is not None:
            layout = self.database.layout_id(connection, codec.dump_layout(one.layout))
            connection.execute(
                "INSERT INTO fresh (poll, layout, numbers) VALUES (?, ?, ?)", (poll_id, layout, codec.pack(one.numbers))
            )
        return int(poll_id or 0)

    def maintain(self, now: float) -> None:
        """Remove a little of what is too old at ``now``, and seal what can be. After every poll; small steps.

        Raises sqlite3.Error when the file cannot be written: nothing is lost by that.
        """
        with self.database.transaction() as connection:
            self._prune(connection, now)
        seal(self.database)
        self.database.shorten_journal()

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Remove a little of what is too old. The last event of each circuit that is not gone stays: it still holds."""
        old = now - self._retention_seconds
        limit = f"LIMIT {PRUNED_AT_ONCE}"
        of_same = "SELECT 1 FROM events o WHERE o.kind = e.kind AND o.provider = e.provider AND o.model = e.model"
        connection.execute(
            "DELETE FROM block_columns WHERE block IN (SELECT id FROM blocks WHERE end < ? LIMIT 1)", (old,)
        )
        connection.execute("DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE end < ? LIMIT 1)", (old,))
        connection.execute(f"DELETE FROM polls WHERE id IN (SELECT id FROM polls WHERE at < ? {limit})", (old,))
        connection.execute("DELETE FROM fresh WHERE poll < (SELECT min(id) FROM polls)")
        connection.execute(
            "DELETE FROM events WHERE id IN (SELECT e.id FROM events e WHERE e.at < ?"
            f" AND (e.kind IN ('status', 'roster') OR EXISTS ({of_same} AND o.id > e.id)"
            f" OR (e.kind = 'circuit' AND e.after = '' AND NOT EXISTS ({of_same} AND o.id < e.id))) {limit})",
            (old,),
        )
        newest = connection.execute("SELECT max(id) FROM polls").fetchone()[0]
        if newest is not None and newest % LAYOUTS_PRUNED_EVERY == 0:
            connection.execute(
                "DELETE FROM layouts WHERE id NOT IN (SELECT layout FROM fresh)"
                " AND id NOT IN (SELECT layout FROM counters) AND id NOT IN (SELECT layout FROM blocks)"
            )
