"""The state of things that every worker answers from, as it is stored."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

import orjson
import structlog

from bridge.history import codec
from bridge.history.database import Database
from bridge.model import Poll, Reading, Snapshot

log = structlog.get_logger("bridge.history")


@dataclass(frozen=True, slots=True)
class Latest:
    """The state of things that every worker answers from."""

    poll_id: int
    poll: Poll
    """The last poll, good or failed."""
    snapshot: Snapshot | None
    """The last good poll's; None when there never was one."""
    failing_since: float | None
    """When the first of the failed polls in a row was; None while polls succeed."""
    good_reading: Reading | None = None
    """The clocks at the last good poll; None where they were not written down."""
    unwritten: str = ""
    """Why the log does not hold this poll; empty for one that it holds."""


def read(database: Database, known: Snapshot | None, unwritten: str) -> Latest | None:
    """The newest state; ``known`` is its snapshot where that was read before. None for one that cannot be read."""
    connection = database.connection()
    wanted = "NULL" if known is not None else "l.snapshot"
    row = connection.execute(
        f"SELECT l.poll, l.failing_since, l.good_reading, {wanted}, p.at, p.interval, p.outcome, p.message,"
        " p.seconds, coalesce(p.steady, p.at), p.epoch, l.reading FROM latest l JOIN polls p ON p.id = l.poll"
        " WHERE p.outcome != 'lost'"
    ).fetchone()
    if row is None:
        return None
    poll_id, failing_since, good_reading, content, *fields, steady, epoch, reading = row
    try:
        at, interval, outcome, message, seconds = fields
        poll = Poll(
            at=float(at),
            interval=float(interval),
            outcome=outcome,
            message=message,
            seconds=float(seconds),
            steady=float(steady),
            epoch=epoch,
            reading=_reading(reading),
        )
    except codec.CORRUPT:
        return None
    snapshot = known
    if content is not None:
        try:
            snapshot = codec.load_snapshot(content)
        except codec.CORRUPT as error:  # costs the last good poll's values, until the next one
            log.error("snapshot_lost", message=f"the newest state could not be read: {error!r}")
    told = [it for it in (database.beside, *_losses(connection)) if it]
    if snapshot is not None and told:
        snapshot = replace(snapshot, notices=tuple(dict.fromkeys((*snapshot.notices, *told))))
    return Latest(poll_id, poll, snapshot, failing_since, _reading(good_reading), unwritten)


def _losses(connection: sqlite3.Connection) -> list[str]:
    """What damage has cost of the history that is kept, the last of it in words."""
    rows = connection.execute("SELECT polls, message FROM losses ORDER BY id DESC").fetchall()
    said = [f"damaged history: {message}" for _, message in rows[:3]]
    lost = sum(polls for polls, _ in rows)
    return [f"damaged history: {lost} polls were lost in all", *said] if lost else said


def written(reading: Reading | None) -> str | None:
    """A reading as it is stored."""
    return None if reading is None else orjson.dumps(list(reading)).decode()


def _reading(content: str | None) -> Reading | None:
    """The reading that was written; None for none, and for what is none."""
    try:
        wall, steady, boot = orjson.loads(content or "null")
        return Reading(float(wall), float(steady), str(boot))
    except codec.CORRUPT:
        return None
