"""A request for several targets, answered: each target's series or table, or what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.queries import tables
from bridge.queries.annotations import annotate
from bridge.queries.catalog import TABLES, Metric, labels_of, metric
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
MAX_TABLE_ROWS = 20_000
AS_OF_NOW = "as of now, not of the range's end"
MAX_SECONDS = 10.0
"""After it no further target of a request is begun: whoever waits for the answer has had enough by then."""


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
    """What a reader should know of the data, as "stale since"."""


def recorded_for(request: Request, view: View, store: Store, remote: RemoteHistory | None = None) -> Recorded | None:
    """The history a request is about; None for one that asks for the latest values alone.

    ``remote`` is asked for what is older than ``store``.
    """
    if request.span is None:
        return None
    targets = max(1, len(request.asks))
    return Recorded(store, view, request.span, request.steps, remote, targets=targets)


def answer(request: Request, view: View, store: Store, recorded: Recorded | None) -> list[Answer]:
    """Answer every target, in order. A bad one gets its error; raises TargetError when there is no good one."""
    answers: list[Answer] = []
    vocabulary = Vocabulary(view, store)
    started = time.monotonic()
    for ask in request.asks:
        try:
            if answers and time.monotonic() - started > MAX_SECONDS:
                raise TargetError(
                    f"not answered: the {len(answers)} targets before it took longer than {MAX_SECONDS:g} s",
                    "ask for fewer targets or a shorter range in one request",
                )
            if ask.mistake is not None:
                raise ask.mistake
            answers.append(_answer_one(ask, request, vocabulary, view, store, recorded))
        except TargetError as error:
            answers.append(Answer(ask, error=error))
    errors = [one.error for one in answers if one.error is not None]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers


def _answer_one(
    ask: Ask, request: Request, vocabulary: Vocabulary, view: View, store: Store, recorded: Recorded | None
) -> Answer:
    notices = (*((view.trouble,) if view.trouble else ()), *request.notices)
    of_events = (*notices, *known_since(recorded.known_since if recorded else None))
    if ask.annotation:
        return Answer(ask, table=_annotations(ask, request, vocabulary, view, store), notices=of_events)
    target = ask.choice.of(parse(ask.text, vocabulary.known))
    if target.worst is not None and target.metric in TABLES:
        raise TargetError(f"worst takes a metric, and {target.metric} is a table", "ask for the table as it is")
    if target.metric == EVERY_KIND:
        return Answer(ask, table=_annotations(ask, request, vocabulary, view, store), notices=of_events)
    filters = vocabulary.filters_on(labels_of(target.metric), request.filters)
    if target.metric in TABLES:
        table = _table(target, filters, request, view, store)
        if target.metric == "transitions":
            notices = of_events
        notices += unknown(target, request.filters, vocabulary, answered=bool(table.rows))
        if len(table.rows) > MAX_TABLE_ROWS:
            notices = (*notices, f"only the first {MAX_TABLE_ROWS} of {len(table.rows)} rows are shown")
            table = Table(table.name, table.columns, table.rows[:MAX_TABLE_ROWS])
        return Answer(ask, table=table, notices=notices)
    wanted = metric(target.metric)
    series, troubles = _series(target, wanted, filters, view, None if ask.as_table else recorded)
    seen = [one.labels for one in series]
    absent = unknown(target, request.filters, vocabulary, answered=bool(series), seen=seen)
    notices = (*notices, *troubles, *absent)
    if ask.as_table:
        if request.span is not None and request.span.end < view.now - view.stale_after_seconds:
            notices = (*notices, AS_OF_NOW)
        return Answer(ask, table=tables.of_series(wanted, series), notices=notices)
    answered = [SeriesAnswer(target.name(one.labels), one, wanted) for one in series]
    if not answered and absent and ask.ref_id is not None:
        answered = [SeriesAnswer(ask.text, NO_POINTS, wanted)]  # a panel shows notices of a series alone
    return Answer(ask, series=answered, notices=notices)


def known_since(at: float | None) -> tuple[str, ...]:
    """That events of a range begin at a time (epoch seconds), though its series go further back; nothing for None."""
    if at is None:
        return ()
    return (f"events are known from {clock(at)} on; older ones are not in the remote history",)


def _series(
    target: Target, wanted: Metric, filters: Sequence[Matcher], view: View, recorded: Recorded | None
) -> tuple[list[Series], Sequence[str]]:
    """A metric's series, and what the remote history did not answer of them."""
    if recorded is None:
        series, troubles = current(view, wanted, target, filters), []
    else:
        told = len(recorded.troubles)
        series = recorded.series(wanted, target, filters)
        troubles = list(dict.fromkeys(recorded.troubles[told:]))
    return (series if target.worst is None else worst(target.worst, series, wanted)), troubles


def _annotations(ask: Ask, request: Request, vocabulary: Vocabulary, view: View, store: Store) -> Table:
    """Annotations as a table: drawn over a panel, but where they are asked for as a table."""
    span = request.span or TimeRange(max(0.0, view.now - EVENTS_WITHOUT_RANGE_SECONDS), view.now)
    kept_since = view.now - store.retention_seconds
    filters = (*vocabulary.filters_on(labels_of(EVERY_KIND), request.filters), *ask.choice.matchers)
    found = annotate(ask.text, span, view, store, kept_since=kept_since, filters=filters, known=vocabulary.known)
    return tables.of_annotations(found, tooltips=ask.annotation or not ask.as_table)


def _table(target: Target, filters: Sequence[Matcher], request: Request, view: View, store: Store) -> Table:
    def wanted(labels: Mapping[str, str]) -> bool:
        let_through = all(matcher.matches(labels) for matcher in filters if matcher.label in labels)
        return let_through and target.matches(labels)

    if target.metric == "transitions":
        span = request.span or TimeRange(view.now - EVENTS_WITHOUT_RANGE_SECONDS, view.now)
        return tables.transitions(store.events(span.start, span.end), wanted)
    if target.metric == "freshness":
        return tables.freshness(view)
    table = {"providers": tables.providers, "circuits": tables.circuits, "explain": tables.explain}[target.metric]
    return table(view, wanted)
