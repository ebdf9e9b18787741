"""The status page: who is degrading, which breakers are open, blip or regression; then everyone, and what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.model import Circuit, Event, Incident, Status, Verdict
from bridge.queries import tables
from bridge.queries.incidents import bad_for, most_urgent_first
from bridge.queries.tables import Cell
from bridge.queries.trend import Line, Trends
from bridge.queries.view import View, duration
from bridge.web import board
from bridge.web.incident_page import told_incidents
from bridge.web.page import Frame, changes, number, plural, render, worst_of
from bridge.web.sparkline import path
from bridge.web.text import cell

SHOWN = 8
"""How many entries each of the three answers has; the others are counted."""


@dataclass(frozen=True, slots=True)
class Concern:
    """A provider that is not well now."""

    provider: str
    status: str
    reach: str
    why: str


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit that is not closed."""

    circuit: Circuit
    state: str
    lasts: str
    opened: float
    not_closed: str
    """How long it is not closed, where that is longer."""
    openings: str


@dataclass(frozen=True, slots=True)
class Row:
    """A provider in the table. ``cells`` are those of the providers table, as the board has them."""

    provider: str
    status: str
    lasts: str
    cells: Sequence[str]
    open_for: str
    trend: str
    told: str
    """The trend in words."""


def fleet_page(frame: Frame, trends: Trends, found: Sequence[Incident], events: Iterable[Event]) -> str:
    """The page at ``/``; ``found`` are the incidents of the last 24 h."""
    view = frame.view
    rows = _rows(view, trends, found)
    words = [row.status for row in rows]
    return render(
        "fleet.html",
        frame,
        title=_title(view, words),
        icon=worst_of(words),
        headline=board.headline(view),
        counts=[(word, words.count(word)) for word in ("down", "degraded", "unknown", "healthy")],
        freshness=board.freshness(view),
        notices=view.snapshot.notices[: board.NOTICES_SHOWN] if view.snapshot else (),
        concerns=_concerns(view),
        breakers=_breakers(view),
        incidents=told_incidents(view, most_urgent_first(found)),
        span=span_words(trends.grid.span_seconds),
        rows=rows,
        changes=changes(events),
        limit=SHOWN,
    )


def span_words(seconds: float) -> str:
    """``24 h``, ``15 min``."""
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def _title(view: View, words: Sequence[str]) -> str:
    if view.stale:
        return "no current data"
    told = [f"{words.count(word)} {word}" for word in ("down", "degraded") if word in words]
    return ", ".join(told) or "all well"


def _concerns(view: View) -> list[Concern]:
    found = [] if view.stale else board.troubled(view)
    reach = board.Reach(view)
    return [Concern(one.provider, one.status.word, reach.of(one.provider), board.why(view, one)) for one in found]


def _breakers(view: View) -> list[Breaker]:
    circuits = [] if view.stale else [circuit for circuit in view.circuits() if circuit.state in board.NOT_CLOSED]
    return [_breaker(view, circuit) for circuit in circuits]


def _breaker(view: View, circuit: Circuit) -> Breaker:
    first = circuit.since if circuit.first_opened is None else circuit.first_opened
    at_least = "" if circuit.since_known else "at least "
    return Breaker(
        circuit,
        "" if circuit.state is None else circuit.state.name,
        at_least + duration(view.now - circuit.since),
        first,
        "" if first == circuit.since else duration(view.now - first),
        board.openings(view, circuit).removeprefix(", "),
    )


def _rows(view: View, trends: Trends, found: Iterable[Incident]) -> list[Row]:
    listed = tables.providers(view, lambda _: True)
    of_provider: dict[str, list[Incident]] = {}
    for one in found:
        of_provider.setdefault(one.provider, []).append(one)
    return [
        _row(view, verdict, cells, trends, of_provider.get(verdict.provider, ()))
        for verdict, cells in zip(view.verdicts(), listed.rows, strict=True)
    ]


def _row(view: View, verdict: Verdict, cells: Sequence[Cell], trends: Trends, its: Sequence[Incident]) -> Row:
    since = cells[OPEN_SINCE]
    status = view.status(verdict)
    line = trends.lines.get(verdict.provider)
    return Row(
        verdict.provider,
        status.word,
        duration(view.now - verdict.status_since) if status in (Status.DOWN, Status.DEGRADED) else "",
        [cell(value, column, view.now) for value, column in zip(cells, tables.PROVIDERS_COLUMNS, strict=True)],
        duration(view.now - since / 1000) if isinstance(since, int) else "",
        _path(line),
        _told(view, line, its),
    )


OPEN_SINCE = [column.title for column in tables.PROVIDERS_COLUMNS].index("Open since")


def _path(line: Line | None) -> str:
    return path(line.places, line.values) if line else ""


def _told(view: View, line: Line | None, its: Sequence[Incident]) -> str:
    """A trend in words, for who does not see it."""
    if line is None or line.worst is None or line.worst_at is None:
        return "no score recorded"
    lowest = f"lowest {number(line.worst, 'percent')}, {duration(view.now - line.worst_at)} ago"
    if not its:
        return f"{lowest}; no incident in 24 h"
    seconds = sum(bad_for(view, one) for one in its)
    return f"{lowest}; not healthy for {duration(seconds)} in {plural(len(its), 'incident')} in 24 h"
