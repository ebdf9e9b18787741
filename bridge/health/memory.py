"""What one poll leaves for the next: counters, circuits, the roster, and what is not believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bridge.health.breaker import Derivation
from bridge.health.incidents import Watch
from bridge.health.recent import RecentTraffic
from bridge.health.windows import Window
from bridge.model import Circuit, CircuitState, Counters, Key, Learnt, Moment, Status


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Everything assessment carries over from the good polls before. Empty before the first one."""

    moment: Moment | None = None
    """When the last good poll was."""
    counters: Counters = field(default_factory=Counters)
    """The counters of the last good poll."""
    window: Window = field(default_factory=lambda: Window(300.0))
    """All counters, over the window of rates."""
    recent: RecentTraffic = field(default_factory=RecentTraffic)
    """What the last polls added, over the window of breakers."""
    falls: tuple[float, ...] = ()
    """When (steady) counters fell in polls of the window of rates."""
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
    """Families that every provider had and that have no line any more, and since when (steady)."""
    disbelieved: Mapping[str, str] = field(default_factory=dict)
    """Ties whose signals are not believed, and why."""
    learnt: Learnt = field(default_factory=Learnt)
    """What the next exposition is to be read by."""
    statuses: Mapping[str, tuple[Status, float]] = field(default_factory=dict)
    """Each provider's status and since when."""
    last_success: Mapping[str, float] = field(default_factory=dict)
    """The last poll that brought each provider a request that succeeded."""
    watch: Watch = field(default_factory=Watch)
    """The incidents."""
    clock_set: tuple[float, str] | None = None
    """When (steady) the wall clock was last set, and what to say of it."""

    def dated_anew(self, steady: float, seconds: float, told: str) -> Memory:
        """This memory after the wall clock was set by so many seconds: what it dated is dated by the new one."""
        circuits = {key: _dated_anew(circuit, seconds) for key, circuit in self.circuits.items()}
        statuses = {provider: (status, since + seconds) for provider, (status, since) in self.statuses.items()}
        last_success = {provider: at + seconds for provider, at in self.last_success.items()}
        watch = self.watch.dated_anew(seconds)
        return replace(
            self,
            circuits=circuits,
            statuses=statuses,
            last_success=last_success,
            watch=watch,
            clock_set=(steady, told),
        )


def _dated_anew(circuit: Circuit, seconds: float) -> Circuit:
    return replace(
        circuit,
        since=circuit.since + seconds,
        first_opened=None if circuit.first_opened is None else circuit.first_opened + seconds,
        opens=tuple(opened + seconds for opened in circuit.opens),
    )
