"""Incidents on pages: a list of them in short, and the page of all in a range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bridge.model import Incident
from bridge.queries import incidents
from bridge.queries.tables import Table
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View, clock
from bridge.web.page import Frame, render


@dataclass(frozen=True, slots=True)
class Told:
    """An incident in one line. The fleet's has no provider."""

    provider: str
    name: str
    status: str
    kind: str
    """The shape and colour of its status: grey once it is over, or not known any more."""
    text: str


def told_incidents(view: View, found: Iterable[Incident]) -> list[Told]:
    """Incidents in the order they come in."""
    return [_told(view, one) for one in found]


def _told(view: View, it: Incident) -> Told:
    word = it.peak.word
    colour = {"ongoing": word, "recovering": "healthy"}.get(incidents.phase(view, it), "unknown")
    return Told(it.provider, incidents.name(it), word, colour, incidents.told(view, it))


def incident_page(frame: Frame, table: Table | None, span: TimeRange | None) -> str:
    """The page of the table ``incidents`` over a range; without one it is of the last 7 days."""
    titles = [column.title for column in table.columns] if table else []
    return render(
        "incidents.html",
        frame,
        title="incidents",
        icon="unknown",
        range="the last 7 days" if span is None else f"{clock(span.start)} to {clock(span.end)}",
        incidents=[dict(zip(titles, row, strict=True)) for row in (table.rows if table else ())],
        the_fleet=incidents.THE_FLEET,
    )
