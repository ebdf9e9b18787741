"""The page of one provider: its verdict, how it went, each number behind it, its circuits, and what changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.history.store import Store
from bridge.model import Event, Incident, Verdict
from bridge.queries import incident_tables, tables
from bridge.queries.answer import uptimes
from bridge.queries.catalog import METRICS
from bridge.queries.incidents import most_urgent_first
from bridge.queries.tables import Cell
from bridge.queries.trend import Grid, Line, lines
from bridge.queries.view import View, duration
from bridge.web import board
from bridge.web.incident_page import told_incidents
from bridge.web.page import Frame, changes, number, render
from bridge.web.sparkline import path
from bridge.web.status_page import span_words

CHARTS = {
    "provider_health_score": "Health score",
    "provider_error_rate": "Error rate",
    "provider_latency_p95_seconds": "Latency, p95",
    "provider_latency_seconds": "Latency, average",
}
CHART_SPANS_SECONDS = (3600.0, 86_400.0)
ROWS = 1_000
"""Of circuits, and of numbers, that a page shows: who has more of them asks for the tables."""
NEAREST_SHOWN = 8
NEAREST_LIKENESS = 0.4
TOPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""What a chart's upper edge can stand for: the first of these that nothing exceeds."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric over one span."""

    title: str
    span: str
    trend: str
    top: str
    now: str
    worst: str


def provider_page(frame: Frame, provider: str, store: Store, its: Sequence[Incident], events: Iterable[Event]) -> str:
    """The page of a provider that is there; ``its`` are its incidents of the last 24 h."""
    view = frame.view
    verdict = next(one for one in view.verdicts() if one.provider == provider)
    status = view.status(verdict).word
    circuits = tables.circuits(view, lambda labels: labels["provider"] == provider)
    explained = tables.explain(view, lambda labels: labels["provider"] == provider)
    return render(
        "provider.html",
        frame,
        title=status,
        icon=status,
        provider=provider,
        status=status,
        why="" if view.stale else board.joined(board.Reach(view).of(provider), board.why(view, verdict)),
        freshness=board.freshness(view),
        charts=_charts(view, store, verdict),
        incidents=told_incidents(view, most_urgent_first(its)),
        uptimes=_uptimes(view, store, provider),
        last_success=None if view.stale else verdict.last_success,
        circuits=[_named(circuits, row) for row in circuits.rows[:ROWS]],
        evidence=[_named(explained, row) for row in explained.rows[:ROWS]],
        rows=f"{ROWS:,}",
        left_out=max(len(circuits.rows), len(explained.rows)) - ROWS,
        told_once=f": {view.trouble}" if view.stale else "",
        changes=changes(events, provider),
    )


def _uptimes(view: View, store: Store, provider: str) -> list[Mapping[str, Cell]]:
    """A row a span."""
    table = incident_tables.of_uptimes(uptimes(view, store), lambda labels: labels["provider"] == provider)
    return [_named(table, row) for row in table.rows]


def missing_page(frame: Frame, name: str) -> str:
    """The page of a provider that is not there: those whose names are most like it. Without any poll: not known."""
    title = "no such provider" if frame.view.snapshot else "no current data"
    known = [verdict.provider for verdict in frame.view.verdicts()]
    return render("missing.html", frame, title=title, icon="unknown", name=name, near=_nearest(name, known))


def _nearest(name: str, known: Sequence[str]) -> list[str]:
    word = name[: 2 * NEAREST_SHOWN * NEAREST_SHOWN].lower()
    by_fold = {provider.lower(): provider for provider in known}
    close = difflib.get_close_matches(word, by_fold, n=NEAREST_SHOWN, cutoff=NEAREST_LIKENESS)
    return [by_fold[fold] for fold in close]


def _named(table: tables.Table, row: Sequence[Cell]) -> Mapping[str, Cell]:
    return dict(zip([column.title for column in table.columns], row, strict=True))


def _charts(view: View, store: Store, verdict: Verdict) -> list[list[Chart]]:
    """A list a metric that was ever known in the spans, with a chart a span."""
    grids = [Grid(span, view.now) for span in CHART_SPANS_SECONDS]
    by_span = [lines(store, view, grid, list(CHARTS), verdict.provider) for grid in grids]
    names = [name for name in CHARTS if any(_known(of_span, name) for of_span in by_span)]
    if "provider_latency_p95_seconds" in names and "provider_latency_seconds" in names:
        names.remove("provider_latency_seconds")
    return [
        [_chart(view, verdict, name, grid, of_span.get(name)) for grid, of_span in zip(grids, by_span, strict=True)]
        for name in names
    ]


def _known(of_span: Mapping[str, Line], name: str) -> bool:
    return name in of_span and of_span[name].worst is not None


def _chart(view: View, verdict: Verdict, name: str, grid: Grid, line: Line | None) -> Chart:
    unit, title, span = METRICS[name].unit, CHARTS[name], span_words(grid.span_seconds)
    value = number(view.value(verdict, name), unit)
    if line is None or line.worst is None or line.worst_at is None:
        return Chart(title, span, "", "", value, "nothing recorded")
    top = 100.0 if unit == "percent" else next((top for top in TOPS if top >= line.worst), line.worst)
    top_words = f"{top:.0%}" if unit == "percentunit" else f"{top:g}{unit if unit == 's' else ''}"
    word = "lowest" if METRICS[name].worst == "low" else "highest"
    worst = f"{word} {number(line.worst, unit)}, {duration(view.now - line.worst_at)} ago"
    return Chart(title, span, path(line.places, line.values, top), top_words, value, worst)
