"""``GET /metrics``: what the bridge knows of the gateway, and how it stands itself, as Prometheus scrapes it."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from bridge.history.size import HistorySize
from bridge.model import FLEET, Key, Snapshot
from bridge.queries.catalog import METRICS, Metric
from bridge.queries.series import current
from bridge.queries.targets import Target
from bridge.queries.view import View

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SOURCES = {"gateway": "gateway", "bridge": "derived"}
"""A circuit's source as the label ``source`` has it."""
_LEVELS = (
    ("provider", "a provider's own circuit", ("provider",)),
    ("model", "a model's circuit", ("provider", "model")),
)
MAX_CAUSE_CHARACTERS = 200
INCIDENT_NUMBERS = {
    "bad_seconds": ("bad_seconds", "For how long a provider was seen bad in its incident, in all"),
    "requests": ("requests", "Requests while an incident lasted, where they are counted"),
    "failed": ("failed_requests", "How many of the requests while an incident lasted failed"),
    "number": ("number", "An incident's place among those of its provider that began within 24 h"),
}
"""What is known of an incident in numbers: the name of its metric, and what that means."""
MAX_BYTES = 16 * 2**20
"""Of the metrics of a snapshot."""
ALWAYS = ("gateway_up", "gateway_data_age_seconds", "gateway_poll_seconds")
"""Metrics that stay while the data is stale, and that change without a new snapshot."""


class Exposition:
    """The catalog's metrics as they stand now. A snapshot's are written once, however many scrape it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: tuple[Snapshot, bytes] | None = None

    def text(self, view: View) -> bytes:
        """The exposition of a view: what is not known is absent, and almost everything is while the data is stale."""
        live = _text(_families(view, (METRICS[name] for name in ALWAYS)))
        snapshot = view.snapshot
        if snapshot is None or view.stale:
            return live
        with self._lock:
            written = self._written
            if written is None or written[0] is not snapshot:
                metrics = (metric for name, metric in METRICS.items() if name not in ALWAYS)
                families = [*_families(view, metrics), *_circuits(snapshot), *_incidents(snapshot)]
                written = self._written = snapshot, _fitting(families)
        return written[1] + live


def state(view: View, size: HistorySize | None) -> bytes:
    """How the bridge itself stands, the same in every worker. ``size`` is None while the history cannot be read."""
    families: list[Family] = [
        GaugeMetricFamily(
            "bridge_stale_after_seconds",
            "Age from which on the last good poll no longer counts as now (STALE_AFTER)",
            view.stale_after_seconds,
        )
    ]
    if view.latest is not None:
        families.append(
            GaugeMetricFamily(
                "bridge_history_writable",
                "1 while polls are written down, 0 while they wait in memory (a full disk)",
                float(not view.latest.unwritten),
            )
        )
    snapshot = view.snapshot
    if snapshot is not None and not view.stale:
        families += [
            GaugeMetricFamily("bridge_exposition_samples", "Samples in the last good poll", snapshot.samples),
            GaugeMetricFamily(
                "bridge_exposition_rejected_lines",
                "Lines of the last good poll that could not be read",
                snapshot.rejected_lines,
            ),
        ]
    if size is not None:
        families += [
            GaugeMetricFamily("bridge_history_rows", "Polls that the history holds, a row each", size.polls),
            CounterMetricFamily("bridge_history_events", "Events that the history was ever given", size.events),
            GaugeMetricFamily("bridge_history_bytes", "What the history takes on disk", size.bytes),
        ]
    return _text(families)


def _families(view: View, metrics: Iterable[Metric]) -> Iterable[Family]:
    """Every metric of which something is known."""
    for metric in metrics:
        family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for series in current(view, metric, Target(metric.name, metric.name, (), None), ()):
            value = float(series.values[-1])
            if value == value:  # NaN is "not known"
                family.add_metric([series.labels[label] for label in metric.labels], value)
        if family.samples:
            yield family


def _circuits(snapshot: Snapshot) -> Iterable[Family]:
    """Whether the gateway reports each circuit, and how often it opened as the gateway and as the bridge tell it.

    An opening is one out of CLOSED: opening again after a trial belongs to the same outage. Whoever tells of none yet
    is at 0, a provider without a circuit of its own too, so that Prometheus sees the first one.
    """
    reported = {
        level: GaugeMetricFamily(f"{level}_circuit_reported", f"1 where the gateway reports {whose}", labels=labels)
        for level, whose, labels in _LEVELS
    }
    opens = {
        level: CounterMetricFamily(f"{level}_circuit_opens", f"Openings of {whose}", labels=(*labels, "source"))
        for level, whose, labels in _LEVELS
    }
    own = {Key(verdict.provider): (0, "") for verdict in snapshot.verdicts}
    told = own | {circuit.key: (circuit.openings, circuit.source) for circuit in snapshot.circuits}
    for key, (openings, source) in told.items():
        level, labels = ("model", list(key)) if key.model else ("provider", [key.provider])
        if source:
            reported[level].add_metric(labels, float(source == "gateway"))
        for which, label in SOURCES.items():
            opens[level].add_metric([*labels, label], openings if source == which else 0)
    return [family for family in (*reported.values(), *opens.values()) if family.samples]


def _incidents(snapshot: Snapshot) -> Iterable[Family]:
    """The incidents that are not over, for alerts to go by.

    The cause has a series of its own: it changes when an incident gets worse, and no alert's name should with it.
    """
    which = ("status", "kind", "phase")
    whole = GaugeMetricFamily("fleet_incident", "1 for the fleet's incident that is not over", labels=which)
    one = GaugeMetricFamily(
        "provider_incident",
        "1 for a provider's incident that is not over; status is its worst, pages=no: the fleet's tells of it",
        labels=("provider", *which, "pages"),
    )
    cause = GaugeMetricFamily(
        "provider_incident_cause", "1 for the reason at the peak of an incident", labels=("provider", "cause")
    )
    numbers = {
        field: GaugeMetricFamily(f"provider_incident_{name}", meaning, labels=("provider",))
        for field, (name, meaning) in INCIDENT_NUMBERS.items()
    }
    reached = GaugeMetricFamily("fleet_incident_providers", "How many providers are part of it", labels=())
    for it in snapshot.incidents:
        told = [it.peak.word, it.kind, it.phase]
        if it.provider == FLEET:
            whole.add_metric(told, 1.0)
            reached.add_metric([], it.reached)
            continue
        one.add_metric([it.provider, *told, "yes" if it.pages else "no"], 1.0)
        cause.add_metric([it.provider, it.cause[:MAX_CAUSE_CHARACTERS]], 1.0)
        for field, family in numbers.items():
            if (value := getattr(it, field)) is not None:
                family.add_metric([it.provider], value)
    return [family for family in (whole, reached, one, cause, *numbers.values()) if family.samples]


def _fitting(families: Iterable[Family]) -> bytes:
    """As many whole families as fit, in their order, and if some do not, how many: half of one would be a wrong sum."""
    parts: list[bytes] = []
    room, left_out = MAX_BYTES, 0
    for family in families:
        text = _text([family])
        if len(text) > room:
            left_out += 1
            continue
        room -= len(text)
        parts.append(text)
    if left_out:
        meaning = "Metrics that are not here, as all of them would be too large"
        parts.append(_text([GaugeMetricFamily("bridge_exposition_left_out", meaning, left_out)]))
    return b"".join(parts)


def _text(families: Iterable[Family]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_These(families))
    return generate_latest(registry)


class _These(Collector):
    """Families that are there already, for prometheus_client to write."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """All of them."""
        return self._families
