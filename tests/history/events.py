"""A log of events alone, in memory, that is read as the real one is."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from types import SimpleNamespace

from bridge.history import database as databases
from bridge.history import events
from bridge.model import Event


class EventLog:
    """As much of a store as has to do with events."""

    def __init__(self, held: Iterable[Event] = ()) -> None:
        connection = sqlite3.connect(":memory:")
        for statement in databases.SCHEMA.split(";"):
            if " events" in statement:
                connection.execute(statement)
        connection.executemany(
            "INSERT INTO events (at, kind, provider, model, before, after, reason) VALUES (?,?,?,?,?,?,?)",
            [(e.at, e.kind, e.provider, e.model, e.before, e.after, e.reason) for e in held],
        )
        self.database = SimpleNamespace(connection=lambda: connection)

    def events(self, start: float, end: float, kinds: Sequence[str] = ()) -> list[Event]:
        return events.between(self.database, start, end, kinds)  # type: ignore[arg-type]

    def events_from_state(self, start: float, end: float, kind: str) -> list[Event]:
        return events.from_state(self.database, start, end, kind)  # type: ignore[arg-type]

    def events_from_outages(self, start: float, end: float, kind: str, out: Collection[str]) -> list[Event]:
        return self.events_from_state(events.unrest_began(self.database, start, kind, out), end, kind)  # type: ignore[arg-type]


class WholeLog(EventLog):
    """Reads everything that ever happened, for every question."""

    def events_from_state(self, start: float, end: float, kind: str) -> list[Event]:
        return self.events(0.0, end, (kind,))
