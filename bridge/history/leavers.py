"""Who left: providers and circuits, as the recorded events tell, and models that recorded polls had."""

from __future__ import annotations

import threading

from bridge.history import codec
from bridge.history.database import Database
from bridge.model import Key

MOST_LEAVERS = 20_000
"""Of more the newest are known."""
LAYOUTS_READ = 500
"""The newest: of a gateway that names its models anew with every poll no more are looked at."""


class Leavers:
    """One worker's reader of departures. Each is read once, so asking again costs what has happened since.

    Any number of threads may use one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_to = 0
        self._left: dict[Key, float] = {}
        self._layouts: dict[int, float] = {}
        """When each layout was last recorded, as far as its models were read."""
        self._models: dict[Key, float] = {}
        """When each model was last recorded."""

    def since(self, at: float) -> dict[Key, float]:
        """Providers (with an empty model) and models that left at or after ``at``, and when; newest first.

        Whether they have come back is not asked, so models that are there are among them. Raises sqlite3.Error when the
        log cannot be read.
        """
        with self._lock:
            self._read_on()
            self._read_models()
            left = self._models | self._left
        newest_first = sorted(left.items(), key=lambda one: (-one[1], one[0]))
        return {key: left_at for key, left_at in newest_first[:MOST_LEAVERS] if left_at >= at}

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

    def _read_models(self) -> None:
        """Models that only counters tell of: there is no event when one is no longer there."""
        found = self._database.connection().execute(
            "SELECT layout, max(at) AS last FROM (SELECT layout, polls.at FROM fresh JOIN polls ON polls.id = poll"
            " UNION ALL SELECT layout, end FROM blocks) GROUP BY layout ORDER BY last DESC LIMIT ?",
            (LAYOUTS_READ,),
        )
        before, self._layouts = self._layouts, {}
        for layout, last in found.fetchall():
            if before.get(layout) == last:
                self._layouts[layout] = last
                continue
            try:
                names = self._database.layout(layout).model.names
            except codec.CORRUPT:  # polls of this layout are lost
                continue
            self._layouts[layout] = last
            for key in names:
                self._models[key] = max(last, self._models.get(key, last))
        if len(self._models) > MOST_LEAVERS:
            newest_first = sorted(self._models.items(), key=lambda one: (-one[1], one[0]))
            self._models = dict(newest_first[:MOST_LEAVERS])
