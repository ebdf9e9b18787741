"""Short set-ups: what a gateway says in one poll, and a bridge that is polled again and again."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.model import (
    Circuit,
    CircuitState,
    CounterId,
    Counters,
    Event,
    Evidence,
    Key,
    Moment,
    Signals,
    Snapshot,
    Verdict,
)
from bridge.policy import Policy

START = 1_700_000_000.0
INTERVAL = 15.0

Numbers = Mapping[str, float]
GAUGES = ("reported_score", "error_rate", "availability", "latency", "cost")


def key(name: str) -> Key:
    """``openai`` or ``openai/gpt-4o``."""
    provider, _, model = name.partition("/")
    return Key(provider, model)


def says(
    *,
    circuits: Mapping[str, str] | None = None,
    requests: Numbers | None = None,
    failures: Numbers | None = None,
    rate_limited: Numbers | None = None,
    caller_errors: Numbers | None = None,
    told_apart_by: tuple[str, ...] = (),
    rejected: Numbers | None = None,
    moved: Mapping[str, Numbers] | None = None,
    buckets: Mapping[str, Numbers] | None = None,
    seconds: Numbers | None = None,
    ties: Mapping[str, tuple[str, ...]] | None = None,
    **gauges: Numbers,
) -> Signals:
    """What a gateway says, by ``provider`` or ``provider/model``. A signal that is not named is not in the exposition.

    Each signal is its own family, which carries its name. ``moved`` counts transitions (``{"openai": {"CLOSED>OPEN":
    1}}``), ``told_apart_by`` are labels that tell failures from rate limits, ``buckets`` are a latency histogram's, by
    upper bound, and ``seconds`` its sum.
    """
    counters: dict[CounterId, float] = {}
    by_signal = {
        "requests": requests,
        "failures": failures,
        "rate_limited": rate_limited,
        "caller_errors": caller_errors,
        "rejected": rejected,
    }
    for signal, values in by_signal.items():
        for name, value in (values or {}).items():
            counters[CounterId(signal, *key(name), "", f"{signal} of {name}")] = value
    for signal, tables in (("transitions", moved), ("latency_bucket", buckets)):
        for name, table in (tables or {}).items():
            for detail, value in table.items():
                counters[CounterId(signal, *key(name), detail, f"{signal} {detail} of {name}")] = value
    for name, table in (buckets or {}).items():
        counters[CounterId("latency_count", *key(name), "", f"count of {name}")] = table["+Inf"]
        counters[CounterId("latency_sum", *key(name), "", f"sum of {name}")] = (seconds or {}).get(name, 0.0)
    given: dict[str, Mapping[str, object]] = {
        signal: values
        for signal, values in {
            "circuit_state": circuits,
            "requests": requests,
            "failures": failures,
            "rejected": rejected,
            "transitions": moved,
            "latency_histogram": buckets,
            **gauges,
        }.items()
        if values is not None
    }
    assert set(gauges) <= set(GAUGES)
    return Signals(
        gauges={signal: {key(name): value for name, value in values.items()} for signal, values in gauges.items()},
        counters=_same_ids(counters),
        circuits={key(name): CircuitState[state] for name, state in (circuits or {}).items()},
        families={
            signal: frozenset(key(name).provider for name in values) for signal, values in given.items() if values
        },
        sources={signal: (signal, "test") for signal in given},
        ties=ties or {},
        failures_told_apart_by=told_apart_by,
    )


_ids: dict[tuple[CounterId, ...], tuple[CounterId, ...]] = {}


def _same_ids(counters: Mapping[CounterId, float]) -> Counters:
    """The counters, with one object for all that have the same series, as a reader gives them."""
    made = Counters.of(counters)
    return Counters(_ids.setdefault(made.ids, made.ids), made.numbers)


class Bridge:
    """Polls one after another, as the poller would assess them."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.memory = Memory()
        self.at = START - INTERVAL
        self.events: list[Event] = []
        """Those of the last poll."""
        self.history: list[Event] = []
        """Those of all polls."""
        self.snapshot: Snapshot

    def poll(self, signals: Signals, after: float = INTERVAL) -> Snapshot:
        """One more good poll, ``after`` seconds later."""
        self.at += after
        self.memory, self.snapshot, self.events = assess(
            self.memory, signals, Moment(self.at, self.at - START), self.policy
        )
        self.history += self.events
        return self.snapshot

    def circuit(self, name: str) -> Circuit:
        [found] = [circuit for circuit in self.snapshot.circuits if circuit.key == key(name)]
        return found

    def states(self) -> dict[str, str | None]:
        """Each circuit's state as the last poll shows it."""
        return {
            f"{c.provider}/{c.model}" if c.model else c.provider: None if c.state is None else c.state.name
            for c in self.snapshot.circuits
        }

    def moves(self) -> list[str]:
        """The transitions of the last poll, as ``openai CLOSED>OPEN``."""
        return [
            f"{event.provider}{'/' if event.model else ''}{event.model} {event.before}>{event.after}"
            for event in self.events
            if event.kind == "circuit"
        ]

    def verdict(self, provider: str) -> Verdict:
        [found] = [verdict for verdict in self.snapshot.verdicts if verdict.provider == provider]
        return found

    def value(self, provider: str, metric: str) -> float | None:
        return self.verdict(provider).values[metric]

    def evidence(self, provider: str, name: str) -> Evidence:
        [found] = [one for one in self.verdict(provider).evidence if one.name == name]
        return found

    @property
    def providers(self) -> list[str]:
        return [verdict.provider for verdict in self.snapshot.verdicts]
