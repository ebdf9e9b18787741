"""What one poll leaves for the next: windows, circuits, the roster, and what is not believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bridge.health.breaker import Derivation
from bridge.health.windows import Window
from bridge.model import Circuit, CircuitState, CounterId, Key, Named, Status

RATE_WINDOW_SECONDS = 300.0
AVAILABILITY_WINDOW_SECONDS = 3_600.0
STEPPING_SIGNALS = frozenset({"requests", "successes", "failures", "rejected", "transitions", "outages"})
"""Counters whose steps from poll to poll matter; histograms are only looked at over windows."""
TRAFFIC_SIGNALS = frozenset({"requests", "failures"})


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything assessment carries over from the good polls before. Empty before the first one."""

    at: float | None = None
    """When the last good poll was."""
    counters: Mapping[CounterId, float] = field(default_factory=dict)
    """The counters of the last good poll."""
    last_known: Mapping[CounterId, float] = field(default_factory=dict)
    """The last value of each counter that steps, for as long as it is in the window: it may miss a poll."""
    recent: Window = field(default_factory=lambda: Window(RATE_WINDOW_SECONDS))
    """All counters, over the window of rates."""
    hour: Window = field(default_factory=lambda: Window(AVAILABILITY_WINDOW_SECONDS))
    """Requests and failures over an hour."""
    circuits: Mapping[Key, Circuit] = field(default_factory=dict)
    reported: Mapping[Key, CircuitState] = field(default_factory=dict)
    """The state each reported circuit was last reported in."""
    derivations: Mapping[Key, Derivation] = field(default_factory=dict)
    unreported: Mapping[Key, int] = field(default_factory=dict)
    """Reported circuits that are missing, and for how many good polls in a row."""
    absences: Mapping[str, int] = field(default_factory=dict)
    """The roster: each provider, and for how many good polls in a row it has been absent."""
    families: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The families of the last good poll and the providers in them."""
    lost_families: Mapping[str, float] = field(default_factory=dict)
    """Families that every provider had and that have no line any more, and since when."""
    disbelieved: Mapping[str, str] = field(default_factory=dict)
    """Ties whose signals are not believed, and why."""
    names: tuple[Named, ...] = ()
    """The names in use for what the gateway tells apart by labels that are never shown."""
    statuses: Mapping[str, tuple[Status, float]] = field(default_factory=dict)
    """Each provider's status and since when."""

    @property
    def forgotten(self) -> int:
        """How many counters that are gone the last poll pushed out of a window, as it may not hold more."""
        return max(self.recent.forgotten, self.hour.forgotten)

    def with_counters(self, at: float, counters: Mapping[CounterId, float]) -> Memory:
        """This memory with one more poll in its windows (epoch seconds)."""
        traffic = {counter: value for counter, value in counters.items() if counter.signal in TRAFFIC_SIGNALS}
        return replace(
            self,
            at=at,
            counters=counters,
            last_known={**self._still_known(at), **{c: v for c, v in counters.items() if c.signal in STEPPING_SIGNALS}},
            recent=self.recent.append(at, counters),
            hour=self.hour.append(at, traffic),
        )

    def _still_known(self, at: float) -> Mapping[CounterId, float]:
        """Last values that are not too old to count from: none, when there was no good poll for a whole window."""
        if self.at is None or at - self.at > self.recent.seconds:
            return {}
        alive = set(self.recent.ids)
        return {counter: value for counter, value in self.last_known.items() if counter in alive}

    def with_windows_of(self, other: Memory) -> Memory:
        """This memory with the counters and windows of another."""
        return replace(self, counters=other.counters, last_known=other.last_known, recent=other.recent, hour=other.hour)
