"""A log of events and incidents alone, in memory, that is read as the real one is."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from bridge.health.incidents import Watch
from bridge.history import events, schema
from bridge.history import incidents as its_incidents
from bridge.model import Event, Incident, Poll


class EventLog:
    """As much of a store as has to do with events and incidents."""

    def __init__(self, held: Iterable[Event] = ()) -> None:
        connection = sqlite3.connect(":memory:")
        connection.executescript(schema.SCHEMA)
        connection.executemany(
            "INSERT INTO events (at, kind, provider, model, before, after, reason) VALUES (?,?,?,?,?,?,?)",
            [(e.at, e.kind, e.provider, e.model, e.before, e.after, e.reason) for e in held],
        )
        self._connection = connection

    def tell(self, *incidents: Incident) -> None:
        """Hold these too."""
        poll = Poll(incidents[0].start.at, 15.0, "ok", "", 0.1)
        lasting = {one.provider: one for one in incidents if not one.over}
        its_incidents.write(self._connection, poll, Watch(told=incidents, incidents=lasting))

    def incidents(self, start: float, end: float) -> list[Incident]:
        return its_incidents.between(self._connection, start, end)

    def events(self, start: float, end: float, kinds: Sequence[str] = ()) -> list[Event]:
        return events.between(self._connection, start, end, kinds)

    def events_from_state(self, start: float, end: float, kind: str) -> list[Event]:
        return events.from_state(self._connection, start, end, kind)

    def events_reach(self, start: float, end: float, most: int, kinds: Sequence[str] = ()) -> float:
        return events.reach(self._connection, start, end, most, kinds)

    def events_from_outages(self, start: float, end: float, kind: str, out: Collection[str], most: int) -> list[Event]:
        began = events.unrest_began(self._connection, start, kind, out)
        return self.events_from_state(self.events_reach(began, end, most, (kind,)), end, kind)


class WholeLog(EventLog):
    """Reads everything that ever happened, for every question."""

    def events_from_state(self, start: float, end: float, kind: str) -> list[Event]:
        return self.events(0.0, end, (kind,))
