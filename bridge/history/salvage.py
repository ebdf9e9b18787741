"""What can be read of a damaged file, row by row, into a fresh one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from bridge.history import schema

ROWS_AT_ONCE = 512
MOST_FAILURES = 10_000
"""Of one table that are tried in vain before the rest of it is given up: some 0.3 s."""
MOST_FAILURES_OF_NOISE = 2_000
"""The same before a single row was found. After as many, rows are tried some at a time."""
ROWS_IN_A_RUN = 16
MOST_ROWS = 10_000_000
"""How far rows are looked for where nothing says which number the last one has."""
NEEDED = frozenset(
    ["id", "poll", "at", "interval", "outcome", "layout", "numbers", "content", "digest", "kind", "block"]
)
"""Columns without which a row says nothing; another one that is missing gets an empty value."""
REFERENCES = {
    "polls": (("fresh", "poll"), ("counters", "poll"), ("latest", "poll"), ("blocks", "last_poll")),
    "blocks": (("block_columns", "block"),),
    "layouts": (("fresh", "layout"), ("counters", "layout"), ("blocks", "layout")),
}
"""Where numbers of rows are used."""
EMPTY = {"TEXT": "", "REAL": 0.0, "INTEGER": 0, "BLOB": b""}


def copy(source: Path, target: Path) -> bool:
    """Copy what can be read; False where that is nothing at all."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    copied = 0
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.execute("PRAGMA writable_schema = ON")  # a file that is shorter than it says is read all the same
        new.executescript(schema.SCHEMA)
        new.execute(f"PRAGMA user_version = {schema.VERSION}")
        for table, columns in schema.tables().items():
            with suppress(sqlite3.DatabaseError):
                copied += _copy_table(old, new, table, columns)
        with suppress(sqlite3.DatabaseError):  # numbers of polls are never used again
            for name, number in old.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
                new.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, name))
        _go_on_after(new)
        new.commit()
    if not copied:
        target.unlink()
    return copied > 0


def _go_on_after(new: sqlite3.Connection) -> None:
    """Give no number of a poll, a block or a layout again that anything still refers to."""
    for name, uses in REFERENCES.items():
        used = " UNION ALL ".join(f"SELECT max({column}) AS id FROM {table}" for table, column in uses)
        [last] = new.execute(f"SELECT coalesce(max(id), 0) FROM ({used})").fetchone()
        [there] = new.execute("SELECT count(*) FROM sqlite_sequence WHERE name = ?", (name,)).fetchone()
        if there:
            new.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, name))
        else:
            new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, last))


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str, columns: Sequence[schema.Column]) -> int:
    there = {name for name, *_ in schema.columns(old, table)}
    names = [name for name, *_ in columns if name in there]
    absent = [(name, EMPTY[kind]) for name, kind, needed in columns if name not in there and needed]
    if not names or any(name in NEEDED for name, _ in absent):
        return 0
    into = ", ".join([*names, *(name for name, _ in absent)])
    places = ", ".join("?" * (len(names) + len(absent)))
    added = tuple(value for _, value in absent)
    copied = 0
    insert = f"INSERT OR IGNORE INTO {table} ({into}) VALUES ({places})"
    for found in _read(old, table, names):
        rows = [row + added for row in found]
        try:
            copied += new.executemany(insert, rows).rowcount
        except sqlite3.Error:  # noise where there should be a value
            for row in rows:
                with suppress(sqlite3.Error):
                    copied += new.execute(insert, row).rowcount
    new.commit()
    return copied


def _read(old: sqlite3.Connection, table: str, names: Sequence[str]) -> Iterator[list[tuple[object, ...]]]:
    """A table's rows, as far as they can be read: where a range of them cannot, its halves are tried."""
    key = {"block_columns": "block", "epochs": "id"}.get(table, "rowid")
    query = f"SELECT {', '.join(names)} FROM {table} WHERE {key} BETWEEN ? AND ?"
    last = _last(old, table, key)
    ranges = [(low, min(low + ROWS_AT_ONCE - 1, last)) for low in range(0, last + 1, ROWS_AT_ONCE)][::-1]
    failures, found = 0, False
    while ranges and failures < (MOST_FAILURES if found else MOST_FAILURES_OF_NOISE):
        low, high = ranges.pop()
        rows: list[tuple[object, ...]] = []
        try:
            rows.extend(old.execute(query, (low, high)))
        except sqlite3.DatabaseError:
            failures += 1
            if high - low >= (1 if failures < MOST_FAILURES_OF_NOISE else ROWS_IN_A_RUN):
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
                continue
        found = found or bool(rows)
        yield rows


def _last(old: sqlite3.Connection, table: str, key: str) -> int:
    for query in (f"SELECT max({key}) FROM {table}", f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'"):
        with suppress(sqlite3.DatabaseError):
            row = old.execute(query).fetchone()
            if row is not None and isinstance(row[0], int):
                return min(row[0], MOST_ROWS)
            if row is not None and row[0] is None:
                return -1
    return MOST_ROWS
