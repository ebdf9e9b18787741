"""What was written in one file is added to another, which is older."""

from __future__ import annotations

import sqlite3

from bridge.history import uptime
from bridge.history.blocks import seal
from bridge.history.database import Database

TABLES = (
    ("polls", "id", ("at", "steady", "epoch", "interval", "outcome", "message", "seconds")),
    ("fresh", "poll", ("layout", "numbers")),
    ("blocks", "id", ("start", "end", "epoch", "steady", "polls", "first_poll", "last_poll", "layout")),
    ("block_columns", "block", ("name", "numbers")),
    ("counters", "poll", ("at", "steady", "layout", "numbers")),
    ("epochs", "id", ("first_at", "first_steady", "shift", "steady", "cutoff")),
    ("incidents", "id", ("provider", "start", "began", "epoch", "end", "ended", "over", "content")),
    ("events", "id", ("at", "steady", "epoch", "kind", "provider", "model", "before", "after", "reason")),
)
"""Tables, their keys, and their other columns. Keys go on from the largest there is."""
KEY_OF = {"polls": "polls", "fresh": "polls", "counters": "polls", "blocks": "blocks", "block_columns": "blocks"}
LATEST = "poll, good_at, failing_since, reading, good_reading, snapshot, memory"
DURATIONS = frozenset({"steady", "first_steady"})


def append(source: Database, target: Database) -> None:
    """Add all of ``source`` to ``target``, in one transaction.

    Their steady seconds have other beginnings: those of the source go on after the target's as long as the wall clock
    says that it took. Raises sqlite3.Error, and OSError, when that cannot be written.
    """
    read = source.connection()
    while read.execute("SELECT count(*) FROM blocks").fetchone()[0] and seal(target, least=1):
        pass  # what is sealed ends at one poll: all before those of the source have to be
    with target.transaction() as connection:
        offsets = {table: _largest(connection, table) for table in ("polls", "blocks", "events", "epochs", "incidents")}
        later = _later(read, connection)
        layouts = {
            id_: target.layout_id(connection, content)
            for id_, content in read.execute("SELECT id, content FROM layouts").fetchall()
        }
        for table, key, columns in TABLES:
            offset = offsets[KEY_OF.get(table, table)]
            for row in read.execute(f"SELECT {key}, {', '.join(columns)} FROM {table}"):
                values = dict(zip(columns, row[1:], strict=True))
                for column in DURATIONS & values.keys():
                    values[column] += later
                if "shift" in values:
                    values["shift"] -= later
                if "epoch" in values:
                    values["epoch"] += offsets["epochs"]
                for column in ("first_poll", "last_poll") if table == "blocks" else ():
                    values[column] += offsets["polls"]
                if "layout" in values:
                    values["layout"] = layouts[values["layout"]]
                connection.execute(
                    f"INSERT INTO {table} ({key}, {', '.join(values)}) VALUES (?{', ?' * len(values)})",
                    (row[0] + offset, *values.values()),
                )
        uptime.merge(read, connection, offsets["epochs"])
        newest = read.execute(f"SELECT {LATEST} FROM latest").fetchone()
        if newest is not None:
            connection.execute(
                f"INSERT OR REPLACE INTO latest (id, {LATEST}) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (newest[0] + offsets["polls"], *newest[1:]),
            )
        target.date(connection)


def _later(read: sqlite3.Connection, connection: sqlite3.Connection) -> float:
    """What is added to the source's steady seconds."""
    last = connection.execute("SELECT at, coalesce(steady, at) FROM polls ORDER BY id DESC LIMIT 1").fetchone()
    first = read.execute("SELECT at, steady FROM polls ORDER BY id LIMIT 1").fetchone()
    if last is None or first is None:
        return 0.0
    return float(last[1] + max(0.0, first[0] - last[0]) - first[1])


def _largest(connection: sqlite3.Connection, table: str) -> int:
    found = connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0]
    if table == "epochs":
        return 0 if found is None else int(found) + 1
    counted = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return max(int(found or 0), int(counted[0]) if counted else 0)
