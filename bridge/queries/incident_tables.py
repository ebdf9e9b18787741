"""Tables of incidents, and of uptimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.health.rounding import rounded, rounded_seconds
from bridge.history.uptime import Uptimes
from bridge.model import FLEET, Incident
from bridge.queries import incidents
from bridge.queries.tables import Cell, Column, Table, Wanted, milliseconds
from bridge.queries.view import View

UPTIME_COLUMNS = (
    Column("Provider"),
    Column("Span"),
    Column("Uptime", "number", "percent"),
    Column("Healthy", "number", "percent"),
    Column("Known for", "number", "s", "Known"),
    Column("Unknown for", "number", "s", "Unknown"),
    Column("Degraded for", "number", "s", "Degraded"),
    Column("Down for", "number", "s", "Down"),
)
INCIDENTS_COLUMNS = (
    Column("Start", "time"),
    Column("End", "time"),
    Column("Provider"),
    Column("Status"),
    Column("Phase"),
    Column("Kind"),
    Column("Number", "number", unread=True),
    Column("Bad for", "number", "s", "Bad"),
    Column("Failed", "number", unread=True),
    Column("Requests", "number", unread=True),
    Column("Affected", unread=True),
    Column("Among", "number", unread=True),
    Column("Cause", unread=True),
    Column("Told", short="What"),
    Column("Fleet incident", "time", unread=True),
    Column("Recurring", unread=True),
    Column("Pages", unread=True),
)


def of_uptimes(uptimes: Uptimes, wanted: Wanted) -> Table:
    """For how long each provider had which status, by name: over 24 hours, 7 and 30 days."""
    rows: list[list[Cell]] = [
        [
            provider,
            span,
            rounded("provider_uptime", its.up_percent),
            rounded("provider_uptime", its.healthy_percent),
            rounded_seconds(its.known),
            rounded_seconds(its.unknown),
            rounded_seconds(its.degraded),
            rounded_seconds(its.down),
        ]
        for provider, of_spans in sorted(uptimes.items())
        if wanted({"provider": provider})
        for span, its in of_spans.items()
    ]
    return Table("uptime", UPTIME_COLUMNS, rows)


def of_incidents(view: View, found: Sequence[Incident], wanted: Wanted) -> Table:
    """A row an incident, newest first; the parts of a fleet incident stand under it.

    One of the fleet is there for each provider that it affected.
    """
    fleets = {one.start.steady: one for one in found if one.provider == FLEET}
    rows = [
        _incident_row(view, one, fleets)
        for one in incidents.newest_first(found)
        if any(wanted(_labels(view, one, provider)) for provider in one.affected if one.provider == FLEET)
        or wanted(_labels(view, one, one.provider))
    ]
    return Table("incidents", INCIDENTS_COLUMNS, rows)


def _labels(view: View, it: Incident, provider: str) -> dict[str, str]:
    return {"provider": provider, "status": it.peak.word, "phase": incidents.phase(view, it)}


def _incident_row(view: View, it: Incident, fleets: Mapping[float, Incident]) -> list[Cell]:
    fleet = None if it.fleet is None else fleets.get(it.fleet)
    return [
        milliseconds(it.start.at),
        None if it.end is None else milliseconds(it.end.at),
        incidents.name(it),
        it.peak.word,
        incidents.phase(view, it),
        it.kind,
        it.number,
        rounded_seconds(incidents.bad_for(view, it)),
        it.failed,
        it.requests,
        ", ".join(it.affected) or None,
        it.among or None,
        it.cause,
        incidents.what(it),
        None if fleet is None else milliseconds(fleet.start.at),
        "recurring" if it.recurring else None,
        "yes" if it.pages else "no",
    ]
