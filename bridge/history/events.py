"""Recorded events that count (see epochs), read so that a range costs what happened around it, not all of them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Sequence

from bridge.model import Event, Poll

_FIELDS = "at, kind, provider, model, before, after, reason"
_SUBJECTS = "SELECT DISTINCT provider, model FROM events WHERE kind = :kind"
"""Whose events there are, those that do not count included: circuits, or the gateway alone."""
_OF_SUBJECT = "e.kind = :kind AND e.provider = s.provider AND e.model = s.model"


def between(connection: sqlite3.Connection, start: float, end: float, kinds: Sequence[str] = ()) -> list[Event]:
    """The events from ``start`` to ``end`` (epoch seconds, both included), oldest first; of some kinds, or of all."""
    chosen = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM counted_events WHERE at BETWEEN ? AND ?{chosen} ORDER BY at, id", (start, end, *kinds)
    )
    return [Event(*row) for row in rows]


def reach(connection: sqlite3.Connection, start: float, end: float, most: int, kinds: Sequence[str] = ()) -> float:
    """From when on there are at most ``most`` events up to ``end``; ``start`` where there are no more from there on."""
    chosen = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
    row = connection.execute(
        f"SELECT at FROM counted_events WHERE at BETWEEN ? AND ?{chosen} ORDER BY at DESC LIMIT 1 OFFSET ?",
        (start, end, *kinds, most),
    ).fetchone()
    return start if row is None else math.nextafter(float(row[0]), math.inf)


def from_state(connection: sqlite3.Connection, start: float, end: float, kind: str) -> list[Event]:
    """One kind's events from ``start`` to ``end``, oldest first, after the last one of each circuit before ``start``.

    So the state that each circuit was in at ``start`` is among them.
    """
    rows = connection.execute(
        f"WITH s AS ({_SUBJECTS}), last AS (SELECT (SELECT e.id FROM counted_events e WHERE {_OF_SUBJECT}"
        " AND e.at < :start ORDER BY e.at DESC, e.id DESC LIMIT 1) AS id FROM s)"
        f" SELECT {_FIELDS} FROM counted_events WHERE id IN (SELECT id FROM last) ORDER BY at, id",
        {"kind": kind, "start": start},
    )
    return [*(Event(*row) for row in rows), *between(connection, start, end, (kind,))]


def unrest_began(connection: sqlite3.Connection, start: float, kind: str, out: Collection[str]) -> float:
    """When the longest of those outages began that had begun before ``start``; ``start`` when there was none.

    An outage lasts from the event that leads into one of the ``out`` states to the one that leads out of them, and goes
    on where that leads back in at the same time. Where its beginning is not recorded it is its first event.
    """
    states = ",".join(f"'{state}'" for state in sorted(out))
    calm = (
        f"SELECT e.at FROM counted_events e WHERE {_OF_SUBJECT} AND e.at < :start AND e.after NOT IN ({states})"
        " AND NOT EXISTS (SELECT 1 FROM counted_events n WHERE n.kind = e.kind AND n.provider = e.provider"
        f" AND n.model = e.model AND n.at = e.at AND n.id > e.id AND n.after IN ({states}))"
        " ORDER BY e.at DESC, e.id DESC LIMIT 1"
    )
    row = connection.execute(
        f"WITH s AS ({_SUBJECTS}), c AS (SELECT provider, model, ({calm}) AS calm FROM s)"
        f" SELECT min((SELECT min(e.at) FROM counted_events e WHERE {_OF_SUBJECT.replace('s.', 'c.')}"
        " AND e.at > coalesce(c.calm, -1) AND e.at < :start)) FROM c",
        {"kind": kind, "start": start},
    ).fetchone()
    return start if row[0] is None else float(row[0])


def carry_over(connection: sqlite3.Connection, poll: Poll) -> None:
    """Tell again, with the first poll of an epoch, what still holds and was told by a clock that does not count.

    So an outage is known that began, or ended, while the clock was wrong. It is dated by the clock that runs now, and
    after the last poll that counts.
    """
    of_subject = "c.kind = e.kind AND c.provider = e.provider AND c.model = e.model"
    connection.execute(
        "INSERT INTO events (at, steady, epoch, kind, provider, model, before, after, reason)"
        " SELECT max(:least, min(:at, coalesce(steady, at) + :shift)), steady, :epoch, kind, provider, model, held,"
        " after, reason || ' (while the clock was wrong)' FROM (SELECT e.*, coalesce("
        f" (SELECT c.after FROM counted_events c WHERE {of_subject} ORDER BY c.at DESC, c.id DESC LIMIT 1),"
        f" (SELECT c.before FROM events c WHERE {of_subject} ORDER BY c.id LIMIT 1)) AS held"
        " FROM events e WHERE e.id IN (SELECT max(id) FROM events GROUP BY kind, provider, model)"
        " AND e.at >= coalesce((SELECT cutoff FROM epochs WHERE epochs.id = e.epoch), 9e999))"
        " WHERE held != after",
        {
            "at": poll.at,
            "shift": poll.at - poll.steady,
            "epoch": poll.epoch,
            "least": _last_counted(connection, poll.at) + 0.001,
        },
    )


def _last_counted(connection: sqlite3.Connection, before: float) -> float:
    """When the last poll was that counts; 0 where there is none."""
    row = connection.execute(
        "SELECT max(at) FROM polls p WHERE at < ? AND outcome != 'lost'"
        " AND at < coalesce((SELECT cutoff FROM epochs WHERE epochs.id = p.epoch), 9e999)",
        (before,),
    ).fetchone()
    return float(row[0] or 0.0)
