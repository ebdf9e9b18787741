"""Recorded polls for reading: sealed as column blocks, the newest few hundred row by row.

A block is written once and never changes, so its columns can be kept in memory, and dropped, as it suits; a question
reads only the metrics it asks for. What is kept is bounded in bytes, however long the history is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from cachetools import LRUCache

from bridge.history import mending, segment
from bridge.history.columns import Columns, Part, join
from bridge.history.database import Database
from bridge.history.migrations import FirstBlock, with_states
from bridge.history.numbers import CORRUPT, Floats, decode, encode, unpack
from bridge.history.segment import AT, AXIS, PollRow, Segment

BLOCK_POLLS = 240
CACHE_BYTES = 32 * 2**20
SEALED = f"(SELECT coalesce(max(last_poll), 0) FROM blocks WHERE NOT ({mending.ODD_BLOCK}))"
UNSEALED = f"id > {SEALED} AND outcome != 'lost'"


def seal(database: Database, least: int = 2 * BLOCK_POLLS) -> bool:
    """Make a block of the oldest polls that are in none, once there are ``least`` of them; False while there are not.

    A block's polls are all of one epoch. Raises sqlite3.Error when the file cannot be written.
    """
    ids = [id_ for (id_,) in database.connection().execute(f"SELECT id FROM polls WHERE {UNSEALED} ORDER BY id")]
    if len(ids) < least:
        return False
    with database.transaction() as connection:
        oldest = _unsealed(database, until=ids[:BLOCK_POLLS][-1])
        rows = list(takewhile(lambda row: row.epoch == oldest[0].epoch, oldest))
        last = rows[-1].id if len(rows) < len(oldest) else ids[:BLOCK_POLLS][-1]
        if rows:
            made = segment.of_rows(rows)
            layout = database.id_of(connection, made.layout)
            block = connection.execute(
                "INSERT INTO blocks (start, end, epoch, steady, polls, first_poll, last_poll, layout)"
                " VALUES (?, ?, ?, (SELECT steady FROM polls WHERE id = ?), ?, ?, ?, ?)",
                (rows[0].at, rows[-1].at, rows[0].epoch, rows[-1].id, len(rows), ids[0], last, layout),
            ).lastrowid
            columns = {name: encode(made.column(name)) for name in made.layout.widths}
            connection.executemany(
                "INSERT INTO block_columns (block, name, numbers) VALUES (?, ?, ?)",
                [(block, name, content) for name, content in {AXIS: segment.dump_axis(made.axis), **columns}.items()],
            )
        connection.execute("DELETE FROM fresh WHERE poll <= ?", (last,))
        lost = mending.mark_lost(connection, {it for it in ids if it <= last} - {row.id for row in rows})
    if lost:
        database.note(lost, f"{lost} polls could not be read when they were to be sealed")
    return True


def _unsealed(database: Database, *, after: int = 0, until: float = math.inf) -> list[PollRow]:
    """The polls that are in no block and can be read, of those numbered from beyond ``after`` to ``until``."""
    connection = database.connection()
    found = connection.execute(
        "SELECT id, at, interval, outcome = 'ok', seconds, epoch, layout, numbers, steady IS NULL"
        f" FROM polls LEFT JOIN fresh ON poll = id WHERE {UNSEALED} AND id > ? AND id <= ? ORDER BY id",
        (after, until),
    ).fetchall()
    rows = [(row, bool(first)) for *fields, first in found if (row := _row(database, *fields)) is not None]
    if not any(first for _, first in rows):
        return [row for row, _ in rows]
    return [*with_states(connection, [row for row, first in rows if first]), *(row for row, first in rows if not first)]


def _row(
    database: Database, id_: int, at: Any, interval: Any, good: Any, seconds: Any, epoch: int, layout: Any, numbers: Any
) -> PollRow | None:
    """A poll as it was written; None for one that cannot be read."""
    try:
        if not good:
            return PollRow(id_, float(at), float(interval), False, float(seconds), None, None, epoch)
        whose, values = database.layout(layout), unpack(numbers)
        if len(values) != whose.size:
            return None
        return PollRow(id_, float(at), float(interval), True, float(seconds), whose, values, epoch)
    except CORRUPT:
        return None


@dataclass(frozen=True, slots=True)
class _Block:
    id: int
    start: float
    end: float
    epoch: int
    layout: int
    polls: int | None
    """None for one of schema 1."""


@dataclass(frozen=True, slots=True)
class _State:
    """The history as it stood when a certain poll was the newest."""

    poll_id: int
    blocks: tuple[_Block, ...]
    """Those of which polls count."""
    rows: tuple[PollRow, ...]
    cutoffs: Mapping[int, float]
    """By epoch: polls count that are before it."""
    tail: Segment
    """Of the rows that count."""


class History:
    """One worker's reader of the recorded polls. Any number of threads may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._columns: LRUCache[tuple[int, str], Floats] = LRUCache(CACHE_BYTES, getsizeof=lambda it: it.nbytes)
        self._first_blocks: LRUCache[int, FirstBlock] = LRUCache(CACHE_BYTES, getsizeof=lambda it: it.nbytes)
        self._known: _State | None = None

    def columns(self, start: float, end: float, poll_id: int) -> Columns:
        """The polls from ``start`` to ``end`` (epoch seconds, both included), as of the newest poll, ``poll_id``."""
        state = self._state(poll_id)
        parts = []
        for block in state.blocks:
            until = state.cutoffs.get(block.epoch, math.inf)
            if block.end >= start and block.start <= end and (one := self._sealed(block)) is not None:
                parts += _part(one, start, min(np.nextafter(end, np.inf), until))
        parts += _part(state.tail, start, float(np.nextafter(end, np.inf)))
        return join(parts)

    def first_at(self, poll_id: int, since: float = -math.inf) -> float | None:
        """When the oldest recorded poll was, of those at or after ``since``; None when there is none."""
        state = self._state(poll_id)
        for block in state.blocks:
            until = state.cutoffs.get(block.epoch, math.inf)
            if block.start >= since:
                return block.start
            if block.end >= since and (one := self._sealed(block)) is not None and (it := _part(one, since, until)):
                return float(one.axis[AT, it[0].rows.start])
        found = _part(state.tail, since, math.inf)
        return float(state.tail.axis[AT, found[0].rows.start]) if found else None

    def _state(self, poll_id: int) -> _State:
        with self._lock:
            if self._known is None or self._known.poll_id != poll_id:
                self._known = self._read(poll_id, self._known)
            return self._known

    def _read(self, poll_id: int, known: _State | None) -> _State:
        connection = self._database.connection()
        connection.execute("BEGIN")
        try:
            cutoffs: dict[int, float] = dict(connection.execute("SELECT id, cutoff FROM epochs").fetchall())
            query = (
                f"SELECT id, start, end, epoch, layout, polls FROM blocks WHERE NOT ({mending.ODD_BLOCK}) ORDER BY id"
            )
            blocks = [_Block(*row) for row in connection.execute(query)]
            first, sealed = connection.execute(f"SELECT coalesce(min(id), 0), {SEALED} FROM polls").fetchone()
            kept = [row for row in known.rows if row.id > sealed and row.id >= first] if known else []
            rows = (*kept, *_unsealed(self._database, after=kept[-1].id if kept else 0))
        finally:
            connection.execute("COMMIT")
        counted = [row for row in rows if row.at < cutoffs.get(row.epoch, math.inf)]
        of_blocks = tuple(block for block in blocks if block.start < cutoffs.get(block.epoch, math.inf))
        return _State(poll_id, of_blocks, rows, cutoffs, segment.of_rows(counted))

    def _sealed(self, block: _Block) -> Segment | None:
        """A block for reading; None for one that is gone, or cannot be read."""
        try:
            if block.polls is None:
                return self._of_schema_1(block)
            layout = self._database.layout(block.layout)
            axis = self._column(block, AXIS, 4).T
        except CORRUPT:
            return None
        width_of = layout.widths

        def column(name: str) -> Floats:
            try:
                return self._column(block, name, width_of[name])
            except CORRUPT:
                return np.full((axis.shape[1], width_of[name]), np.nan)

        return Segment(layout, axis, column)

    def _of_schema_1(self, block: _Block) -> Segment:
        with self._lock:
            found = self._first_blocks.get(block.id)
        connection = self._database.connection()
        if found is None:
            found = FirstBlock(connection, block.id, self._database.layout(block.layout))
            with self._lock:
                if found.nbytes <= CACHE_BYTES // 4:
                    self._first_blocks[block.id] = found
        one, width_of = found, found.layout.widths

        def column(name: str) -> Floats:
            try:
                return one.column(self._database.connection(), name)
            except CORRUPT:
                return np.full((one.axis.shape[1], width_of[name]), np.nan)

        return Segment(one.layout, one.axis, column)

    def _column(self, block: _Block, name: str, width: int) -> Floats:
        """A block's column, shape (polls, width), from memory or from the file. Raises one of ``CORRUPT``."""
        with self._lock:
            found = self._columns.get((block.id, name))
        if found is None:
            row = (
                self._database.connection()
                .execute("SELECT numbers FROM block_columns WHERE block = ? AND name = ?", (block.id, name))
                .fetchone()
            )
            if row is None:
                raise LookupError(f"{name} of block {block.id} is gone")
            polls = block.polls or 0
            found = segment.load_axis(row[0], polls).T if name == AXIS else decode(row[0], polls, width)
            with self._lock:
                if found.nbytes <= CACHE_BYTES // 4:
                    self._columns[block.id, name] = found
        return found


def _part(one: Segment, start: float, end: float) -> list[Part]:
    """The polls of a segment from ``start`` to before ``end``, if there are any."""
    first, last = np.searchsorted(one.axis[AT], (start, end))
    return [Part(one, slice(int(first), int(last)))] if first < last else []
