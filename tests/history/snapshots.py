"""Snapshots, polls and logs made by hand, for tests that start behind the poller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from bridge.health.assess import assess
from bridge.health.incidents import Watch, update
from bridge.health.memory import Memory
from bridge.health.observed import observe
from bridge.health.traffic import Arrivals
from bridge.history.codec import PollLayout
from bridge.history.columns import Columns, Part, join
from bridge.history.numbers import Floats, unpack
from bridge.history.segment import PollRow, of_rows
from bridge.history.store import Store
from bridge.model import (
    FLEET_METRICS,
    MODEL_METRICS,
    PROVIDER_METRICS,
    Circuit,
    CircuitState,
    CounterId,
    Counters,
    Event,
    Evidence,
    Incident,
    Key,
    ModelNumbers,
    Moment,
    Poll,
    Sight,
    Signals,
    Snapshot,
    Status,
    Verdict,
)
from bridge.policy import Policy

T0 = 1_800_000_000.0
"""2027-01-15 08:00:00 UTC: when the hand-made history begins."""
INTERVAL = 15.0


def verdict(
    provider: str,
    status: Status = Status.HEALTHY,
    *,
    since: float = T0,
    evidence: Iterable[Evidence] = (),
    **values: float | None,
) -> Verdict:
    """A verdict whose ``values`` go by the metrics' names without ``provider_``; what is not given is not known."""
    unknown: dict[str, float | None] = dict.fromkeys(PROVIDER_METRICS)
    known = {f"provider_{name}": value for name, value in values.items()}
    assert known.keys() <= unknown.keys(), known.keys() - unknown.keys()
    evidence = tuple(evidence)
    reason = evidence[0].note.partition(": ")[2] if evidence else ""
    return Verdict(provider, status, since, {**unknown, "provider_status": float(status), **known}, evidence, reason)


def circuit(
    provider: str,
    model: str = "",
    state: CircuitState | None = CircuitState.CLOSED,
    *,
    since: float = T0,
    first_opened: float | None = None,
    opens: tuple[float, ...] = (),
    source: str = "gateway",
    reason: str = "reported by the gateway",
) -> Circuit:
    """A circuit whose state has been watched from its beginning."""
    return Circuit(provider, model, state, source, since, True, first_opened, opens, reason)


def snapshot(
    at: float,
    verdicts: Iterable[Verdict] = (),
    circuits: Iterable[Circuit] = (),
    *,
    fleet: Mapping[str, float] | None = None,
    model_error_rates: Mapping[Key, float] | None = None,
    rejected_lines: int = 0,
) -> Snapshot:
    """A snapshot with the verdicts by name, as the poller makes them; what is not given of the fleet is not known."""
    circuits = tuple(circuits)
    states = {one.key: float(one.state) for one in circuits if one.model and one.state is not None}
    return Snapshot(
        at,
        tuple(sorted(verdicts, key=lambda one: one.provider)),
        circuits,
        ModelNumbers.from_values(
            {
                **{metric: {} for metric in MODEL_METRICS},
                "model_status": dict.fromkeys(model_error_rates or {}, float(Status.HEALTHY)),
                "model_circuit_breaker_state": states,
                "model_error_rate": model_error_rates or {},
            }
        ),
        {**dict.fromkeys(FLEET_METRICS), **(fleet or {})},
        ("gatewayz-data",),
        100,
        rejected_lines,
    )


def memory_of(one: Snapshot, counters: Mapping[CounterId, float] | None = None) -> Memory:
    """A memory that goes with a snapshot."""
    now = Moment(one.at, one.at)
    circuits = {its.key: its for its in one.circuits}
    if not counters:  # as the assessment below leaves it, in a tenth of its time: histories are of a thousand polls
        window, rises = Memory().window.append(now.steady, Counters())
        recent = Memory().recent.append(Arrivals(rises), now.steady, Policy().breaker.window_seconds)
        return Memory(moment=now, window=window, recent=recent, circuits=circuits)
    return replace(assess(Memory(), Signals(counters=Counters.of(counters)), now, Policy())[0], circuits=circuits)


class Recorder:
    """Writes polls into a log as the leader would. It has its own connection, as another worker has."""

    def __init__(self, store: Store) -> None:
        self.store = Store(store.path.parent, retention_seconds=store._retention_seconds)
        self.failing_since: float | None = None
        self.watch = Watch()

    def good(self, one: Snapshot, *events: Event, interval: float = INTERVAL) -> Snapshot:
        """A good poll that brought this snapshot; its incidents are those of its verdicts and of the polls before."""
        self.failing_since = None
        self.watch = update(self.watch, observe(one.verdicts, one.models), Moment(one.at, one.at), interval)
        one = replace(one, incidents=self.watch.lasting)
        poll = Poll(one.at, interval, "ok", "", 0.025, steady=one.at)
        self.store.append(
            poll, failing_since=None, events=events, snapshot=one, memory=replace(memory_of(one), watch=self.watch)
        )
        self.store.maintain(Moment(poll.at, poll.steady))
        return one

    def failed(
        self,
        at: float,
        *events: Event,
        outcome: str = "refused",
        message: str = "connection refused",
        interval: float = INTERVAL,
    ) -> None:
        """A failed poll."""
        self.failing_since = at if self.failing_since is None else self.failing_since
        poll = Poll(at, interval, outcome, message, 0.5, steady=at)
        self.store.append(poll, failing_since=self.failing_since, events=events)
        self.store.maintain(Moment(poll.at, poll.steady))


def poll_row(
    at: float, interval: float, outcome: str, seconds: float, layout: PollLayout | None, numbers: Floats | None
) -> PollRow:
    """One poll as columns are made of them."""
    return PollRow(0, at, interval, outcome == "ok", seconds, layout, numbers)


def columns_of(rows: Sequence[PollRow]) -> Columns:
    """Columns over these polls alone."""
    return join([Part(of_rows(rows), slice(0, len(rows)))] if rows else [])


def polls_of(store: Store, start: float, end: float) -> list[SimpleNamespace]:
    """The polls of a log, row by row, with the numbers of those that are in no block yet."""
    rows = store.database.connection().execute(
        "SELECT at, interval, outcome, seconds, layout, numbers FROM polls LEFT JOIN fresh ON poll = id"
        " WHERE at BETWEEN ? AND ? ORDER BY at",
        (start, end),
    )
    return [
        SimpleNamespace(
            at=at,
            interval=interval,
            outcome=outcome,
            seconds=seconds,
            layout=None if layout is None else store.database.layout(layout),
            numbers=None if numbers is None else unpack(numbers),
        )
        for at, interval, outcome, seconds, layout, numbers in rows
    ]


def incident(
    provider: str,
    start: float,
    seconds: float,
    *,
    lasts: bool = False,
    peak: Status = Status.DOWN,
    cause: str = "12 of 80 requests failed in 2 min (15 %)",
    **more: Any,
) -> Incident:
    """An incident that began then, and was bad for so long; over, or seen at its end and lasting."""
    began, ended = (Sight(at, at, at) for at in (start, start + seconds))
    end = None if lasts else ended
    its = Incident(provider, began, began, ended, peak, cause, end, over=not lasts, bad_seconds=seconds)
    return replace(its, **more)
