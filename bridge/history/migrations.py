"""Files that earlier versions wrote: small steps forward, and what blocks of schema 1 hold.

A step takes no longer for a long history than for a short one, so any process may take it that opens the file first:
it adds columns and leaves rows as they are. What a row of schema 1 does not have is NULL, and is found when it is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bridge.health.rounding import rounded_all
from bridge.history import events
from bridge.history.codec import Level, PollLayout
from bridge.history.numbers import Floats, unpack
from bridge.history.segment import AT, GOOD, PollRow
from bridge.model import CircuitState, Event, Key

STATE = "model_circuit_breaker_state"
FIRST_AXIS_ROWS = 4

STEPS: Mapping[int, str] = {
    1: """
    ALTER TABLE polls ADD COLUMN steady REAL;
    ALTER TABLE polls ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE blocks ADD COLUMN steady REAL;
    ALTER TABLE blocks ADD COLUMN polls INTEGER;
    ALTER TABLE blocks ADD COLUMN first_poll INTEGER;
    UPDATE blocks SET first_poll = last_poll - 239;
    ALTER TABLE blocks ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE counters ADD COLUMN steady REAL;
    ALTER TABLE events ADD COLUMN steady REAL;
    ALTER TABLE events ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE latest ADD COLUMN reading TEXT;
    ALTER TABLE latest ADD COLUMN good_reading TEXT;
    CREATE TABLE epochs (
        id INTEGER PRIMARY KEY, first_at REAL NOT NULL, first_steady REAL NOT NULL, shift REAL NOT NULL,
        steady REAL NOT NULL, cutoff REAL NOT NULL);
    INSERT INTO epochs
        SELECT 0, first, first, 0.0, (SELECT at FROM polls ORDER BY id DESC LIMIT 1), 9e999
        FROM (SELECT at AS first FROM polls ORDER BY id LIMIT 1);
    CREATE TABLE losses (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, poll INTEGER NOT NULL, polls INTEGER NOT NULL, message TEXT NOT NULL);
    CREATE VIEW counted_events AS SELECT * FROM events
        WHERE at < coalesce((SELECT cutoff FROM epochs WHERE epochs.id = events.epoch), 9e999)
    """,
    2: """
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
    """,
}
"""By schema version: what makes the next one of it."""


def migrate(connection: sqlite3.Connection, version: int) -> int:
    """Take the steps from a version to the newest, in the transaction that is open; the version then."""
    while version in STEPS:
        for statement in STEPS[version].split(";"):
            connection.execute(statement)
        version += 1
    connection.execute(f"PRAGMA user_version = {version}")
    return version


class FirstBlock:
    """A block of schema 1: doubles, fleet and models in a column each, and the states of circuits in events alone."""

    def __init__(self, connection: sqlite3.Connection, block: int, layout: PollLayout) -> None:
        """Raises one of ``CORRUPT`` where the axis can't be read."""
        self._block = block
        self._stored = layout
        self.axis = self._column(connection, "@axis", FIRST_AXIS_ROWS).T
        self._keys, self._states = _states(connection, self.axis[AT], self.axis[GOOD].astype(bool))
        models = tuple(sorted({*layout.model.names, *self._keys}))
        self.layout = replace(layout, model=Level(models, ("model_error_rate", STATE)))

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.axis.nbytes + self._states.nbytes + 1_000

    def column(self, connection: sqlite3.Connection, name: str) -> Floats:
        """A metric's column, shape (polls, names), rounded. Raises one of ``CORRUPT`` where it can't be read."""
        return rounded_all(name, self._stored_column(connection, name))

    def _stored_column(self, connection: sqlite3.Connection, name: str) -> Floats:
        layout, polls = self._stored, self.axis.shape[1]
        if name in layout.fleet.metrics:
            place = layout.fleet.metrics.index(name)
            return self._column(connection, "@fleet", len(layout.fleet.metrics))[:, place : place + 1]
        if name in layout.provider.metrics:
            return self._column(connection, name, len(layout.provider.names))
        stored = self._keys if name == STATE else layout.model.names
        found = np.full((polls, len(self.layout.model.names)), np.nan, order="F")
        if stored:
            place_of = {key: place for place, key in enumerate(self.layout.model.names)}
            values = self._states if name == STATE else self._column(connection, "@models", len(stored))
            found[:, [place_of[key] for key in stored]] = values
        return found

    def _column(self, connection: sqlite3.Connection, name: str, width: int) -> Floats:
        row = connection.execute(
            "SELECT numbers FROM block_columns WHERE block = ? AND name = ?", (self._block, name)
        ).fetchone()
        if row is None:
            raise ValueError(f"there is no {name}")
        return unpack(row[0]).reshape(width, -1).T if width else np.empty((self.axis.shape[1], 0))


def with_states(connection: sqlite3.Connection, rows: Sequence[PollRow]) -> list[PollRow]:
    """Polls of schema 1 with the states of the models' circuits, which stand in the events alone."""
    good = [row for row in rows if row.layout is not None]
    keys, states = _states(connection, np.array([row.at for row in good]), np.ones(len(good), dtype=bool))
    state_of = dict(zip((row.id for row in good), states, strict=True))
    layouts: dict[int, PollLayout] = {}
    return [_with_states(row, keys, state_of[row.id], layouts) if row.id in state_of else row for row in rows]


def _with_states(row: PollRow, keys: tuple[Key, ...], states: Floats, layouts: dict[int, PollLayout]) -> PollRow:
    layout, numbers = row.layout, row.numbers
    if layout is None or numbers is None:
        return row
    models = tuple(sorted({*layout.model.names, *keys}))
    if id(layout) not in layouts:
        layouts[id(layout)] = replace(layout, model=Level(models, ("model_error_rate", STATE)))
    start = len(numbers) - len(layout.model.names)
    rate_of = dict(zip(layout.model.names, numbers[start:].tolist(), strict=True))
    of_models = [rate_of.get(key, np.nan) for key in models]
    state_of = dict(zip(keys, states.tolist(), strict=True))
    of_models += [state_of.get(key, np.nan) for key in models]
    return replace(
        row, layout=layouts[id(layout)], numbers=_rounded(layouts[id(layout)], np.r_[numbers[:start], of_models])
    )


def _rounded(layout: PollLayout, numbers: Floats) -> Floats:
    """A poll's numbers, rounded as those of later schemas are when they are made."""
    parts, start = [], 0
    for level in layout.levels:
        for metric in level.metrics:
            parts.append(rounded_all(metric, numbers[start : start + len(level.names)]))
            start += len(level.names)
    return np.concatenate(parts) if parts else numbers


def _states(connection: sqlite3.Connection, times: Floats, good: np.ndarray) -> tuple[tuple[Key, ...], Floats]:
    """The models' circuits and the state of each at each good poll, shape (polls, circuits), from their events."""
    by_circuit: dict[Key, list[Event]] = {}
    if len(times):
        for event in events.from_state(connection, float(times[0]), float(times[-1]), "circuit"):
            if event.model:
                by_circuit.setdefault(Key(event.provider, event.model), []).append(event)
    keys, states = [], []
    for key, its_events in sorted(by_circuit.items()):
        after = [CircuitState[event.after].value if event.after else np.nan for event in its_events]
        timeline = np.array([np.nan, *after])
        column = timeline[np.searchsorted([event.at for event in its_events], times, side="right")]
        column = np.where(good, column, np.nan)
        if not np.isnan(column).all():
            keys.append(key)
            states.append(column)
    return tuple(keys), np.array(states).T if states else np.empty((len(times), 0))
