"""How large the recorded history is, found without reading it."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from bridge.history.database import Database


class HistorySize(NamedTuple):
    """What the history holds."""

    polls: int
    """Polls that it holds, good and failed."""
    events: int
    """Events that it was ever given, those included that were too old to keep."""
    bytes: int
    """What its files take on disk."""


def measure(database: Database) -> HistorySize:
    """The size of a history. Raises sqlite3.Error when it cannot be read.

    Polls are numbered without gaps and removed from the oldest on, so the first and the last number tell how many
    there are, less those that damage has cost: looks into an index, where counting would read all of it.
    """
    first, last, events, lost = (
        database.connection()
        .execute(
            "SELECT (SELECT min(id) FROM polls), (SELECT max(id) FROM polls), (SELECT max(id) FROM events),"
            " (SELECT coalesce(sum(polls), 0) FROM losses)"
        )
        .fetchone()
    )
    return HistorySize(0 if first is None else max(0, last - first + 1 - lost), events or 0, _bytes(database))


def _bytes(database: Database) -> int:
    taken = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):  # gone, or the folder is, or is none any more
            taken += database.path.with_name(database.path.name + suffix).stat().st_size
    return taken
