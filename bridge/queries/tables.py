"""Tables: providers, circuits, transitions, explain, and any metric as one row a series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bridge.health.rounding import rounded, rounded_seconds
from bridge.history.uptime import SPANS, Uptime, Uptimes
from bridge.model import Circuit, CircuitState, Event, Verdict
from bridge.queries.annotations import Annotation
from bridge.queries.catalog import CIRCUIT_WORDS, STATUS_WORDS, Metric
from bridge.queries.series import Series
from bridge.queries.view import View, duration

NO_UPTIMES: Uptimes = MappingProxyType({})
Cell = str | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, Grafana's type, and the unit its numbers are in (Grafana's id; ``age``: seconds ago).

    ``short`` is its title where room is scarce; ``once``: where all rows say the same, text says it once, above;
    ``unread``: only programs need it, so text leaves it out.
    """

    title: str
    type: str = "string"
    unit: str = ""
    short: str = ""
    once: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows of as many cells; None for what is not known. Times are epoch milliseconds.

    ``tooltips``: Grafana draws the rows as annotations, and shows their texts as HTML.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Cell]]
    tooltips: bool = False


Wanted = Callable[[dict[str, str]], bool]
"""Says whether a row with these labels was asked for."""

PROVIDERS_COLUMNS = (
    Column("Provider"),
    Column("Status"),
    Column("Score", "number", "percent"),
    Column("Reported score", "number", "percent", "Rep."),
    Column("Circuit"),
    Column("Open circuits", short="Open"),
    Column("Open since", "time", short="Since"),
    Column("Error rate", "number", "percentunit", "Errors"),
    Column("Availability", "number", "percent", "Avail."),
    Column("Latency", "number", "s", "Avg"),
    Column("p95", "number", "s"),
    Column("Request rate", "number", "reqps", "Req/s"),
    Column("Data age", "number", "s", "Age"),
    Column("Why", unread=True),
    Column("Last success", "time", unread=True),
    *(Column(f"Uptime {span}", "number", "percent", unread=True) for span in SPANS),
)
CIRCUITS_COLUMNS = (
    Column("Provider"),
    Column("Model"),
    Column("State"),
    Column("Since", "time"),
    Column("For", "number", "s"),
    Column("First opened", "time", short="First"),
    Column("Opens 24h", "number", short="24h"),
    Column("Source"),
    Column("Reason"),
)
TRANSITIONS_COLUMNS = (
    Column("Time", "time"),
    Column("Kind"),
    Column("Provider"),
    Column("Model"),
    Column("From"),
    Column("To"),
    Column("Reason"),
)
EXPLAIN_COLUMNS = (
    Column("Provider", once=True),
    Column("What"),
    Column("Value", "number"),
    Column("State"),
    Column("Unit"),
    Column("Published", "number", short="Publ."),
    Column("Age", "number", "s", once=True),
    Column("Source"),
    Column("Note"),
)
FRESHNESS_COLUMNS = (
    Column("State"),
    Column("Since", "time"),
    Column("Age", "number", "s"),
    Column("Text"),
)
ANNOTATIONS_COLUMNS = (
    Column("time", "time", short="From"),
    Column("timeEnd", "time", short="To"),
    Column("title", short="What"),
    Column("text", short="Why"),
    Column("tags", unread=True),
    Column("id", unread=True),
    Column("newState", unread=True),
)


def milliseconds(at: float) -> int:
    """Epoch seconds as Grafana wants them."""
    return round(at * 1000)


def known(value: float) -> float | None:
    """A number of an array as a cell: NaN is not known."""
    return None if value != value else float(value)


def providers(view: View, wanted: Wanted, uptimes: Uptimes = NO_UPTIMES) -> Table:
    """A row a provider, worst first. Once the data is stale only names, uptimes and the data's age are known."""
    openings = {} if view.stale else _openings(view)
    rows = [
        _provider_row(view, verdict, uptimes.get(verdict.provider, {}), openings.get(verdict.provider))
        for verdict in view.verdicts()
        if wanted({"provider": verdict.provider, "status": view.status(verdict).word})
    ]
    return Table("providers", PROVIDERS_COLUMNS, rows)


def _provider_row(view: View, verdict: Verdict, uptimes: Mapping[str, Uptime], open_since: int | None) -> list[Cell]:
    def value(metric: str) -> float | None:
        return view.value(verdict, metric)

    state, open_circuits, circuits = (
        value("provider_circuit_breaker_state"),
        value("provider_open_circuits"),
        value("provider_circuits"),
    )
    return [
        verdict.provider,
        view.status(verdict).word,
        value("provider_health_score"),
        value("provider_reported_health_score"),
        None if state is None else CIRCUIT_WORDS[int(state)],
        None if open_circuits is None or circuits is None else f"{open_circuits:g} of {circuits:g}",
        open_since,
        value("provider_error_rate"),
        value("provider_availability"),
        value("provider_latency_seconds"),
        value("provider_latency_p95_seconds"),
        value("provider_request_rate"),
        view.age_seconds,
        view.trouble if view.stale else reason(verdict) or None,
        None if view.stale or verdict.last_success is None else milliseconds(verdict.last_success),
        *(rounded("provider_uptime", uptimes.get(span, Uptime()).up_percent) for span in SPANS),
    ]


def reason(verdict: Verdict) -> str:
    """Why a provider's status is what it is."""
    return verdict.reason or (verdict.evidence[0].note.partition(": ")[2] if verdict.evidence else "")


def _openings(view: View) -> dict[str, int]:
    """Since when each provider's longest open circuit is open, outages tried in between included."""
    return {
        provider: milliseconds(min(openings))
        for provider, circuits in by_provider(view.snapshot.circuits if view.snapshot else ()).items()
        if (openings := [circuit.first_opened for circuit in circuits if circuit.first_opened is not None])
    }


def by_provider(circuits: Iterable[Circuit]) -> dict[str, list[Circuit]]:
    """Each provider's circuits, in their order."""
    found: dict[str, list[Circuit]] = {}
    for circuit in circuits:
        found.setdefault(circuit.provider, []).append(circuit)
    return found


def circuits(view: View, wanted: Wanted) -> Table:
    """A row a circuit, worst first."""
    rows = [
        _circuit_row(view, circuit)
        for circuit in view.circuits()
        if wanted({"provider": circuit.provider, "model": circuit.model, "state": _state_word(view, circuit)})
    ]
    return Table("circuits", CIRCUITS_COLUMNS, rows)


def _state_word(view: View, circuit: Circuit) -> str:
    return "unknown" if circuit.state is None or view.stale else circuit.state.name


def _circuit_row(view: View, circuit: Circuit) -> list[Cell]:
    known = circuit.state is not None and not view.stale
    noteworthy = not circuit.since_known and circuit.state is not CircuitState.CLOSED
    at_least = "so at its first sight, maybe longer; " if noteworthy else ""
    return [
        circuit.provider,
        circuit.model or "(whole provider)",
        _state_word(view, circuit),
        milliseconds(circuit.since) if known else None,
        rounded_seconds(view.now - circuit.since) if known else None,
        milliseconds(circuit.first_opened) if known and circuit.first_opened is not None else None,
        len(circuit.opens),
        circuit.source,
        at_least + circuit.reason if not view.stale else "data is stale",
    ]


def transitions(events: Sequence[Event], wanted: Wanted) -> Table:
    """What changed, newest first. Circuits that come or go while closed are no news."""
    rows: list[list[Cell]] = [
        [milliseconds(event.at), event.kind, event.provider, event.model, event.before, event.after, event.reason]
        for event in reversed(events)
        if is_news(event) and wanted({"provider": event.provider, "model": event.model, "kind": event.kind})
    ]
    return Table("transitions", TRANSITIONS_COLUMNS, rows)


def is_news(event: Event) -> bool:
    """False for a circuit that is first seen, or last seen, closed."""
    return event.kind != "circuit" or bool({event.before, event.after} - {"", "CLOSED"})


def explain(view: View, wanted: Wanted) -> Table:
    """Each number behind the verdicts asked for: its value, what was published, its age, who said it, and a note."""
    rows: list[list[Cell]] = []
    circuits_of = by_provider(view.circuits())
    for verdict in view.verdicts():
        if not wanted({"provider": verdict.provider}):
            continue
        rows.extend(_evidence_rows(view, verdict))
        reporters = next((entry.source for entry in verdict.evidence if entry.name == "open circuits"), "")
        its_circuits = circuits_of.get(verdict.provider, ())
        rows.extend(_circuit_evidence(view, circuit, reporters) for circuit in its_circuits)
    return Table("explain", EXPLAIN_COLUMNS, rows)


def _evidence_rows(view: View, verdict: Verdict) -> list[list[Cell]]:
    age = view.age_seconds
    stale_note = f"as of the last good poll; not known now: {view.trouble}" if view.stale else ""
    rows: list[list[Cell]] = []
    for entry in verdict.evidence:
        value = None if view.stale else entry.value
        note = stale_note or entry.note
        word = STATUS_WORDS[int(value or 0)] if entry.unit == "status" else ""
        rows.append([verdict.provider, entry.name, value, word, entry.unit, entry.published, age, entry.source, note])
    return rows


def _circuit_evidence(view: View, circuit: Circuit, reporters: str) -> list[Cell]:
    known = circuit.state is not None and not view.stale
    word = _state_word(view, circuit)
    note = f"{word}: {circuit.reason}"
    if known and circuit.state is not CircuitState.CLOSED:
        note += f"; {len(circuit.opens)} opening{'' if len(circuit.opens) == 1 else 's'} in 24 h"
    return [
        circuit.provider,
        f"circuit {circuit.model}".strip(),
        float(circuit.state) if known and circuit.state is not None else None,
        word,
        "circuit state",
        None,
        view.age_seconds,
        reporters if circuit.source == "gateway" and reporters else circuit.source,
        note,
    ]


def freshness(view: View) -> Table:
    """One row: how old what is known is, and since when and why nothing newer is.

    ``Since`` is when the last good poll was, and ``Age`` how long ago that is; both are null before the first.
    """
    at = None if view.snapshot is None else milliseconds(view.snapshot.at)
    if view.snapshot is None:
        state, said = "never read", view.trouble
    elif view.stale:
        state, said = "stale", view.trouble
    else:
        state, said = "fresh", f"{duration(view.age_seconds or 0.0)} old"
        said += f"; {view.trouble}" if view.trouble else ""
    return Table("freshness", FRESHNESS_COLUMNS, [[state, at, view.age_seconds, said]])


def of_annotations(found: Sequence[Annotation], *, tooltips: bool) -> Table:
    """A row an event, as Grafana takes annotations from a table: points end as they start, tags stand in one text."""
    rows: list[list[Cell]] = [
        [
            milliseconds(one.start),
            milliseconds(one.end),
            one.title,
            one.text,
            ",".join(tag.replace(",", ";") for tag in one.tags),  # Grafana splits them at commas
            one.id,
            one.new_state,
        ]
        for one in found
    ]
    return Table("annotations", ANNOTATIONS_COLUMNS, rows, tooltips)


def of_series(metric: Metric, series: Sequence[Series]) -> Table:
    """One row a series: its labels and its last value."""
    kind = Column("Value", "number", metric.unit)
    columns = (Column("Time", "time"), *(Column(label) for label in metric.labels), kind)
    rows = [
        [milliseconds(one.times[-1]), *(one.labels[label] for label in metric.labels), known(one.values[-1])]
        for one in series
        if len(one.times)
    ]
    return Table(metric.name, columns, rows)
