"""What is damaged inside a file that SQLite itself can read: it is found, counted, told and taken out.

The process that polls does this, so that it is done once: when it starts, and for blocks a little after every poll.
Readers leave out what they cannot read.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Sequence

import numpy as np

from bridge.history import segment
from bridge.history.codec import PollLayout
from bridge.history.database import Database
from bridge.history.numbers import CORRUPT, Floats, decode, encode, unpack


def _odd(*, times: Sequence[str] = (), texts: Sequence[str] = (), numbers: Sequence[str] = ()) -> str:
    """SQL that is true of a row in which one of these is none; texts and noise are greater than any number there."""
    return " OR ".join(
        [f"coalesce({name} NOT BETWEEN -1e11 AND 1e11, 0)" for name in times]
        + [f"typeof({name}) != 'text'" for name in texts]
        + [
            f"(typeof({name}) NOT IN ('integer', 'null') OR coalesce({name} NOT BETWEEN 0 AND {LARGEST}, 0))"
            for name in numbers
        ]
    )


LARGEST = 2**53
"""Numbers of rows are smaller by far: after the largest that SQLite has nothing can be written any more."""
ODD_POLL = "at < 0 OR " + _odd(
    times=("at", "interval", "seconds", "steady"), texts=("outcome", "message"), numbers=("id", "epoch")
)
ODD_EVENT = _odd(
    times=("at", "steady"),
    texts=("kind", "provider", "model", "before", "after", "reason"),
    numbers=("id", "epoch"),
)
ODD_EPOCH = "typeof(cutoff) != 'real' OR typeof(shift) != 'real' OR " + _odd(
    times=("first_at", "first_steady", "shift", "steady"), numbers=("id",)
)
ODD_BLOCK = (
    "start > end OR coalesce(polls < 1 OR polls > 1e5, 0) OR coalesce(first_poll > last_poll, 0) OR last_poll < 1 OR "
    + _odd(times=("start", "end", "steady"), numbers=("id", "epoch", "polls", "first_poll", "last_poll", "layout"))
)
"""What no row of these was written as; NULL is for others to judge."""

FIRST_POLL = "coalesce(first_poll, last_poll + 1 - coalesce(polls, 240))"
"""Of a block. Those of schema 1 have 240 polls, and do not say so."""


def tidy(database: Database) -> int:
    """Take out what cannot be read of all but blocks; how many polls are lost that were not known to be.

    Raises sqlite3.Error when the file cannot be written.
    """
    with database.transaction() as connection:
        _drop_layouts(connection)
        _drop_odd(connection)
        events = connection.execute(f"DELETE FROM events WHERE {ODD_EVENT}").rowcount
        connection.execute(f"DELETE FROM epochs WHERE {ODD_EPOCH}")
        lost = _mark_missing(connection) + _mark_unreadable(database, connection)
        connection.execute("DELETE FROM fresh WHERE poll NOT IN (SELECT id FROM polls WHERE outcome = 'ok')")
        _restore_epochs(connection)
        database.date(connection)
    if events:
        database.note(0, f"{events} events could not be read")
    if lost:
        database.note(lost, f"{lost} polls could not be read")
    return lost


def mark_lost(connection: sqlite3.Connection, polls: Collection[int]) -> int:
    """Note that these polls are lost: their numbers have no gaps, so that what is missing can be counted."""
    marked = connection.executemany(
        "UPDATE polls SET outcome = 'lost' WHERE id = ? AND outcome != 'lost'", [(poll,) for poll in polls]
    )
    return max(0, marked.rowcount)


def _mark_missing(connection: sqlite3.Connection) -> int:
    """Polls without a row, and those that were in a block that is gone."""
    rows = connection.execute("SELECT id, outcome = 'lost' FROM polls ORDER BY id").fetchall()
    blocks = connection.execute(f"SELECT {FIRST_POLL}, last_poll FROM blocks ORDER BY id").fetchall()
    sealed = set[int]().union(*(range(first, last + 1) for first, last in blocks))
    last_sealed = max((last for _, last in blocks), default=0)
    newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'polls'").fetchone()
    there = {id_ for id_, _ in rows}
    known = {id_ for id_, lost in rows if lost}
    first = min(there | sealed, default=1)
    missing = set(range(first, (newest[0] if newest else 0) + 1)) - there - sealed
    connection.executemany(
        "INSERT INTO polls (id, at, steady, interval, outcome, message, seconds) SELECT ?, coalesce("
        " (SELECT at FROM polls WHERE id < ? ORDER BY id DESC LIMIT 1), (SELECT max(end) FROM blocks), 0.0), coalesce("
        " (SELECT steady FROM polls WHERE id < ? ORDER BY id DESC LIMIT 1), (SELECT max(steady) FROM epochs)),"
        " 0.0, 'lost', '', 0.0",
        [(poll, poll, poll) for poll in sorted(missing)],
    )
    unsealed = {id_ for id_ in there - sealed - known if id_ <= last_sealed}
    return len(missing) + mark_lost(connection, unsealed)


def _mark_unreadable(database: Database, connection: sqlite3.Connection) -> int:
    """Polls whose row, or whose numbers, are noise, or that have none."""
    newer = "id > (SELECT coalesce(max(last_poll), 0) FROM blocks) AND outcome != 'lost'"
    not_good = "(outcome != 'ok' AND id IN (SELECT poll FROM fresh))"
    odd = {id_ for (id_,) in connection.execute(f"SELECT id FROM polls WHERE {newer} AND ({ODD_POLL} OR {not_good})")}
    rows = connection.execute(
        f"SELECT id, layout, numbers FROM polls LEFT JOIN fresh ON poll = id WHERE outcome = 'ok' AND {newer}"
    )
    return mark_lost(connection, odd | {id_ for id_, *stored in rows if not _is_poll(database, *stored)})


def tidy_counters(database: Database) -> None:
    """Take out the counters of polls that cannot be read: windows are made of the others."""
    with database.transaction() as connection:
        broken = [
            (poll,)
            for poll, at, numbers in connection.execute("SELECT poll, at, numbers FROM counters")
            if not isinstance(at, float) or not _is_numbers(numbers)
        ]
        connection.executemany("DELETE FROM counters WHERE poll = ?", broken)
        connection.execute("DELETE FROM counters WHERE layout NOT IN (SELECT id FROM layouts)")


def scrub(database: Database, after: int) -> int | None:
    """Look through the first block after this one, and mend it; its number, or None where it was the last."""
    connection = database.connection()
    row = connection.execute(
        "SELECT id, layout, polls, last_poll FROM blocks WHERE id > ? ORDER BY id LIMIT 1", (after,)
    ).fetchone()
    if row is None:
        return None
    block, layout_id, polls, last_poll = row
    if polls is None:  # of schema 1: what cannot be read of it is not known
        return int(block)
    try:
        layout = database.layout(layout_id)
    except CORRUPT:
        _drop_block(database, block)
        return int(block)
    stored = dict(connection.execute("SELECT name, numbers FROM block_columns WHERE block = ?", (block,)).fetchall())
    if not _is_axis(stored.get(segment.AXIS), polls) and not _restore_axis(database, block, polls, last_poll):
        _drop_block(database, block)
        return int(block)
    _scrub_columns(database, block, polls, layout, stored)
    return int(block)


def _scrub_columns(database: Database, block: int, polls: int, layout: PollLayout, stored: dict[str, bytes]) -> None:
    broken = {name: width for name, width in layout.widths.items() if not _is_column(stored.get(name), polls, width)}
    if not broken:
        return
    with database.transaction() as connection:
        connection.executemany(
            "INSERT OR REPLACE INTO block_columns (block, name, numbers) VALUES (?, ?, ?)",
            [(block, name, encode(np.full((polls, width), np.nan))) for name, width in broken.items()],
        )
    database.note(0, f"{', '.join(broken)} of {polls} polls could not be read")


def _drop_layouts(connection: sqlite3.Connection) -> None:
    broken = [
        (id_,)
        for id_, digest, content in connection.execute("SELECT id, digest, content FROM layouts")
        if not isinstance(content, bytes) or hashlib.blake2b(content, digest_size=16).digest() != digest
    ]
    connection.executemany("DELETE FROM layouts WHERE id = ?", broken)


def _drop_odd(connection: sqlite3.Connection) -> None:
    """Rows whose numbers are none: after them none could be given any more. What they held is missed afterwards."""
    connection.execute(f"DELETE FROM blocks WHERE {ODD_BLOCK}")
    connection.execute("DELETE FROM block_columns WHERE block NOT IN (SELECT id FROM blocks)")
    for table in ("polls", "events", "layouts"):
        connection.execute(f"DELETE FROM {table} WHERE id NOT BETWEEN 0 AND {LARGEST}")
    for table in ("polls", "events", "layouts", "blocks"):
        connection.execute(
            f"UPDATE sqlite_sequence SET seq = (SELECT coalesce(max(id), 0) FROM {table})"
            f" WHERE name = ? AND (typeof(seq) != 'integer' OR seq NOT BETWEEN 0 AND {LARGEST})",
            (table,),
        )


def _restore_epochs(connection: sqlite3.Connection) -> None:
    """Epochs that are not there any more, from their polls; those that are there decide which of these count."""
    connection.execute(
        "INSERT OR IGNORE INTO epochs SELECT epoch, min(at), min(coalesce(steady, at)),"
        " max(at) - max(coalesce(steady, at)), max(coalesce(steady, at)), 9e999 FROM polls"
        f" WHERE outcome != 'lost' AND NOT ({ODD_POLL}) GROUP BY epoch"
    )


def _drop_block(database: Database, block: int) -> None:
    with database.transaction() as connection:
        first, last = connection.execute(
            f"SELECT {FIRST_POLL}, last_poll FROM blocks WHERE id = ?", (block,)
        ).fetchone()
        connection.execute("DELETE FROM block_columns WHERE block = ?", (block,))
        connection.execute("DELETE FROM blocks WHERE id = ?", (block,))
        mark_lost(connection, range(first, last + 1))
    database.note(last + 1 - first, f"{last + 1 - first} polls of a block could not be read")


def _restore_axis(database: Database, block: int, polls: int, last_poll: int) -> bool:
    """When, and how, the polls of a block were also stands in their rows."""
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT at, interval, outcome = 'ok', seconds FROM polls WHERE id <= ? AND outcome != 'lost'"
            " ORDER BY id DESC LIMIT ?",
            (last_poll, polls),
        ).fetchall()
        ends = connection.execute("SELECT start, end FROM blocks WHERE id = ?", (block,)).fetchone()
        if len(rows) < polls or (rows[-1][0], rows[0][0]) != ends:
            return False
        axis = np.array(rows[::-1], dtype=np.float64).T
        connection.execute(
            "INSERT OR REPLACE INTO block_columns (block, name, numbers) VALUES (?, ?, ?)",
            (block, segment.AXIS, segment.dump_axis(axis)),
        )
    return True


def _is_poll(database: Database, layout: object, numbers: object) -> bool:
    try:
        return len(unpack(numbers)) == database.layout(layout).size  # type: ignore[arg-type]
    except CORRUPT:
        return False


def _is_numbers(numbers: object) -> bool:
    try:
        unpack(numbers)  # type: ignore[arg-type]
    except CORRUPT:
        return False
    return True


def _is_column(content: object, polls: int, width: int) -> bool:
    try:
        decode(content, polls, width)  # type: ignore[arg-type]
    except CORRUPT:
        return False
    return True


def _is_axis(content: object, polls: int) -> bool:
    try:
        axis: Floats = segment.load_axis(content, polls)  # type: ignore[arg-type]
    except CORRUPT:
        return False
    return bool((np.diff(axis[segment.AT]) > 0).all())
