"""The nouns that the layers hand to each other: frozen values, nothing that needs I/O.

Times are float epoch seconds. A value that is not known is ``None`` here and NaN in arrays, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FAILURE_CLASSES: Mapping[str, str] = MappingProxyType(
    {"failure": "failures", "rate_limited": "rate_limited", "caller": "caller_errors"}
)
"""Classes of what did not succeed, and the signal that each counts for. Of these only the first is a failure: a rate
limit is counted apart, and a caller's mistake is finished, not failed."""

VANISHED_AFTER_POLLS = 3
"""For how many good polls in a row a provider or an identity must be absent to be gone."""


class Reading(NamedTuple):
    """One reading of the machine's clocks."""

    wall: float
    """Epoch seconds: what dates a poll. It can be wrong, and set at any time."""
    steady: float
    """Seconds of a clock that nobody sets, the same for all processes since the machine was started."""
    boot: str
    """Which start of the machine ``steady`` counts from; empty where that is not known."""


class Moment(NamedTuple):
    """When a poll was."""

    at: float
    """As the wall clock dated it, epoch seconds: what is shown."""
    steady: float
    """On the service's own time line, in seconds that really passed, restarts included: what windows and time-outs
    are measured on."""


class CircuitState(IntEnum):
    """A circuit breaker's state, numbered as the service publishes it."""

    CLOSED = 0
    OPEN = 1
    HALF_OPEN = 2

    @property
    def severity(self) -> int:
        """Order of badness: CLOSED < HALF_OPEN < OPEN."""
        return (0, 2, 1)[self]


class Status(IntEnum):
    """The verdict on a provider, numbered as the service publishes it."""

    UNKNOWN = 0
    HEALTHY = 1
    DEGRADED = 2
    DOWN = 3

    @property
    def word(self) -> str:
        """The status as people read it, in lower case."""
        return self.name.lower()


class Key(NamedTuple):
    """A circuit or a model's counters; an empty ``model`` means the provider as a whole."""

    provider: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.provider} / {self.model}" if self.model else self.provider


class Named(NamedTuple):
    """A name in use for what the gateway tells apart by labels that are never shown (``identity`` in a dialect)."""

    dialect: str
    digest: str
    """Of the labels' values."""
    rank: int
    """Which entry of the dialect gave the name."""
    name: Key
    number: int
    """1 for the first of this name."""
    absent: int = 0
    """For how many good polls in a row it has been absent."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the expositions of one gateway have taught, for the next one to be read by.

    It is handed in with each reading, and what comes out of it (``Signals.learnt``) is kept when the poll is accepted,
    so that a poll which is not accepted changes nothing.
    """

    names: tuple[Named, ...] = ()
    """The names in use for identities."""
    units: Mapping[str, str] = field(default_factory=dict)
    """``ratio`` or ``percent`` for each family that its dialect does not say it of."""
    dialects: tuple[str, ...] = ()
    """The dialects it was last recognised to be in."""


class CounterId(NamedTuple):
    """One counter series of the gateway and the signal it feeds.

    ``detail`` is the bucket's upper bound (``le``) for ``latency_bucket`` and ``from>to`` for ``transitions``.
    ``series`` is the series' own text, so that many series of one key are each followed through their own resets.
    """

    signal: str
    provider: str
    model: str
    detail: str
    series: str

    @property
    def key(self) -> Key:
        """The circuit or model this series counts for."""
        return Key(self.provider, self.model)


@dataclass(frozen=True, slots=True, eq=False)
class Counters(Mapping[CounterId, float]):
    """The counters of one exposition: series and their values, in the order they are published in."""

    ids: tuple[CounterId, ...] = ()
    """The very same object for as long as the gateway publishes the same series."""
    numbers: Floats = field(default_factory=lambda: np.empty(0))
    """NaN for one that is not known."""

    @classmethod
    def of(cls, counters: Mapping[CounterId, float]) -> Counters:
        """The counters of a mapping."""
        return cls(tuple(counters), np.fromiter(counters.values(), dtype=np.float64, count=len(counters)))

    def known(self) -> dict[CounterId, float]:
        """The counters whose values are known."""
        return {
            counter: value for counter, value in zip(self.ids, self.numbers.tolist(), strict=True) if value == value
        }

    def __getitem__(self, counter: CounterId) -> float:
        return float(self.numbers[self.ids.index(counter)])

    def __iter__(self) -> Iterator[CounterId]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Signals:
    """What one exposition says, in the bridge's own units, whatever the gateway's dialect.

    Gauges are in canonical units: scores and availability 0-100, error rate 0-1, latency in seconds, cost in USD.
    """

    gauges: Mapping[str, Mapping[Key, float]] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    circuits: Mapping[Key, CircuitState] = field(default_factory=dict)
    families: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Each family that names providers, and the providers it named in this exposition."""
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Each signal's family and dialect."""
    ties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Signals that share one source inside the gateway, by the name of that source."""
    dialects: tuple[str, ...] = ()
    scrape_succeeded: bool | None = None
    """What the gateway says of its own scrape; ``None`` where it says nothing."""
    samples: int = 0
    rejected_lines: int = 0
    learnt: Learnt = field(default_factory=Learnt)
    """What the next exposition is to be read by, if this one is accepted."""
    failures_told_apart_by: tuple[str, ...] = ()
    """Labels by which the gateway tells failures, rate limits and callers' mistakes apart; none where it does not."""
    hourly: frozenset[str] = frozenset()
    """Signals whose counters start again with each hour of the clock."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What a provider is, where it is no LLM provider (``GPU node``)."""
    notices: tuple[str, ...] = ()
    first_rejected: tuple[str, ...] = ()
    """Where the first unreadable lines stand, and the names they begin with; never a label's value."""

    @property
    def providers(self) -> frozenset[str]:
        """Everyone named in this exposition, in any family."""
        return frozenset().union(*self.families.values())


@dataclass(frozen=True, slots=True)
class Circuit:
    """One circuit breaker as it stands: a model's, or with an empty ``model`` the whole provider's."""

    provider: str
    model: str
    state: CircuitState | None
    source: str
    """``gateway`` when reported, ``bridge`` when derived from traffic."""
    since: float
    """When the present state was first observed."""
    since_known: bool
    """False when the circuit was already so at its first sight: it may have been longer."""
    first_opened: float | None
    """First opening of the present outage (kept through HALF_OPEN), ``None`` while CLOSED."""
    opens: tuple[float, ...]
    """Openings of the last 24 h, oldest first."""
    reason: str
    openings: int = 0
    """All openings since this source first told of it, those that were only counted between two polls included."""

    @property
    def key(self) -> Key:
        """Provider and model."""
        return Key(self.provider, self.model)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed. ``kind`` is ``circuit``, ``status``, ``roster`` or ``gateway``.

    ``before`` and ``after`` are circuit states (``CLOSED``…), statuses (``healthy``…), ``present``/``absent`` or
    ``up``/``down``; empty when there was nothing before, or is nothing any more.
    """

    at: float
    kind: str
    provider: str
    model: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number behind a verdict, for ``explain``."""

    name: str
    value: float | None
    unit: str
    source: str
    """Who said it: a family of the gateway, or the bridge's own calculation over one."""
    note: str = ""
    published: float | None = None
    """What the gateway printed, where it is not believed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One provider, assessed at one poll. ``values`` is keyed by metric name (see ``PROVIDER_METRICS``)."""

    provider: str
    status: Status
    status_since: float
    values: Mapping[str, float | None]
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    """Why its status is what it is, in words."""
    requests: float | None = None
    """What this poll brought, and how many of them failed; None where they are not counted."""
    failed: float | None = None
    last_success: float | None = None
    """The last poll that brought a request that succeeded; None where they are not counted, or there was none."""


class Sight(NamedTuple):
    """When something was seen: a good poll's place in time."""

    at: float
    """As the wall clock dated it, epoch seconds."""
    steady: float
    """See ``Moment``."""
    watched: float
    """Seconds of all time in which somebody looked: those in which the gateway or the bridge was away are left out."""


FLEET = ""
"""Whose the incidents are that many providers have at once."""
BLIP_SECONDS = 300.0
"""Of 476 declared outages of LLM providers that are public (2021 to 2024) 1.3 % were shorter: a blip is."""
APART_SECONDS = 300.0
"""Healthy for so long, an incident is over."""
RECURRING_STARTS = 3
"""So many incidents of a provider that began within 24 h are no coincidence."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A spell in which a provider, or with the name ``FLEET`` much of the fleet, is not healthy."""

    provider: str
    start: Sight
    """The first poll that showed it. With the provider it names the incident: no other one has both."""
    turned: Sight
    """The same of its present or last bad spell: spells less than ``APART_SECONDS`` apart are one incident."""
    last_bad: Sight
    """The last poll that showed it."""
    peak: Status
    cause: str
    """The reason at the first poll that showed the peak."""
    end: Sight | None = None
    """The poll that showed it healthy again; the last bad one where it was lost sight of. None while it lasts."""
    over: bool = False
    lost: bool = False
    """It is over as nothing was known of it any more, not as it had recovered."""
    unseen: Sight | None = None
    """The first of the good polls in a row that know nothing of it, up to the last one."""
    bad_seconds: float = 0.0
    """For how long it was seen bad, in all."""
    healthy_seconds: float = 0.0
    """For how long it has been seen healthy since ``end``."""
    affected: tuple[str, ...] = ()
    """Models that were bad, the fleet's providers: in the order in which they were seen, not endlessly many."""
    reached: int = 0
    """How many of them there were."""
    among: int = 0
    """Of how many: models that are known, providers with traffic."""
    requests: float | None = None
    """What the polls brought while it lasted, and how many of them failed; None where they are not counted."""
    failed: float | None = None
    number: int = 1
    """Its place among those that began within the 24 h up to its own start."""
    fleet: float | None = None
    """The fleet incident it is part of: the steady seconds of its start."""
    pages: bool = True
    """False while the fleet incident that was there before it tells of it."""

    @property
    def phase(self) -> str:
        """``ongoing``, ``recovering`` (healthy for less than ``APART_SECONDS``) or ``over``."""
        if self.over:
            return "over"
        return "ongoing" if self.end is None else "recovering"

    @property
    def kind(self) -> str:
        """``too early to say``, ``blip`` or ``regression``."""
        if self.bad_seconds >= BLIP_SECONDS:
            return "regression"
        return "blip" if self.over else "too early to say"

    @property
    def recurring(self) -> bool:
        """Whether it is at least the third within 24 h."""
        return self.number >= RECURRING_STARTS


PROVIDER_METRICS = (
    "provider_health_score",
    "provider_reported_health_score",
    "provider_status",
    "provider_circuit_breaker_state",
    "provider_open_circuits",
    "provider_circuits",
    "provider_error_rate",
    "provider_rate_limited_ratio",
    "provider_caller_error_ratio",
    "provider_availability",
    "provider_latency_seconds",
    "provider_latency_p95_seconds",
    "provider_request_rate",
    "provider_cost_usd",
)
MODEL_METRICS = (
    "model_status",
    "model_circuit_breaker_state",
    "model_error_rate",
    "model_request_rate",
    "model_latency_p95_seconds",
)
FLEET_METRICS = (
    "fleet_health_score",
    "fleet_open_circuits",
    "fleet_error_rate",
    "fleet_request_rate",
    "fleet_requests",
    "fleet_cost_usd",
)


@dataclass(frozen=True, slots=True, eq=False)
class ModelNumbers:
    """What is known of each model at one poll: columns by metric name (see ``MODEL_METRICS``), a row a key."""

    keys: tuple[Key, ...] = ()
    """Sorted; the very same object for as long as they are the same."""
    columns: Mapping[str, Floats] = field(default_factory=lambda: MappingProxyType({}))
    """NaN for what is not known."""

    @classmethod
    def from_values(cls, values: Mapping[str, Mapping[Key, float]]) -> ModelNumbers:
        """Columns of what is known by metric and key."""
        keys = tuple(sorted(set().union(*values.values())))
        columns = {
            metric: np.array([of_metric.get(key, np.nan) for key in keys], dtype=np.float64)
            for metric, of_metric in values.items()
        }
        return cls(keys, columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelNumbers):
            return NotImplemented
        return (
            self.keys == other.keys
            and self.columns.keys() == other.columns.keys()
            and all(np.array_equal(values, other.columns[it], equal_nan=True) for it, values in self.columns.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def of(self, metric: str) -> dict[Key, float]:
        """What is known of one metric."""
        column = self.columns.get(metric)
        if column is None:
            return {}
        return {key: value for key, value in zip(self.keys, column.tolist(), strict=True) if value == value}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known after one good poll. Every worker answers from the same one."""

    at: float
    verdicts: tuple[Verdict, ...]
    circuits: tuple[Circuit, ...]
    models: ModelNumbers
    fleet: Mapping[str, float | None]
    dialects: tuple[str, ...] = ()
    samples: int = 0
    rejected_lines: int = 0
    notices: tuple[str, ...] = ()
    incidents: tuple[Incident, ...] = ()
    """Those that are not over, the fleet's first."""

    @property
    def model_error_rates(self) -> dict[Key, float]:
        """Failures among requests of each model that is known to have had any, 0-1."""
        return self.models.of("model_error_rate")


@dataclass(frozen=True, slots=True)
class Poll:
    """How one poll went. ``outcome`` is ``ok`` or a reason code; ``message`` says the reason to a person."""

    at: float
    interval: float
    outcome: str
    message: str
    seconds: float
    steady: float = 0.0
    """See ``Moment``."""
    epoch: int = 0
    """Counts how often the wall clock was set: polls of one epoch are dated by one clock."""
    reading: Reading | None = None
    """The clocks when it began."""

    @property
    def good(self) -> bool:
        """True when the exposition was accepted."""
        return self.outcome == "ok"
