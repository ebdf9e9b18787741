"""Who left: providers that vanished and circuits that are no longer there, as the recorded events tell."""

from __future__ import annotations

import threading

from bridge.history.database import Database
from bridge.model import Key

MOST_LEAVERS = 20_000
"""Of more the newest are known."""


class Leavers:
    """One worker's reader of departures. Each is read once, so asking again costs what has happened since.

    Any number of threads may use one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_to = 0
        self._left: dict[Key, float] = {}

    def since(self, at: float) -> dict[Key, float]:
        """Providers (with an empty model) and models that left at or after ``at``, and when; newest first.

        Whether they have come back is not asked. Raises sqlite3.Error when the log cannot be read.
        """
        with self._lock:
            self._read_on()
            return {key: left_at for key, left_at in self._left.items() if left_at >= at}

    def _read_on(self) -> None:
        connection = self._database.connection()
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        found = connection.execute(
            "SELECT provider, model, at FROM counted_events WHERE id > ? AND id <= ?"
            " AND (kind = 'roster' AND after = 'absent' OR kind = 'circuit' AND after = '') ORDER BY id",
            (self._read_to, last),
        ).fetchall()
        self._read_to = last
        if found:
            self._left |= {Key(provider, model): at for provider, model, at in found}
            newest_first = sorted(self._left.items(), key=lambda one: (-one[1], one[0]))
            self._left = dict(newest_first[:MOST_LEAVERS])
