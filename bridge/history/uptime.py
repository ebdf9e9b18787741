"""For how long each provider had which status: a row an hour for the last day, and a row a day for ninety of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bridge.health.incidents import Watch
from bridge.history.database import Database
from bridge.model import Poll, Status

HOUR, DAY = 3600.0, 86_400.0
KEPT_SECONDS = {HOUR: 2 * DAY, DAY: 90 * DAY}
"""How long rows of an hour and of a day are kept."""
SPANS: Mapping[str, tuple[float, int]] = {"24h": (HOUR, 24), "7d": (DAY, 7), "30d": (DAY, 30)}
"""What uptime is given over: so many hours, or days (UTC), the present one among them."""
_WORDS = tuple(status.word for status in Status)
_COUNTS = "start < coalesce((SELECT cutoff FROM epochs WHERE epochs.id = uptime.epoch), 9e999)"
_ADDED = ", ".join(f"{word} = {word} + excluded.{word}" for word in _WORDS)
_COLUMNS = f"span, start, provider, epoch, last, {', '.join(_WORDS)}"
_ADD = f"ON CONFLICT (span, start, provider, epoch) DO UPDATE SET last = excluded.last, {_ADDED}"


@dataclass(frozen=True, slots=True)
class Uptime:
    """For how many seconds a provider had which status."""

    unknown: float = 0.0
    healthy: float = 0.0
    degraded: float = 0.0
    down: float = 0.0

    @property
    def known(self) -> float:
        """Seconds in which its status was known."""
        return self.healthy + self.degraded + self.down

    @property
    def up_percent(self) -> float | None:
        """The share of known time in which it was not down, 0-100; None where nothing is known."""
        return 100 * (self.healthy + self.degraded) / self.known if self.known else None

    @property
    def healthy_percent(self) -> float | None:
        """The share of known time in which it was healthy, 0-100; None where nothing is known."""
        return 100 * self.healthy / self.known if self.known else None


Uptimes = Mapping[str, Mapping[str, Uptime]]
"""By provider, and by span (``SPANS``)."""


def write(connection: sqlite3.Connection, poll: Poll, watch: Watch) -> None:
    """Add the time since the good poll before: what each provider was, and then that nobody looked."""
    known_from = poll.at - watch.unknown_seconds - watch.known_seconds
    unknown_from = poll.at - watch.unknown_seconds
    rows = []
    for span in KEPT_SECONDS:
        seen = list(_parts(known_from, unknown_from, span, poll.at))
        unseen = list(_parts(unknown_from, poll.at, span, poll.at))
        for provider, status in watch.passed.items():
            for pieces, its in ((seen, status), (unseen, Status.UNKNOWN)):
                rows += [(span, start, provider, its, seconds) for start, seconds in pieces]
    connection.executemany(
        f"INSERT INTO uptime ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) {_ADD}",
        [
            (span, start, provider, poll.epoch, poll.steady, *(seconds * (its is one) for one in Status))
            for span, start, provider, its, seconds in rows
        ],
    )


def _parts(start: float, end: float, span: float, now: float) -> Iterator[tuple[float, float]]:
    """The hours or days that a time lies in and that are kept, and the seconds in each."""
    start = max(start, now - KEPT_SECONDS[span])
    while start < end:
        begin = start // span * span
        stop = min(end, begin + span)
        yield begin, stop - start
        start = stop


def merge(source: sqlite3.Connection, target: sqlite3.Connection, epochs: int) -> None:
    """Add the rows of another log, whose epochs' numbers are lower by so many."""
    rows = source.execute(f"SELECT {_COLUMNS.replace('epoch', f'epoch + {epochs:d}')} FROM uptime")
    target.executemany(f"INSERT INTO uptime ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) {_ADD}", rows)


def prune(connection: sqlite3.Connection, now: float) -> None:
    """Remove what is too old at ``now`` (steady)."""
    for span, kept in KEPT_SECONDS.items():
        connection.execute("DELETE FROM uptime WHERE span = ? AND last < ?", (span, now - kept))


class UptimeReader:
    """One worker's reader, which reads once a poll. Any number of threads may use one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._of: int | None = None
        self._found: Uptimes = {}

    def read(self, poll: int, now: float) -> Uptimes:
        """The uptimes after the poll with this number. Raises sqlite3.Error when the log cannot be read."""
        with self._lock:
            if self._of != poll:
                self._of, self._found = poll, _read(self._database.connection(), now)
            return self._found


def _read(connection: sqlite3.Connection, now: float) -> Uptimes:
    found: dict[str, dict[str, Uptime]] = {}
    sums = ", ".join(f"sum({word})" for word in _WORDS)
    for name, (span, count) in SPANS.items():
        first = now // span * span - (count - 1) * span
        rows = connection.execute(
            f"SELECT provider, {sums} FROM uptime WHERE span = ? AND start BETWEEN ? AND ? AND {_COUNTS}"
            " GROUP BY provider",
            (span, first, now),
        )
        for provider, *seconds in rows:
            found.setdefault(provider, {})[name] = Uptime(*seconds)
    return found
