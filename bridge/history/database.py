"""The SQLite file: its schema, its connections, and what happens when it is damaged."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from cachetools import LRUCache

from bridge.history import codec, migrations, salvage, schema
from bridge.history.changes import Changes
from bridge.history.epochs import Epoch, cutoffs

FILE = "history.sqlite"
NAMES_IN_LAYOUTS = 1_000_000
"""What is remembered of layouts, in names: 8 MiB, as names that several have are one object."""
NAMES_SHARED = 50_000
BUSY_TIMEOUT_SECONDS = 0.4
"""How long a lock is waited for: well below an interval, as a poll that cannot be written down goes the spare way."""
OPENING_TIMEOUT_SECONDS = 5.0
"""The same while the file is opened, when nothing but a start waits."""
WAITING_HELPS = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM}
)
READING_FAILED = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_FSTAT})
CHECKED_AGAIN_SECONDS = 60.0
"""A file in which nothing was found wrong is not looked through again before that, whoever could not read it."""
JOURNAL_BYTES = 8 * 2**20
"""A journal that is longer is emptied. SQLite does so by itself only in a moment in which nobody reads."""
JOURNAL_WAIT_SECONDS = 0.5
JOURNAL_BEGINS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""See https://www.sqlite.org/fileformat2.html#walformat."""

log = structlog.get_logger("bridge.history")


class Database:
    """The file in ``data_dir``, made if missing. Any number of threads may use one; each has its own connection."""

    def __init__(self, data_dir: Path) -> None:
        """Open the file. ``damage`` says what was found wrong with it, and what that cost.

        Raises OSError or sqlite3.OperationalError when it can't be made or written.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        self.path = data_dir / FILE
        self.damage = ""
        self.salvaged = False
        """True when the file was damaged, and what could be read of it was copied."""
        self.beside = ""
        """That a newer version's file is left as it is, and another one written; empty where there is none."""
        self.changes = Changes(data_dir / "changes")
        self.left: Callable[[], bool] = lambda: False
        """Says whether the history has gone on elsewhere."""
        self._local = threading.local()
        self._layouts: LRUCache[int, codec.PollLayout] = LRUCache(NAMES_IN_LAYOUTS, getsizeof=_names_in)
        self._names: dict[Any, Any] = {}
        self._lock = threading.Lock()
        self._written: tuple[codec.PollLayout, bytes] | None = None
        self._opened: tuple[int, int] | None = None
        self._doubts = self.changes.doubts()
        self._check_at = 0.0
        self._opening = True
        with self.opening():
            self._prepare()
        self._opening = False
        self.connection().execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000:.0f}")

    @contextmanager
    def opening(self) -> Iterator[None]:
        """While this lasts no other process opens, checks or sets aside the file."""
        with self.path.with_name("open.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def check(self, poll: int) -> None:
        """See that others can read the file as far as this poll, and look through it where they could not.

        A connection that was open before goes on in a file that was cut off, overwritten or removed: it has in memory
        what it needs of it. Raises sqlite3.DatabaseError where ``is_damage`` is true of it, else nothing.
        """
        if self.replaced():
            raise sqlite3.DatabaseError(f"{self.path} is gone, or another file stands in its place")
        try:
            with closing(self._connect()) as connection:
                if wrong := [*schema.missing(connection), *schema.odd(connection)]:
                    raise sqlite3.DatabaseError(f"not there, or not as it should be: {', '.join(wrong)}")
                newest = connection.execute("SELECT l.poll FROM latest l JOIN polls p ON p.id = l.poll").fetchone()
                if poll and (newest is None or newest[0] < poll):
                    raise sqlite3.DatabaseError(f"poll {poll} was written down, and is not there")
                connection.execute("SELECT max(id), (SELECT max(id) FROM events) FROM losses").fetchone()
                self._look_through(connection)
        except sqlite3.Error as error:
            if is_damage(error):
                raise

    def readable(self) -> bool:
        """True when a new connection can read the newest state."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("SELECT poll FROM latest").fetchone()
        except sqlite3.Error:
            return False
        return True

    def _look_through(self, connection: sqlite3.Connection) -> None:
        """Where somebody could not read something: see what is wrong."""
        doubts = self.changes.doubts()
        if doubts == self._doubts or time.monotonic() < self._check_at:
            return
        self._doubts, self._check_at = doubts, time.monotonic() + CHECKED_AGAIN_SECONDS
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def remove(self) -> None:
        """Take the file away."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def replaced(self) -> bool:
        """True when the file is gone, or another has its name: what is read here is no longer what is written."""
        return self._gone() or self.left()

    def _gone(self) -> bool:
        return self._opened is not None and self._found() != self._opened

    def _found(self) -> tuple[int, int]:
        """Which file has the name now."""
        try:
            status = self.path.stat()
        except OSError:
            return 0, 0
        return status.st_dev, status.st_ino

    def _prepare(self) -> None:
        """Make the schema where there is none, or of this version; mend what is damaged, or set it aside."""
        self._opened = None
        if not self.path.exists():  # what a file that was taken away has left is not the new one's
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        if self._was_emptied():
            self.set_aside("it was emptied")
            return
        overwritten = self._journal_overwritten()
        try:
            version = self.connection().execute("PRAGMA user_version").fetchone()[0]
            if not self._is_ours():
                self.set_aside("it is another program's")
                return
            if version > schema.VERSION:
                self._go_beside(version)
                return
            self._upgrade(version)
            self._check()
            self._opened = self._found()
            if overwritten:
                self.note(0, overwritten)
        except (sqlite3.DatabaseError, ValueError, KeyError) as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_of_schema(error):
                raise
            self._salvage(str(error))

    def _was_emptied(self) -> bool:
        """True for a file of nothing where there was a log: SQLite would begin it anew without a word."""
        sizes = []
        for suffix in ("", "-wal"):
            with suppress(OSError):
                sizes.append(self.path.with_name(self.path.name + suffix).stat().st_size)
        return bool(sizes) and not any(sizes) and self.changes.number() > 0

    def _journal_overwritten(self) -> str:
        """That the journal is none, which SQLite passes over without a word; empty where it is one."""
        journal = self.path.with_name(f"{self.path.name}-wal")
        with suppress(OSError), journal.open("rb") as file:
            begins = file.read(4)
            if begins.strip(b"\0") and begins not in JOURNAL_BEGINS:
                return f"{journal} was overwritten: what stood in it alone is lost"
        return ""

    def _is_ours(self) -> bool:
        tables = {name for (name,) in self.connection().execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return not tables or not tables.isdisjoint(("polls", "blocks", "events"))

    def _go_beside(self, version: int) -> None:
        """Leave a newer version's file as it is, and write another one."""
        self.close()
        name, number = self.path.stem.partition("-")[::2]
        newer, self.path = self.path, self.path.with_name(f"{name}-{int(number or 1) + 1}{self.path.suffix}")
        self._prepare()
        said = (
            f"{newer} was written by a newer version (schema {version}, this one writes {schema.VERSION}) and is left"
        )
        self.beside = f"{said} untouched; this version goes on in {self.path.name}"
        self.damage = f"{self.beside} {self.damage}".rstrip()

    def _upgrade(self, version: int) -> None:
        """Make the schema, or take it forward from an earlier version."""
        if version == schema.VERSION:
            return
        with self.transaction() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                for statement in schema.SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            else:
                migrations.migrate(connection, found)

    def _check(self) -> None:
        """Raises sqlite3.DatabaseError when the file is malformed, or something of the schema is missing."""
        connection = self.connection()
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            connection.execute("REINDEX")
            if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError(found)
            self.note(0, f"indexes were damaged and made anew ({found})")
        if missing := schema.missing(connection):
            raise sqlite3.DatabaseError(f"there is no {', '.join(missing)}")
        if odd := schema.restore(connection):
            self.note(0, f"not as this version makes them, and made anew or taken away: {', '.join(odd)}")

    def _salvage(self, why: str) -> None:
        """Take what can be read to a fresh file, and keep the damaged one under another name."""
        self.close()
        target = self.path.with_name(f"{self.path.name}.salvaged")
        if self.damage or not salvage.copy(self.path, target):
            self.set_aside(why)
            return
        aside = self._move_aside()
        target.rename(self.path)
        self.damage = f"{self.path} was damaged ({why}), and is kept as {aside}"
        self._prepare()
        self.note(0, self.damage)
        self.salvaged = True

    def set_aside(self, why: str) -> None:
        """Keep the file under another name and begin a fresh one.

        Raises sqlite3.DatabaseError when that is damaged too.
        """
        if self.damage:
            raise sqlite3.DatabaseError(f"{self.path}: {why}")
        self.close()
        aside = self._move_aside()
        self.damage = f"the history in {self.path} could not be read ({why}); set aside as {aside}, a fresh one begun"
        self._prepare()
        self.note(0, self.damage)

    def _move_aside(self) -> str:
        self._layouts.clear()
        aside = f"{self.path.name}.damaged-{int(time.time())}"
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.rename(self.path.with_name(aside + suffix))
        return aside

    def note(self, polls: int, message: str) -> None:
        """Write down what damage has cost: so many polls, and in words. Every worker tells of it."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO losses (at, poll, polls, message)"
                " VALUES (?, coalesce((SELECT max(id) FROM polls), 0), ?, ?)",
                (time.time(), polls, message),
            )
        log.error("history_mended", message=message, path=str(self.path))

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._gone():
                raise sqlite3.OperationalError("the file is gone, or another one stands in its place")
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        seconds = OPENING_TIMEOUT_SECONDS if self._opening else BUSY_TIMEOUT_SECONDS
        connection = sqlite3.connect(self.path, timeout=seconds, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
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

    def epochs(self) -> list[Epoch]:
        """Each time for which the wall clock was not set, oldest first."""
        rows = self.connection().execute("SELECT id, first_at, first_steady, shift, steady FROM epochs ORDER BY id")
        return [Epoch(*row) for row in rows]

    def date(self, connection: sqlite3.Connection) -> None:
        """Say of all epochs anew which of their polls count: after each that has begun."""
        found = cutoffs(self.epochs())
        connection.executemany(
            "UPDATE epochs SET cutoff = ?1 WHERE id = ?2 AND cutoff != ?1", [(at, id_) for id_, at in found.items()]
        )

    def layout_id(self, connection: sqlite3.Connection, content: bytes) -> int:
        """The number of a layout, stored if it is new."""
        digest = hashlib.blake2b(content, digest_size=16).digest()
        row = connection.execute("SELECT id FROM layouts WHERE digest = ?", (digest,)).fetchone()
        if row is None:
            cursor = connection.execute("INSERT INTO layouts (digest, content) VALUES (?, ?)", (digest, content))
            return int(cursor.lastrowid or 0)
        return int(row[0])

    def id_of(self, connection: sqlite3.Connection, layout: codec.PollLayout) -> int:
        """The same of a poll's layout; one like the last is not written out again."""
        if self._written is None or self._written[0] != layout:
            self._written = layout, codec.dump_layout(layout)
        return self.layout_id(connection, self._written[1])

    def layout(self, layout_id: int) -> codec.PollLayout:
        """A layout by its number; numbers are never used again while a worker runs, so it may be remembered.

        Raises one of ``codec.CORRUPT`` for one that can't be read.
        """
        with self._lock:
            layout = self._layouts.get(layout_id)
        if layout is None:
            row = self.connection().execute("SELECT content FROM layouts WHERE id = ?", (layout_id,)).fetchone()
            layout = codec.load_layout(row[0])
            with self._lock:
                layout = self._shared(layout)
                if _names_in(layout) <= NAMES_IN_LAYOUTS:
                    self._layouts[layout_id] = layout
        return layout

    def _shared(self, layout: codec.PollLayout) -> codec.PollLayout:
        """The same layout, with the names that others have too: polls that each name other ones would be large."""
        if len(self._names) > NAMES_SHARED:
            self._names.clear()
        one = self._names.setdefault
        return codec.PollLayout(
            *(level._replace(names=tuple(one(name, name) for name in level.names)) for level in layout.levels)
        )


def is_damage(error: sqlite3.Error) -> bool:
    """True for an error that says that the file has to be opened anew, and mended; waiting does not help."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    if code & 0xFF == sqlite3.SQLITE_IOERR:
        return code in READING_FAILED
    return code & 0xFF not in WAITING_HELPS


def _is_of_schema(error: sqlite3.Error) -> bool:
    """True for an error of SQL that does not fit the file, as where its version says another schema than it has."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _names_in(layout: codec.PollLayout) -> int:
    return 1 + sum(len(level.names) for level in layout.levels)
