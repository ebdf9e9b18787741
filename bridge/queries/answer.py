"""A request for several targets, answered: each target's series or table, or what is wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.history.uptime import Uptimes
from bridge.model import Event
from bridge.queries import incident_tables, incidents, tables
from bridge.queries.annotations import annotate
from bridge.queries.budget import SELECT, Budget, TooMuchError, cut
from bridge.queries.catalog import TABLES, Metric, labels_of, metric
from bridge.queries.naming import Named
from bridge.queries.payloads import NOTHING_CHOSEN, Choice
from bridge.queries.selection import EVERY_KIND
from bridge.queries.series import Recorded, Series, Steps, current
from bridge.queries.tables import Table
from bridge.queries.targets import Matcher, Target, TargetError, parse
from bridge.queries.timerange import TimeRange
from bridge.queries.unknown import unknown
from bridge.queries.view import View, clock
from bridge.queries.vocabulary import Vocabulary
from bridge.queries.worst import worst

EVENTS_WITHOUT_RANGE_SECONDS = 86_400.0
INCIDENTS_WITHOUT_RANGE_SECONDS = 7 * 86_400.0
AS_OF_NOW = "as of now, not of the range's end"
NO_POINTS = Series({}, np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True)
class Ask:
    """One target as a client asks for it."""

    text: str
    ref_id: str | None = None
    as_table: bool = False
    choice: Choice = NOTHING_CHOSEN
    """What its payload chooses."""
    annotation: bool = False
    """True for one whose text is an annotation query, which may be empty."""
    mistake: TargetError | None = None
    """What is wrong with it, where that shows before its text is read."""


@dataclass(frozen=True, slots=True)
class Request:
    """All that one request asks for. Without a span: the latest values alone."""

    asks: tuple[Ask, ...]
    span: TimeRange | None
    steps: Steps
    filters: tuple[Matcher, ...] = ()
    relative: bool = False
    """True when the span was given relative to now."""
    notices: tuple[str, ...] = ()
    """What was asked for and is left out of all answers."""


@dataclass(frozen=True, slots=True)
class SeriesAnswer:
    """One series as it is answered."""

    name: str
    series: Series
    metric: Metric


@dataclass(frozen=True, slots=True)
class Answer:
    """What one target came to: series, or a table, or an error."""

    ask: Ask
    series: Sequence[SeriesAnswer] = ()
    table: Table | None = None
    error: TargetError | None = None
    notices: Sequence[str] = field(default=())
    """What a reader should know of this answer beside the view's trouble, which holds for all."""
    passing: bool = False
    """True where they hold for this moment alone, as that there is no such provider yet."""


def recorded_for(
    request: Request, view: View, store: Store, budget: Budget, remote: RemoteHistory | None = None
) -> Recorded | None:
    """The history a request is about; None for one that asks for the latest values alone.

    ``remote`` is asked for what is older than ``store``.
    """
    return None if request.span is None else Recorded(store, view, request.span, request.steps, remote, budget=budget)


def answer(request: Request, view: View, store: Store, recorded: Recorded | None, budget: Budget) -> list[Answer]:
    """Answer every target, in order. A bad one gets its error; raises TargetError when there is no good one.

    What does not fit ``budget`` is left out, and told; raises BusyError where others are at work for too long.
    """
    answers: list[Answer] = []
    vocabulary = Vocabulary(view, store)
    sources = _Sources(request, vocabulary, view, store, recorded, budget)
    for to_come, ask in zip(range(len(request.asks) - 1, -1, -1), request.asks, strict=True):
        budget.next_target(to_come)
        try:
            budget.check()
            if ask.mistake is not None:
                raise ask.mistake
            answers.append(_answer_one(ask, sources))
        except TargetError as error:
            answers.append(Answer(ask, error=error))
    errors = [one.error for one in answers if one.error is not None]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers


@dataclass(frozen=True)
class _Sources:
    """What all targets of a request are answered from."""

    request: Request
    vocabulary: Vocabulary
    view: View
    store: Store
    recorded: Recorded | None
    budget: Budget

    @property
    def known_since(self) -> Sequence[str]:
        """Since when events are known, where series go further back."""
        return known_since(self.recorded.known_since if self.recorded else None)

    @cached_property
    def transitions(self) -> tuple[Sequence[Event], Sequence[str]]:
        """The events of the range, oldest first, and what there is to say where these are not all."""
        most = self.budget.limits.events
        span = self.request.span or TimeRange(self.view.now - EVENTS_WITHOUT_RANGE_SECONDS, self.view.now)
        self.budget.begin()
        start = self.store.events_reach(span.start, span.end, most)
        notices = (f"only the newest {most:,} events are looked at, since {clock(start)}: ask for a shorter range",)
        return self.store.events(start, span.end), (*notices[: start > span.start], *self.known_since)


def _answer_one(ask: Ask, sources: _Sources) -> Answer:
    request, vocabulary = sources.request, sources.vocabulary
    if ask.annotation:
        return _annotations(ask, sources)
    target = ask.choice.of(parse(ask.text, vocabulary.known))
    if target.worst is not None and target.metric in TABLES:
        raise TargetError(f"worst takes a metric, and {target.metric} is a table", "ask for the table as it is")
    if target.metric == EVERY_KIND:
        return _annotations(ask, sources)
    filters = vocabulary.filters_on(labels_of(target.metric), request.filters)
    if target.metric in TABLES:
        table, notices = _table(target, filters, sources)
        absent = unknown(target, request.filters, vocabulary, answered=bool(table.rows))
        return _with_rows(Answer(ask, table=table, notices=(*request.notices, *notices, *absent)), sources.budget)
    return _series_answer(ask, target, filters, sources)


def _series_answer(ask: Ask, target: Target, filters: Sequence[Matcher], sources: _Sources) -> Answer:
    """A metric's series, or the table of their values."""
    request, view, wanted = sources.request, sources.view, metric(target.metric)
    named = Named(target, sources.budget)
    series, troubles = _series(target, wanted, filters, view, None if ask.as_table else sources.recorded, named)
    seen = [one.labels for one in series]
    absent = unknown(target, request.filters, sources.vocabulary, answered=bool(series), seen=seen)
    notices = (*request.notices, *troubles, *named.notices, *absent)
    if ask.as_table:
        if request.span is not None and request.span.end < view.now - view.stale_after_seconds:
            notices = (*notices, AS_OF_NOW)
        return _with_rows(Answer(ask, table=tables.of_series(wanted, series), notices=notices), sources.budget)
    answered = [SeriesAnswer(name, one, wanted) for name, one in zip(named.names, series, strict=True)]
    if not answered and absent and ask.ref_id is not None:
        answered = [SeriesAnswer(ask.text, NO_POINTS, wanted)]  # a panel shows notices of a series alone
    return Answer(ask, series=answered, notices=notices, passing=bool(absent))


def known_since(at: float | None) -> tuple[str, ...]:
    """That events of a range begin at a time (epoch seconds), though its series go further back; nothing for None."""
    if at is None:
        return ()
    return (f"events are known from {clock(at)} on; older ones are not in the remote history",)


def _series(
    target: Target,
    wanted: Metric,
    filters: Sequence[Matcher],
    view: View,
    recorded: Recorded | None,
    named: Named,
) -> tuple[list[Series], Sequence[str]]:
    """A metric's series, as many as there is room for, and what the remote history did not answer of them."""
    troubles: Sequence[str] = []
    if recorded is None:
        series = current(view, wanted, target, filters)
        if target.worst is None:
            return series[: named.room([one.labels for one in series])], troubles
    else:
        told = len(recorded.troubles)
        series = recorded.series(wanted, target, filters, named if target.worst is None else None)
        troubles = list(dict.fromkeys(recorded.troubles[told:]))
    if target.worst is not None:
        series = worst(target.worst, series, wanted)
        series = series[: named.room([one.labels for one in series])]
    return series, troubles


def _annotations(ask: Ask, sources: _Sources) -> Answer:
    """Annotations as a table: drawn over a panel, but where they are asked for as a table."""
    request, vocabulary, view, store = sources.request, sources.vocabulary, sources.view, sources.store
    span = request.span or TimeRange(max(0.0, view.now - EVENTS_WITHOUT_RANGE_SECONDS), view.now)
    kept_since = view.now - store.retention_seconds
    filters = (*vocabulary.filters_on(labels_of(EVERY_KIND), request.filters), *ask.choice.matchers)
    found = annotate(
        ask.text,
        span,
        view,
        store,
        kept_since=kept_since,
        filters=filters,
        known=vocabulary.known,
        budget=sources.budget,
    )
    table = tables.of_annotations(found, tooltips=ask.annotation or not ask.as_table)
    notices = (*request.notices, *sources.known_since)
    return _with_rows(Answer(ask, table=table, notices=notices), sources.budget)


def _table(target: Target, filters: Sequence[Matcher], sources: _Sources) -> tuple[Table, Sequence[str]]:
    """A table, and what there is to say of it."""

    def wanted(labels: Mapping[str, str]) -> bool:
        let_through = all(matcher.matches(labels) for matcher in filters if matcher.label in labels)
        return let_through and target.matches(labels)

    view = sources.view
    if target.metric == "transitions":
        events, notices = sources.transitions
        return tables.transitions(events, wanted), notices
    if target.metric == "freshness":
        return tables.freshness(view), ()
    store = sources.store
    if target.metric == "incidents":
        span = sources.request.span or TimeRange(max(0.0, view.now - INCIDENTS_WITHOUT_RANGE_SECONDS), view.now)
        return incident_tables.of_incidents(view, incidents.found(view, store, span), wanted), ()
    if target.metric == "uptime":
        return incident_tables.of_uptimes(uptimes(view, store), wanted), ()
    if target.metric == "providers":
        return tables.providers(view, wanted, uptimes(view, store)), ()
    return {"circuits": tables.circuits, "explain": tables.explain}[target.metric](view, wanted), ()


def uptimes(view: View, store: Store) -> Uptimes:
    """For how long each provider had which status; nothing where that cannot be read."""
    with suppress(sqlite3.Error):
        return store.uptimes(view.latest.poll_id, view.now) if view.latest else {}
    return {}


def _with_rows(answered: Answer, budget: Budget) -> Answer:
    """The answer with as many of its table's rows as there is room for."""
    table = answered.table
    if table is None or not table.rows:
        return answered
    given = budget.rows(len(table.rows))
    if given == len(table.rows):
        return answered
    if not given:
        raise TooMuchError("the targets before it took all the rows that a request may have", "ask for it alone")
    notice = cut(given, len(table.rows), "rows", SELECT)
    return replace(answered, table=replace(table, rows=table.rows[:given]), notices=(*answered.notices, notice))
