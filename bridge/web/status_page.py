"""The status page: who is degrading, which breakers are open, blip or regression; then everyone, and what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.model import Circuit, Event, Status, Verdict
from bridge.queries import tables
from bridge.queries.tables import Cell
from bridge.queries.trend import Line, Spells, Trends
from bridge.queries.view import View, duration
from bridge.web import board
from bridge.web.page import Frame, changes, number, plural, render, worst_of
from bridge.web.sparkline import path
from bridge.web.text import cell, printable

SHOWN = 8
"""How many entries each of the three answers has; the others are counted."""
BLIP_SECONDS = 300.0
RECURRING_SPELLS = 3
GOING_ON = "going on"


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
class Spell:
    """A provider that was not well in the span: a blip, or more."""

    provider: str
    verdict: str
    kind: str
    text: str
    trend: str


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


def fleet_page(frame: Frame, trends: Trends, events: Iterable[Event]) -> str:
    """The page at ``/``."""
    view = frame.view
    rows = _rows(view, trends)
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
        spells=_spells(view, trends),
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


def spell_lines(view: View, trends: Trends) -> list[str]:
    """The page's third answer as the board tells it: whose spell is a blip, whose is more."""
    span, found = span_words(trends.grid.span_seconds), _spells(view, trends)
    if not found:
        return [f"everybody was well in the last {span}"]
    told = [
        f"{printable(one.provider)}: {one.verdict}{' ' if one.verdict == GOING_ON else ', '}{one.text}"
        for one in found[:SHOWN]
    ]
    more = [f"and {len(found) - SHOWN} more, see /query?target=annotations&from=now-24h&format=text"]
    return [f"in the last {span}:", *told, *more[: len(found) > SHOWN]]


def _spells(view: View, trends: Trends) -> list[Spell]:
    """Those that go on first, the longest first; then those that are over, the latest first."""
    troubled = {} if view.stale else {verdict.provider: verdict for verdict in board.troubled(view)}

    def order(item: tuple[str, Spells]) -> tuple[bool, float, str]:
        name, its = item
        return name not in troubled, -its.seconds if name in troubled else -its.last_at, name

    return [
        _spell(view, name, its, _path(trends.lines.get(name)), troubled.get(name))
        for name, its in sorted(trends.spells.items(), key=order)
    ]


def _spell(view: View, name: str, its: Spells, trend: str, troubled: Verdict | None) -> Spell:
    """``troubled`` is the verdict on a provider whose spell goes on."""
    recurring = "recurring" if its.count >= RECURRING_SPELLS else ""
    in_all = f"{duration(its.seconds)} in {plural(its.count, 'spell')}"
    if troubled is not None:
        # Who was degraded before it went down is not well since then; its status may be older than the span.
        lasts = duration(view.now - min(its.began_at, troubled.status_since))
        text = f"for {lasts}, the first spell" if its.count == 1 else f"for {lasts} now, {in_all} in all"
        return Spell(name, recurring or GOING_ON, troubled.status.word, text, trend)
    text = f"{in_all}, last {duration(view.now - its.last_at)} ago"
    if view.stale:
        return Spell(name, "not known now", "unknown", text, trend)
    over = plural(its.count, "blip").partition(" ")[2] if its.seconds < BLIP_SECONDS else "over"
    return Spell(name, recurring or over, "degraded" if recurring else "healthy", text, trend)


def _rows(view: View, trends: Trends) -> list[Row]:
    listed = tables.providers(view, lambda _: True)
    return [_row(view, verdict, cells, trends) for verdict, cells in zip(view.verdicts(), listed.rows, strict=True)]


def _row(view: View, verdict: Verdict, cells: Sequence[Cell], trends: Trends) -> Row:
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
        _told(view, line, trends.spells.get(verdict.provider)),
    )


OPEN_SINCE = [column.title for column in tables.PROVIDERS_COLUMNS].index("Open since")


def _path(line: Line | None) -> str:
    return path(line.places, line.values) if line else ""


def _told(view: View, line: Line | None, spells: Spells | None) -> str:
    """A trend in words, for who does not see it."""
    if line is None or line.worst is None or line.worst_at is None:
        return "no score recorded"
    lowest = f"lowest {number(line.worst, 'percent')}, {duration(view.now - line.worst_at)} ago"
    if spells is None:
        return f"{lowest}; never seen degraded"
    return f"{lowest}; not healthy for {duration(spells.seconds)} in {plural(spells.count, 'spell')}"
