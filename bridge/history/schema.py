"""The tables of the history's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache

VERSION = 3
SCHEMA = """
CREATE TABLE layouts (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
CREATE TABLE epochs (
    id INTEGER PRIMARY KEY, first_at REAL NOT NULL, first_steady REAL NOT NULL, shift REAL NOT NULL,
    steady REAL NOT NULL, cutoff REAL NOT NULL);
CREATE TABLE polls (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, steady REAL, epoch INTEGER NOT NULL DEFAULT 0,
    interval REAL NOT NULL, outcome TEXT NOT NULL, message TEXT NOT NULL, seconds REAL NOT NULL);
CREATE INDEX polls_at ON polls (at);
CREATE TABLE fresh (
    poll INTEGER PRIMARY KEY, layout INTEGER NOT NULL REFERENCES layouts (id), numbers BLOB NOT NULL);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, start REAL NOT NULL, end REAL NOT NULL, epoch INTEGER NOT NULL DEFAULT 0,
    steady REAL, polls INTEGER, first_poll INTEGER, last_poll INTEGER NOT NULL,
    layout INTEGER NOT NULL REFERENCES layouts (id));
CREATE TABLE block_columns (
    block INTEGER NOT NULL REFERENCES blocks (id) ON DELETE CASCADE, name TEXT NOT NULL, numbers BLOB NOT NULL,
    PRIMARY KEY (block, name)) WITHOUT ROWID;
CREATE TABLE counters (
    poll INTEGER PRIMARY KEY, at REAL NOT NULL, steady REAL, layout INTEGER NOT NULL REFERENCES layouts (id),
    numbers BLOB NOT NULL);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, steady REAL, epoch INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_of ON events (kind, provider, model, at);
CREATE VIEW counted_events AS SELECT * FROM events
    WHERE at < coalesce((SELECT cutoff FROM epochs WHERE epochs.id = events.epoch), 9e999);
CREATE TABLE latest (
    id INTEGER PRIMARY KEY CHECK (id = 1), poll INTEGER NOT NULL, good_at REAL, failing_since REAL,
    reading TEXT, good_reading TEXT, snapshot BLOB, memory BLOB);
CREATE TABLE losses (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, poll INTEGER NOT NULL, polls INTEGER NOT NULL, message TEXT NOT NULL);
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, start REAL NOT NULL, began REAL NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0, end REAL, ended REAL, over INTEGER NOT NULL, content BLOB NOT NULL,
    UNIQUE (provider, began));
CREATE INDEX incidents_start ON incidents (start);
CREATE INDEX incidents_lasting ON incidents (provider) WHERE NOT over;
CREATE TABLE uptime (
    id INTEGER PRIMARY KEY, span REAL NOT NULL, start REAL NOT NULL, provider TEXT NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0, last REAL NOT NULL, unknown REAL NOT NULL, healthy REAL NOT NULL,
    degraded REAL NOT NULL, down REAL NOT NULL, UNIQUE (span, start, provider, epoch))
"""
"""What schema 1 did not have is NULL in its rows: ``steady`` is ``at`` there, and ``polls`` tells its blocks apart.

Of incidents ``began`` and ``ended`` are ``start`` and ``end`` in steady seconds, of uptimes ``last`` is the last poll.
"""
Column = tuple[str, str, bool]
"""Name, type, and whether it may not be NULL."""


@cache
def tables() -> dict[str, tuple[Column, ...]]:
    """The schema's tables and their columns."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return {name: columns(connection, name) for (name,) in names.fetchall()}


def columns(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    """The columns of a table as it is; none where there is no such table."""
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return tuple((name, kind, bool(needed)) for _, name, kind, needed, *_ in rows)


def missing(connection: sqlite3.Connection) -> list[str]:
    """Tables of the schema, and columns of its tables, that are not there."""
    found = []
    for table, wanted in tables().items():
        there = {name for name, *_ in columns(connection, table)}
        found += [f"{table}.{name}" for name, *_ in wanted if name not in there] if there else [f"table {table}"]
    return found


@cache
def _views() -> dict[str, str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'").fetchall())


def odd(connection: sqlite3.Connection) -> list[str]:
    """Views that are missing or say something else than the schema's, and triggers, of which it has none."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'").fetchall())
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    differ = [f"view {name}" for name, sql in _views().items() if _words(found.get(name)) != _words(sql)]
    return differ + [f"trigger {name}" for (name,) in triggers]


def restore(connection: sqlite3.Connection) -> list[str]:
    """Make views anew, and take triggers away, where ``odd`` names any; these. Nothing that is recorded is lost."""
    found = odd(connection)
    for one in found:
        kind, _, name = one.partition(" ")
        quoted = name.replace('"', '""')
        connection.execute(f'DROP {kind} IF EXISTS "{quoted}"')
        if kind == "view":
            connection.execute(_views()[name])
    return found


def _words(sql: str | None) -> list[str]:
    return (sql or "").split()
