"""The SQLite file: its schema, its connections, and what happens when it is damaged."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.history import codec
from bridge.history.changes import Changes

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE layouts (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
CREATE TABLE polls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, interval REAL NOT NULL, outcome TEXT NOT NULL,
    message TEXT NOT NULL, seconds REAL NOT NULL, clock REAL);
CREATE INDEX polls_at ON polls (at);
CREATE TABLE fresh (
    poll INTEGER PRIMARY KEY, layout INTEGER NOT NULL REFERENCES layouts (id), numbers BLOB NOT NULL);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, start REAL NOT NULL, end REAL NOT NULL, last_poll INTEGER NOT NULL,
    layout INTEGER NOT NULL REFERENCES layouts (id));
CREATE TABLE block_columns (
    block INTEGER NOT NULL REFERENCES blocks (id) ON DELETE CASCADE, name TEXT NOT NULL, numbers BLOB NOT NULL,
    PRIMARY KEY (block, name)) WITHOUT ROWID;
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
    id INTEGER PRIMARY KEY CHECK (id = 1), poll INTEGER NOT NULL, good_at REAL, good_clock REAL, failing_since REAL,
    snapshot BLOB, memory BLOB);
"""
LAYOUTS_REMEMBERED = 1_000
BUSY_TIMEOUT_SECONDS = 5.0
JOURNAL_BYTES = 8 * 2**20
"""A journal that is longer is emptied. SQLite does so by itself only in a moment in which nobody reads."""
JOURNAL_WAIT_SECONDS = 0.5


class Database:
    """The file in ``data_dir``, made if missing. Any number of threads may use one; each has its own connection."""

    def __init__(self, data_dir: Path) -> None:
        """Open the file. ``damage`` says so when a damaged one was set aside and a fresh one begun.

        Raises OSError when the folder can't be made or written.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        self.path = data_dir / "history.sqlite"
        self.damage = ""
        self.changes = Changes(data_dir / "changes")
        self._local = threading.local()
        self._layouts: dict[int, codec.PollLayout] = {}
        self._opened: tuple[int, int] | None = None
        with self.opening():
            self._prepare()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """While this lasts no other process opens, checks or sets aside the file."""
        with self.path.with_name("open.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def replaced(self) -> bool:
        """True when the file is gone, or another has its name: what is read here is no longer what is written."""
        return self._opened is not None and self._found() != self._opened

    def _found(self) -> tuple[int, int]:
        """Which file has the name now."""
        try:
            status = self.path.stat()
        except OSError:
            return 0, 0
        return status.st_dev, status.st_ino

    def _prepare(self) -> None:
        """Make the schema where there is none; set a file aside that is no database or of another version."""
        self._opened = None
        if not self.path.exists():  # what a file that was taken away has left is not the new one's
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        try:
            version = self.connection().execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                with self.transaction() as connection:
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                self.set_aside(f"it has schema {version}, this service writes {SCHEMA_VERSION}")
            found = self.connection().execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                self.set_aside(found)
            self._opened = self._found()
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, ValueError, KeyError) as error:
            self.set_aside(str(error))

    def set_aside(self, why: str) -> None:
        """Keep the file under another name and begin a fresh one.

        Raises sqlite3.DatabaseError when that is damaged too.
        """
        if self.damage:
            raise sqlite3.DatabaseError(f"{self.path}: {why}")
        self.close()
        aside = f"{self.path.name}.damaged-{int(time.time())}"
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.rename(self.path.with_name(aside + suffix))
        self._layouts.clear()
        self.damage = f"the history in {self.path} could not be read ({why}); set aside as {aside}, a fresh one begun"
        self._prepare()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self.replaced():
                raise sqlite3.OperationalError("the file is gone, or another one stands in its place")
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction of this thread's connection: all of it or, when anything is raised, nothing."""
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk ends some by itself
                connection.execute("ROLLBACK")
            raise
        self.changes.count()

    def shorten_journal(self) -> None:
        """Empty the journal if it is long. Waits a little for those who read just now, and keeps no reader waiting.

        Where that is not enough it stays as it is until the next time. Raises sqlite3.Error when the file cannot be
        written.
        """
        journal = self.path.with_name(f"{self.path.name}-wal")
        if journal.exists() and journal.stat().st_size > JOURNAL_BYTES:
            connection = self.connection()
            connection.execute(f"PRAGMA busy_timeout = {JOURNAL_WAIT_SECONDS * 1000:.0f}")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000:.0f}")

    def layout_id(self, connection: sqlite3.Connection, content: bytes) -> int:
        """The number of a layout, stored if it is new."""
        digest = hashlib.blake2b(content, digest_size=16).digest()
        row = connection.execute("SELECT id FROM layouts WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            cursor = connection.execute("INSERT INTO layouts (digest, content) VALUES (?, ?)", (digest, content))
            return int(cursor.lastrowid or 0)
        return int(row[0])

    def layout(self, layout_id: int) -> codec.PollLayout:
        """A layout by its number; numbers are never used again while a worker runs, so it may be remembered."""
        layout = self._layouts.get(layout_id)
        if layout is None:
            if len(self._layouts) >= LAYOUTS_REMEMBERED:
                self._layouts.clear()
            row = self.connection().execute("SELECT content FROM layouts WHERE id = ?", (layout_id,)).fetchone()
            layout = self._layouts[layout_id] = codec.load_layout(row[0])
        return layout
