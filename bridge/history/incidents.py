"""Incidents in the log: a row each, which is rewritten with every poll while it lasts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace

import orjson

from bridge.health.incidents import Watch, dated_anew
from bridge.history import codec
from bridge.model import Incident, Poll

_COUNTS = "start < coalesce((SELECT cutoff FROM epochs WHERE epochs.id = incidents.epoch), 9e999)"
"""Whether the clock that dated it was right."""


def write(connection: sqlite3.Connection, poll: Poll, watch: Watch) -> None:
    """Write down what a good poll changed.

    One that is not over and that nothing follows any more, as what followed it was lost, is lost sight of.
    """
    _put(connection, poll, watch.told)
    followed = {(one.provider, one.start.steady) for one in watch.incidents.values()}
    for found in _read(connection, "NOT over"):
        if (found.provider, found.start.steady) not in followed:
            _put(connection, poll, [replace(found, over=True, lost=found.end is None, end=found.end or found.last_bad)])


def _put(connection: sqlite3.Connection, poll: Poll, incidents: Iterable[Incident]) -> None:
    connection.executemany(
        "INSERT INTO incidents (provider, start, began, epoch, end, ended, over, content)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (provider, began) DO UPDATE SET start = excluded.start,"
        " epoch = excluded.epoch, end = excluded.end, ended = excluded.ended, over = excluded.over,"
        " content = excluded.content",
        [
            (
                one.provider,
                one.start.at,
                one.start.steady,
                poll.epoch,
                None if one.end is None else one.end.at,
                None if one.end is None else one.end.steady,
                one.over,
                orjson.dumps(one, default=codec.plain),
            )
            for one in incidents
        ],
    )


def between(connection: sqlite3.Connection, start: float, end: float) -> list[Incident]:
    """The incidents that overlap a range (epoch seconds, both included), by the time they began."""
    where = f"start <= ? AND coalesce(end, 9e999) >= ? AND {_COUNTS} ORDER BY start, provider"
    return list(_read(connection, where, end, start))


def date_anew(connection: sqlite3.Connection, poll: Poll) -> None:
    """Date anew, with the first poll of an epoch, what a clock dated that does not count.

    How long ago they were is known whatever the clock said.
    """
    for one in list(_read(connection, f"NOT ({_COUNTS})")):
        _put(connection, poll, [dated_anew(one, poll.at - poll.steady + one.start.steady - one.start.at)])


def prune(connection: sqlite3.Connection, old: float) -> None:
    """Remove those that ended before this (steady)."""
    connection.execute("DELETE FROM incidents WHERE over AND ended < ?", (old,))


def _read(connection: sqlite3.Connection, where: str, *values: float) -> Iterable[Incident]:
    """Incidents; one that cannot be read is left out."""
    for (content,) in connection.execute(f"SELECT content FROM incidents WHERE {where}", values).fetchall():
        try:
            yield codec.load_incident(orjson.loads(content))
        except codec.CORRUPT:
            continue
