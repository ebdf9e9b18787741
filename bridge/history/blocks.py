"""Recorded polls for reading: sealed as column blocks, the newest few hundred row by row.

A block is written once and never changes, so its columns can be kept in memory, and dropped, as it suits; a question
reads only the metrics it asks for. What is kept is bounded in bytes, however long the history is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache

from bridge.history import codec, segment
from bridge.history.codec import Floats, PollLayout
from bridge.history.columns import Columns, Part, join
from bridge.history.database import Database
from bridge.history.segment import AT, AXIS, PollRow, Segment

BLOCK_POLLS = 240
CACHE_BYTES = 32 * 2**20


def seal(database: Database) -> bool:
    """Make a block of the oldest polls that are in none, once there are two blocks' worth; False while there are not.

    Raises sqlite3.Error when the file cannot be written.
    """
    if _count_unsealed(database) < 2 * BLOCK_POLLS:
        return False
    with database.transaction() as connection:
        rows = _unsealed(database)[:BLOCK_POLLS]
        made = segment.of_rows(rows)
        layout = database.layout_id(connection, codec.dump_layout(made.layout))
        block = connection.execute(
            "INSERT INTO blocks (start, end, last_poll, layout) VALUES (?, ?, ?, ?)",
            (rows[0].at, rows[-1].at, rows[-1].id, layout),
        ).lastrowid
        columns = {AXIS: made.axis.T, **{name: made.column(name) for name in segment.widths(made.layout)}}
        connection.executemany(
            "INSERT INTO block_columns (block, name, numbers) VALUES (?, ?, ?)",
            # Turned, so that one provider's values, which change little, stand together.
            [(block, name, codec.pack_column(np.ascontiguousarray(values.T))) for name, values in columns.items()],
        )
        connection.execute("DELETE FROM fresh WHERE poll <= ?", (rows[-1].id,))
    return True


def _count_unsealed(database: Database) -> int:
    row = database.connection().execute(
        "SELECT count(*) FROM polls WHERE id > (SELECT coalesce(max(last_poll), 0) FROM blocks)"
    )
    return int(row.fetchone()[0])


def _unsealed(database: Database, *, after: int = 0) -> list[PollRow]:
    """The polls that are in no block, those after ``after`` (their numbers grow)."""
    rows = database.connection().execute(
        "SELECT id, at, interval, outcome = 'ok', seconds, layout, numbers FROM polls LEFT JOIN fresh ON poll = id"
        " WHERE id > max(?, (SELECT coalesce(max(last_poll), 0) FROM blocks)) ORDER BY id",
        (after,),
    )
    return [
        PollRow(
            id_,
            at,
            interval,
            bool(good),
            seconds,
            None if layout is None else database.layout(layout),
            None if numbers is None else codec.unpack(numbers),
        )
        for id_, at, interval, good, seconds, layout, numbers in rows
    ]


@dataclass(frozen=True, slots=True)
class _Block:
    id: int
    start: float
    end: float
    layout: PollLayout


@dataclass(frozen=True, slots=True)
class _State:
    """The history as it stood when a certain poll was the newest."""

    poll_id: int
    blocks: tuple[_Block, ...]
    rows: tuple[PollRow, ...]
    tail: Segment


class History:
    """One worker's reader of the recorded polls. Any number of threads may use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._columns: LRUCache[tuple[int, str], Floats] = LRUCache(CACHE_BYTES, getsizeof=lambda it: it.nbytes)
        self._known: _State | None = None

    def columns(self, start: float, end: float, poll_id: int) -> Columns:
        """The polls from ``start`` to ``end`` (epoch seconds, both included), as of the newest poll, ``poll_id``."""
        state = self._state(poll_id)
        segments = [self._sealed(block) for block in state.blocks if block.end >= start and block.start <= end]
        parts = []
        for one in (*segments, state.tail):
            first, last = np.searchsorted(one.axis[AT], (start, np.nextafter(end, np.inf)))
            if first < last:
                parts.append(Part(one, slice(int(first), int(last))))
        return join(parts, end)

    def first_at(self, poll_id: int) -> float | None:
        """When the oldest recorded poll was; None when there is none."""
        state = self._state(poll_id)
        if state.blocks:
            return state.blocks[0].start
        return state.rows[0].at if state.rows else None

    def _state(self, poll_id: int) -> _State:
        with self._lock:
            if self._known is None or self._known.poll_id != poll_id:
                self._known = self._read(poll_id, self._known)
            return self._known

    def _read(self, poll_id: int, known: _State | None) -> _State:
        connection = self._database.connection()
        connection.execute("BEGIN")
        try:
            blocks = tuple(
                _Block(id_, start, end, self._database.layout(layout))
                for id_, start, end, layout in connection.execute(
                    "SELECT id, start, end, layout FROM blocks ORDER BY id"
                )
            )
            unsealed_after = connection.execute("SELECT coalesce(max(last_poll), 0) FROM blocks").fetchone()[0]
            kept = [row for row in known.rows if row.id > unsealed_after] if known else []
            rows = (*kept, *_unsealed(self._database, after=kept[-1].id if kept else 0))
        finally:
            connection.execute("COMMIT")
        return _State(poll_id, blocks, rows, segment.of_rows(rows))

    def _sealed(self, block: _Block) -> Segment:
        axis = self._column(block.id, AXIS, 4).T
        width_of = segment.widths(block.layout)
        return Segment(block.layout, axis, lambda name: self._column(block.id, name, width_of[name]))

    def _column(self, block: int, name: str, width: int) -> Floats:
        """A block's column, shape (polls, width), from memory or from the file."""
        with self._lock:
            found = self._columns.get((block, name))
        if found is None:
            row = (
                self._database.connection()
                .execute("SELECT numbers FROM block_columns WHERE block = ? AND name = ?", (block, name))
                .fetchone()
            )
            if row is None:  # pruned since
                return np.empty((0, width))
            found = codec.unpack(row[0]).reshape(width, -1).T if width else np.empty((0, 0))
            with self._lock:
                if found.nbytes <= CACHE_BYTES // 4:
                    self._columns[block, name] = found
        return found
