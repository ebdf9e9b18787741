"""The durable log: one SQLite file (WAL) with a row for every poll, good or failed, and one for every event.

One process writes (the poller's leader), every worker reads. All that one poll brings is one transaction, so a killed
process loses at most the poll in flight, and a reader never sees half of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.health.memory import AVAILABILITY_WINDOW_SECONDS, Memory
from bridge.history import codec
from bridge.model import Event, Poll, Snapshot

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE layouts (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
CREATE TABLE polls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, interval REAL NOT NULL, outcome TEXT NOT NULL,
    message TEXT NOT NULL, seconds REAL NOT NULL, layout INTEGER REFERENCES layouts (id), numbers BLOB);
CREATE INDEX polls_at ON polls (at);
CREATE TABLE counters (
    poll INTEGER PRIMARY KEY, at REAL NOT NULL, layout INTEGER NOT NULL REFERENCES layouts (id),
    numbers BLOB NOT NULL);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, provider TEXT NOT NULL,
    model TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_of ON events (kind, provider, model, at);
CREATE TABLE latest (
    id INTEGER PRIMARY KEY CHECK (id = 1), poll INTEGER NOT NULL, good_at REAL, failing_since REAL,
    snapshot BLOB, memory BLOB);
"""
PRUNED_AT_ONCE = 100
"""Rows that one poll removes at most, so that pruning never holds an answer up."""
LAYOUTS_PRUNED_EVERY = 100
LAYOUTS_REMEMBERED = 1_000
BUSY_TIMEOUT_SECONDS = 5.0


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


@dataclass(frozen=True, slots=True)
class PollRow:
    """One poll of the log; ``layout`` and ``numbers`` are None for a failed one."""

    at: float
    interval: float
    outcome: str
    seconds: float
    layout: codec.PollLayout | None
    numbers: codec.Floats | None


class Store:
    """The log in ``data_dir``, made if missing. Any number of threads may use one; each has its own connection."""

    def __init__(self, data_dir: Path, *, retention_seconds: float) -> None:
        """Open the log. ``damage`` says so when a damaged file was set aside and a fresh one begun.

        Raises OSError when the folder can't be made or written.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        self.path = data_dir / "history.sqlite"
        self.damage = ""
        self._retention_seconds = retention_seconds
        self._local = threading.local()
        self._layouts: dict[int, codec.PollLayout] = {}
        self._cached: Latest | None = None
        with (data_dir / "open.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._prepare()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    # Reading

    def latest(self) -> Latest | None:
        """The newest state; None before the first poll. Costs next to nothing while nothing has changed."""
        connection = self._connection()
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        cached = self._cached
        if cached is not None and version == getattr(self._local, "seen_version", None):
            return cached
        row = connection.execute(
            "SELECT l.poll, p.at, p.interval, p.outcome, p.message, p.seconds, l.good_at, l.failing_since"
            " FROM latest l JOIN polls p ON p.id = l.poll"
        ).fetchone()
        if row is None:
            return None
        self._local.seen_version = version
        poll_id, *poll, good_at, failing_since = row
        if cached is not None and cached.poll_id >= poll_id:
            return cached
        if cached is not None and cached.snapshot is not None and cached.snapshot.at == good_at:
            snapshot: Snapshot | None = cached.snapshot
        else:
            content = connection.execute("SELECT snapshot FROM latest").fetchone()[0]
            snapshot = None if content is None else codec.load_snapshot(content)
        self._cached = Latest(poll_id, Poll(*poll), snapshot, failing_since)
        return self._cached

    def memory(self) -> Memory:
        """What the next poll needs to go on where the last one stood; an empty memory for an empty log."""
        connection = self._connection()
        row = connection.execute("SELECT memory FROM latest").fetchone()
        if row is None or row[0] is None:
            return Memory()
        checkpoint = codec.load_memory(row[0])
        windows = Memory()
        rows = connection.execute(
            "SELECT c.at, l.content, c.numbers FROM counters c JOIN layouts l ON l.id = c.layout ORDER BY c.poll"
        )
        for at, layout, numbers in rows:
            windows = windows.with_counters(at, codec.load_counters(layout, codec.unpack(numbers)))
        return checkpoint.with_windows_of(windows)

    def polls(self, start: float, end: float) -> list[PollRow]:
        """The polls from ``start`` to ``end`` (epoch seconds, both included), oldest first."""
        rows = self._connection().execute(
            "SELECT at, interval, outcome, seconds, layout, numbers FROM polls WHERE at BETWEEN ? AND ? ORDER BY at",
            (start, end),
        )
        return [
            PollRow(
                at,
                interval,
                outcome,
                seconds,
                None if layout is None else self._layout(layout),
                None if numbers is None else codec.unpack(numbers),
            )
            for at, interval, outcome, seconds, layout, numbers in rows
        ]

    def events(self, start: float, end: float, kinds: Sequence[str] = ()) -> list[Event]:
        """The events from ``start`` to ``end`` (both included), oldest first; of some kinds, or of all."""
        chosen = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        rows = self._connection().execute(
            "SELECT at, kind, provider, model, before, after, reason FROM events"
            f" WHERE at BETWEEN ? AND ?{chosen} ORDER BY at, id",
            (start, end, *kinds),
        )
        return [Event(*row) for row in rows]

    # Writing

    def append(
        self,
        poll: Poll,
        *,
        failing_since: float | None,
        events: Sequence[Event] = (),
        snapshot: Snapshot | None = None,
        memory: Memory | None = None,
    ) -> None:
        """Write one poll down, whole or not at all. A good one comes with its snapshot and memory.

        Raises sqlite3.Error when that is not possible (a full disk, for one).
        """
        with self._transaction() as connection:
            layout = numbers = None
            if snapshot is not None:
                poll_layout, values = codec.poll_numbers(snapshot)
                layout = self._layout_id(connection, codec.dump_layout(poll_layout))
                numbers = codec.pack(values)
            poll_id = connection.execute(
                "INSERT INTO polls (at, interval, outcome, message, seconds, layout, numbers) VALUES (?,?,?,?,?,?,?)",
                (poll.at, poll.interval, poll.outcome, poll.message, poll.seconds, layout, numbers),
            ).lastrowid
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
                    "INSERT OR REPLACE INTO latest (id, poll, good_at, failing_since, snapshot, memory)"
                    " VALUES (1, ?, ?, ?, ?, ?)",
                    (poll_id, snapshot.at, failing_since, codec.dump_snapshot(snapshot), codec.dump_memory(memory)),
                )
                counter_layout, values = codec.dump_counters(memory.counters)
                connection.execute(
                    "INSERT INTO counters (poll, at, layout, numbers) VALUES (?, ?, ?, ?)",
                    (poll_id, poll.at, self._layout_id(connection, counter_layout), codec.pack(values)),
                )
            self._prune(connection, poll.at)
            if int(poll_id or 0) % LAYOUTS_PRUNED_EVERY == 0:
                connection.execute(
                    "DELETE FROM layouts WHERE id NOT IN (SELECT layout FROM polls WHERE layout IS NOT NULL)"
                    " AND id NOT IN (SELECT layout FROM counters)"
                )

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Remove a little of what is too old. The last event of each circuit stays: it says what still holds."""
        old = now - self._retention_seconds
        limit = f"LIMIT {PRUNED_AT_ONCE}"
        connection.execute(
            f"DELETE FROM counters WHERE poll IN (SELECT poll FROM counters WHERE at < ? {limit})",
            (now - AVAILABILITY_WINDOW_SECONDS - 60.0,),
        )
        connection.execute(f"DELETE FROM polls WHERE id IN (SELECT id FROM polls WHERE at < ? {limit})", (old,))
        connection.execute(
            "DELETE FROM events WHERE id IN (SELECT e.id FROM events e WHERE e.at < ? AND EXISTS"
            " (SELECT 1 FROM events n WHERE n.kind = e.kind AND n.provider = e.provider AND n.model = e.model"
            f" AND n.id > e.id) {limit})",
            (old,),
        )

    # Connections

    def _prepare(self) -> None:
        """Make the schema where there is none; set a file aside that is no database or of another version."""
        try:
            version = self._connection().execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                with self._transaction() as connection:
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                self._set_aside(f"it has schema {version}, this service writes {SCHEMA_VERSION}")
            self.latest()
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, ValueError, KeyError) as error:
            self._set_aside(str(error))

    def _set_aside(self, why: str) -> None:
        if self.damage:
            raise sqlite3.DatabaseError(f"{self.path}: {why}")
        self.close()
        aside = f"{self.path.name}.damaged-{int(time.time())}"
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.rename(self.path.with_name(aside + suffix))
        self.damage = f"the history in {self.path} could not be read ({why}); set aside as {aside}, a fresh one begun"
        self._prepare()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
            self._local.seen_version = None
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _layout_id(self, connection: sqlite3.Connection, content: bytes) -> int:
        digest = hashlib.blake2b(content, digest_size=16).digest()
        row = connection.execute("SELECT id FROM layouts WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            cursor = connection.execute("INSERT INTO layouts (digest, content) VALUES (?, ?)", (digest, content))
            return int(cursor.lastrowid or 0)
        return int(row[0])

    def _layout(self, layout_id: int) -> codec.PollLayout:
        """A layout by its number; numbers are never used again while a worker runs, so it may be remembered."""
        layout = self._layouts.get(layout_id)
        if layout is None:
            if len(self._layouts) >= LAYOUTS_REMEMBERED:
                self._layouts.clear()
            row = self._connection().execute("SELECT content FROM layouts WHERE id = ?", (layout_id,)).fetchone()
            layout = self._layouts[layout_id] = codec.load_layout(row[0])
        return layout
