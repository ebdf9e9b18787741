"""What is too old is removed, a little after every poll, so that no answer has to wait and no table grows without end.

Age is in steady seconds, which really passed: a wall clock that is set, right or wrong, removes nothing.
"""

from __future__ import annotations

import sqlite3
import time

from bridge.history import incidents, uptime
from bridge.history.database import Database
from bridge.model import Moment

ROWS_AT_ONCE = 100
EVENTS_AT_ONCE = 1_000
PRUNING_SECONDS = 0.02
"""One poll removes so many rows of each table at least, and goes on for so long where more are too old."""
LAYOUTS_PRUNED_EVERY = 100
_SAME = "SELECT 1 FROM counted_events o WHERE o.kind = e.kind AND o.provider = e.provider AND o.model = e.model"
_AGE = "coalesce(steady, at)"


class Pruning:
    """Removes what is older than the retention. One per process that writes."""

    def __init__(self, database: Database, retention_seconds: float) -> None:
        self._database = database
        self._retention_seconds = retention_seconds
        self._newest_event: int | None = None
        self._looked_at = 0
        """The last event that was looked at: those that stay are not looked at with every poll."""

    def step(self, now: Moment) -> None:
        """Remove a little of what is too old at ``now``. Raises sqlite3.Error when the file cannot be written."""
        until = time.monotonic() + PRUNING_SECONDS
        old = now.steady - self._retention_seconds
        with self._database.transaction() as connection:
            self._layouts(connection, old)
            wanted, more = 2 * self._new_events(connection), True
            while more and (time.monotonic() < until or wanted > 0):
                more = self._polls(connection, old)
                more |= self._blocks(connection, old)
                more |= self._events(connection, old)
                wanted -= EVENTS_AT_ONCE

    def _new_events(self, connection: sqlite3.Connection) -> int:
        """How many have come since the last step: where these are many, as many must go, however long it takes."""
        newest = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
        before, self._newest_event = self._newest_event, newest
        return 0 if before is None else int(newest - before)

    def _polls(self, connection: sqlite3.Connection, old: float) -> bool:
        more = self._oldest(connection, "polls", "id", old)
        connection.execute("DELETE FROM fresh WHERE poll < (SELECT min(id) FROM polls)")
        return more

    def _oldest(self, connection: sqlite3.Connection, table: str, key: str, old: float) -> bool:
        """Remove rows from the oldest on, which are in the order of their numbers; True where there may be more."""
        oldest = f"SELECT {key} FROM {table} ORDER BY {key} LIMIT {ROWS_AT_ONCE}"
        removed = connection.execute(f"DELETE FROM {table} WHERE {key} IN ({oldest}) AND {_AGE} < ?", (old,))
        return removed.rowcount == ROWS_AT_ONCE

    def _blocks(self, connection: sqlite3.Connection, old: float) -> bool:
        """A block goes after the last of its polls has: so it is known, as long as there is one, which are sealed."""
        row = connection.execute(
            "SELECT id FROM blocks WHERE last_poll < (SELECT min(id) FROM polls) AND coalesce(steady, end) < ?"
            " ORDER BY id LIMIT 1",
            (old,),
        ).fetchone()
        if row is None:
            return False
        connection.execute("DELETE FROM block_columns WHERE block = ?", row)
        connection.execute("DELETE FROM blocks WHERE id = ?", row)
        return True

    def _events(self, connection: sqlite3.Connection, old: float) -> bool:
        """The last event of each circuit that is not gone stays: it still holds."""
        chunk = connection.execute(
            "SELECT max(id), count(*) FROM"
            f" (SELECT id, {_AGE} AS age FROM events WHERE id > ? ORDER BY id LIMIT {EVENTS_AT_ONCE}) WHERE age < ?",
            (self._looked_at, old),
        ).fetchone()
        last, count = chunk
        if count:
            connection.execute(
                f"DELETE FROM events WHERE id IN (SELECT e.id FROM events e WHERE e.id > ? AND e.id <= ? AND {_AGE} < ?"
                f" AND (e.kind IN ('status', 'roster') OR EXISTS ({_SAME} AND o.id > e.id)"
                " OR e.at >= coalesce((SELECT cutoff FROM epochs WHERE epochs.id = e.epoch), 9e999)"
                f" OR (e.kind = 'circuit' AND e.after = '' AND NOT EXISTS ({_SAME} AND o.id < e.id))))",
                (self._looked_at, last, old),
            )
        more = count == EVENTS_AT_ONCE
        self._looked_at = last if more else 0
        return bool(more)

    def _layouts(self, connection: sqlite3.Connection, old: float) -> None:
        """Now and then: layouts and epochs that nothing is of any more, and incidents and uptimes that are too old."""
        newest = connection.execute("SELECT max(id) FROM polls").fetchone()[0]
        if newest is None or newest % LAYOUTS_PRUNED_EVERY:
            return
        connection.execute(
            "DELETE FROM layouts WHERE id NOT IN (SELECT layout FROM fresh)"
            " AND id NOT IN (SELECT layout FROM counters) AND id NOT IN (SELECT layout FROM blocks)"
        )
        connection.execute(
            "DELETE FROM epochs WHERE steady < ? AND id < (SELECT max(id) FROM epochs)"
            " AND id NOT IN (SELECT epoch FROM events) AND id NOT IN (SELECT epoch FROM polls)"
            " AND id NOT IN (SELECT epoch FROM blocks) AND id NOT IN (SELECT epoch FROM incidents)"
            " AND id NOT IN (SELECT epoch FROM uptime)",
            (old,),
        )
        incidents.prune(connection, old)
        uptime.prune(connection, old + self._retention_seconds)
        connection.execute("DELETE FROM losses WHERE poll < (SELECT min(id) FROM polls) - 1")
