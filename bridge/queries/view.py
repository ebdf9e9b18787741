"""What is known right now: the newest snapshot, or that it is too old to count as now, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.clock import passed
from bridge.health.rounding import rounded
from bridge.history.store import Latest
from bridge.model import Circuit, CircuitState, Poll, Reading, Snapshot, Status, Verdict


@dataclass(frozen=True, slots=True)
class View:
    """The state of things at ``now`` (epoch seconds)."""

    now: float
    latest: Latest | None
    stale_after_seconds: float
    reading: Reading | None = None
    """Both clocks at ``now``; without it, ages go by the wall clock."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The last good poll's, however old; None when there never was one."""
        return self.latest.snapshot if self.latest else None

    @property
    def poll(self) -> Poll | None:
        """The last poll, good or failed."""
        return self.latest.poll if self.latest else None

    @property
    def age_seconds(self) -> float | None:
        """Age of the last good poll, rounded to what is shown; None when there never was one."""
        return rounded("gateway_data_age_seconds", self._age)

    @property
    def _age(self) -> float | None:
        """The same, to the millisecond."""
        latest = self.latest
        if latest is None or latest.snapshot is None:
            return None
        return round(max(0.0, self._passed(latest.good_reading, latest.snapshot.at)), 3)

    @property
    def stale(self) -> bool:
        """True when there is no good poll that still counts as now."""
        age = self._age
        return age is None or age > self.stale_after_seconds or self._clock_set_back

    @property
    def _clock_set_back(self) -> bool:
        """True when the last good poll is in the future: until the next one nothing says how old it is."""
        latest = self.latest
        if latest is None or latest.snapshot is None:
            return False
        return self._passed(latest.good_reading, latest.snapshot.at) < -latest.poll.interval

    def _passed(self, since: Reading | None, at: float) -> float:
        """Seconds since a poll, however the wall clock was set in between; ``at``: its date, for want of a reading."""
        if since is None:
            return self.now - at
        return passed(since, self.reading or Reading(self.now, 0.0, ""))

    @property
    def at(self) -> float:
        """The time that current values carry: the snapshot's, or now when nothing is known."""
        return self.now if self.stale or self.snapshot is None else self.snapshot.at

    @property
    def gateway_up(self) -> float | None:
        """1 when the last poll succeeded, 0 when it failed; None when nobody has polled lately."""
        if self.poll is None:
            return None
        if abs(self._passed(self.poll.reading, self.poll.at)) > self.stale_after_seconds + self.poll.interval:
            return None
        return 1.0 if self.poll.good else 0.0

    @property
    def trouble(self) -> str:
        """One line on why values or history are missing or about to be: since when and why. Empty when all is well."""
        latest, poll = self.latest, self.poll
        if latest is None or poll is None:
            return "no poll yet: the bridge has just started"
        if latest.failing_since is not None:
            since = f"{clock(latest.failing_since)} ({duration(self.now - latest.failing_since)})"
            nothing = "; nothing was ever read" if self.snapshot is None else ""
            return f"gateway unreachable since {since}: {poll.message} [{poll.outcome}]{nothing}"
        if self._clock_set_back:
            return f"the clock was set back: the last poll says {clock(poll.at)}, which is yet to come"
        if self.stale:
            age = duration(self._passed(poll.reading, poll.at))
            return f"no poll since {clock(poll.at)} ({age}): the poller is not running"
        if latest.unwritten:
            return f"the history is not being written, ranges end early: {latest.unwritten}"
        return ""

    def status(self, verdict: Verdict) -> Status:
        """A provider's status now: unknown once the data is stale."""
        return Status.UNKNOWN if self.stale else verdict.status

    def value(self, verdict: Verdict, metric: str) -> float | None:
        """One of a provider's values now; None once the data is stale (status: unknown)."""
        if self.stale:
            return float(Status.UNKNOWN) if metric == "provider_status" else None
        return verdict.values[metric]

    def verdicts(self) -> list[Verdict]:
        """All providers, worst first: by status, then by score, then by name."""
        order = {Status.DOWN: 0, Status.DEGRADED: 1, Status.UNKNOWN: 2, Status.HEALTHY: 3}

        def badness(verdict: Verdict) -> tuple[int, float, str]:
            score = verdict.values["provider_health_score"]
            return order[verdict.status], 101.0 if score is None else score, verdict.provider

        return sorted(self.snapshot.verdicts if self.snapshot else (), key=badness)

    def circuits(self) -> list[Circuit]:
        """All circuits, worst first: OPEN, HALF_OPEN, not known, CLOSED; the longest so first."""

        def badness(circuit: Circuit) -> tuple[float, float, str, str]:
            severity = 0.5 if circuit.state is None else float(circuit.state.severity)
            since = circuit.since if circuit.state is not CircuitState.CLOSED else 0.0
            return -severity, since, circuit.provider, circuit.model

        return sorted(self.snapshot.circuits if self.snapshot else (), key=badness)


def clock(at: float) -> str:
    """A time as people read it in a log: ``2026-11-21 03:12:05 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: float) -> str:
    """A length of time in its two largest units, rounded: ``45s``, ``3m05s``, ``2h07m``, ``3d04h``."""
    whole, minutes, hours = (max(0, math.floor(seconds / size + 0.5)) for size in (1, 60, 3600))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"
