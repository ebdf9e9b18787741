"""Incidents: the spells in which providers are not healthy, followed from one good poll to the next. Pure.

An incident lasts from the first poll that shows its provider bad to the poll that shows it healthy again, and is over
once that has lasted for ``APART_SECONDS``. Unknown counts as neither, and time in which the gateway or the bridge was
away counts for nothing: all lengths but "within 24 h" are of watched seconds, in which a hole between two good polls
is no longer than one interval.

Where many providers turn bad at once that is an incident of the fleet, and theirs are parts of it. It is followed as
one of a provider is: it is bad while at least ``FLEET_PROVIDERS`` of its parts are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.health.observed import BAD, UNSEEN, Observed
from bridge.model import APART_SECONDS, FLEET, Incident, Moment, Sight, Status
from bridge.policy import GAP_INTERVALS

LOST_SECONDS = 1800.0
"""Unknown or absent in good polls that span this, a provider is lost sight of."""
RESUMED_SECONDS = 3600.0
"""Bad again within this after its last bad poll, the incident that was lost sight of goes on."""
RECURRING_SECONDS = 86_400.0
FLEET_PROVIDERS = 4
FLEET_SHARE = 0.5
FLEET_SECONDS = 120.0
"""So many providers, and this share of those with traffic, that turn bad within this time are one fleet incident."""
MOST_NAMED = 100
"""Models or providers that an incident names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the next poll goes on from, and what this one changed. Empty before the first good poll."""

    sight: Sight | None = None
    """When the last good poll was."""
    interval: float = 0.0
    statuses: Mapping[str, Status] = field(default_factory=dict)
    """Of each provider that was there, and of the fleet."""
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    """The newest of each provider, as long as it can go on."""
    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """When (steady) incidents began, within the last 24 h."""
    told: tuple[Incident, ...] = field(default=(), compare=False)
    """Those that this poll changed. As all that follows it is of this poll alone, and nothing goes on from it."""
    passed: Mapping[str, Status] = field(default_factory=dict, compare=False)
    """The providers of the good poll before, and what they were until this one."""
    known_seconds: float = field(default=0.0, compare=False)
    """For how long they were that."""
    unknown_seconds: float = field(default=0.0, compare=False)
    """For how long nobody looked after that."""

    @property
    def lasting(self) -> tuple[Incident, ...]:
        """The incidents that are not over, by provider: the fleet's first."""
        return tuple(one for _, one in sorted(self.incidents.items()) if not one.over)

    def dated_anew(self, seconds: float) -> Watch:
        """This watch after the wall clock was set by so many seconds: what it dated is dated by the new one."""
        incidents = {provider: dated_anew(one, seconds) for provider, one in self.incidents.items()}
        return replace(self, incidents=incidents, sight=_set(self.sight, seconds))


def _set(sight: Sight | None, seconds: float) -> Sight | None:
    return None if sight is None else sight._replace(at=sight.at + seconds)


def dated_anew(it: Incident, seconds: float) -> Incident:
    """An incident whose dates are later by so many seconds."""
    start, turned, last_bad = (one._replace(at=one.at + seconds) for one in (it.start, it.turned, it.last_bad))
    return replace(
        it, start=start, turned=turned, last_bad=last_bad, end=_set(it.end, seconds), unseen=_set(it.unseen, seconds)
    )


def update(watch: Watch, observed: Mapping[str, Observed], moment: Moment, interval: float) -> Watch:
    """The watch after a good poll that says this of the providers that are there; ``interval`` is in seconds."""
    known, unknown = _since(watch, moment, interval)
    now = Sight(*moment, (watch.sight.watched if watch.sight else 0.0) + known)
    followed = _Followed(watch, now, known)
    bad = {provider for provider, one in observed.items() if one.bad}
    for provider in sorted((watch.incidents.keys() | bad) - {FLEET}):
        followed.step(provider, observed.get(provider, UNSEEN))
    fleet = followed.step_fleet(observed)
    return Watch(
        sight=now,
        interval=interval,
        statuses={provider: one.status for provider, one in observed.items()} | {FLEET: fleet},
        incidents={provider: one for provider, one in followed.incidents.items() if not _done(one, now)},
        starts=followed.starts,
        told=followed.told(),
        passed={provider: status for provider, status in watch.statuses.items() if provider != FLEET},
        known_seconds=known,
        unknown_seconds=unknown,
    )


def _since(watch: Watch, moment: Moment, interval: float) -> tuple[float, float]:
    """For how long the good poll before told how things were, and for how long nothing did after that."""
    if watch.sight is None:
        return 0.0, 0.0
    between, usual = moment.steady - watch.sight.steady, max(interval, watch.interval)
    known = between if between <= GAP_INTERVALS * usual else usual
    return known, between - known


def _done(it: Incident, now: Sight) -> bool:
    """Whether nothing can make it go on."""
    return it.over and not _goes_on(it, now)


def _goes_on(it: Incident, now: Sight) -> bool:
    """Whether it is the same incident if its provider is bad now."""
    if it.over and now.watched - it.last_bad.watched > RESUMED_SECONDS:
        return False
    return it.healthy_seconds < APART_SECONDS


class _Followed:
    """The incidents on their way through one poll."""

    def __init__(self, watch: Watch, now: Sight, seconds: float) -> None:
        self._before = watch
        self._now = now
        self._seconds = seconds
        self._closed: list[Incident] = []
        self.incidents = dict(watch.incidents)
        recent = {
            provider: tuple(start for start in its if now.steady - start < RECURRING_SECONDS)
            for provider, its in watch.starts.items()
        }
        self.starts = {provider: its for provider, its in recent.items() if its}

    def told(self) -> tuple[Incident, ...]:
        """The incidents that the poll changed, those included that it closed for good."""
        before = self._before.incidents
        changed = [one for provider, one in sorted(self.incidents.items()) if before.get(provider) != one]
        return (*self._closed, *changed)

    def step(self, provider: str, seen: Observed) -> None:
        """Go on with one provider, or the fleet: its incident goes on, begins, ends, or there is none."""
        it = self.incidents.get(provider)
        if it is not None:
            it = self._aged(it)
        if seen.bad:
            if it is not None and not _goes_on(it, self._now):
                if not it.over:
                    self._closed.append(replace(it, over=True))
                it = None
            it = self._begun(provider, seen) if it is None else self._bad_again(it)
            it = self._bad(it, seen)
        elif it is not None:
            it = self._healthy(it) if seen.status is Status.HEALTHY else self._unseen(it, seen)
        if it is not None:
            self.incidents[provider] = it

    def _aged(self, it: Incident) -> Incident:
        """With the time since the poll before, which was as that poll was."""
        before = self._before.statuses.get(it.provider, Status.UNKNOWN)
        if it.end is None:
            return replace(it, bad_seconds=it.bad_seconds + self._seconds) if before in BAD else it
        healthy = before is Status.HEALTHY
        return replace(it, healthy_seconds=it.healthy_seconds + self._seconds) if healthy else it

    def _begun(self, provider: str, seen: Observed) -> Incident:
        self.starts[provider] = (*self.starts.get(provider, ()), self._now.steady)
        now, number = self._now, len(self.starts[provider])
        return Incident(provider, now, now, now, seen.status, seen.reason, number=number)

    def _bad_again(self, it: Incident) -> Incident:
        """One that goes on; its provider may have been healthy in between, or out of sight."""
        if it.end is None:
            return it
        turned = it.turned if it.lost and not it.healthy_seconds else self._now
        return replace(it, end=None, over=False, lost=False, healthy_seconds=0.0, turned=turned)

    def _bad(self, it: Incident, seen: Observed) -> Incident:
        worse = seen.status > it.peak
        named = tuple(dict.fromkeys((*it.affected, *seen.affected)))
        return replace(
            _with_requests(it, seen),
            last_bad=self._now,
            unseen=None,
            peak=seen.status if worse else it.peak,
            cause=seen.reason if worse else it.cause,
            affected=named[:MOST_NAMED],
            reached=max(it.reached, len(named)),
            among=max(it.among, seen.among, len(named)),
        )

    def _healthy(self, it: Incident) -> Incident:
        if it.end is None:
            return replace(it, end=self._now, unseen=None)
        return replace(it, over=it.over or it.healthy_seconds >= APART_SECONDS, unseen=None)

    def _unseen(self, it: Incident, seen: Observed) -> Incident:
        if it.over:
            return it
        if it.end is None:
            it = _with_requests(it, seen)
        if it.unseen is None:
            return replace(it, unseen=self._now)
        if self._now.watched - it.unseen.watched < LOST_SECONDS:
            return it
        return replace(it, over=True, lost=it.end is None, end=it.end or it.last_bad)

    # The fleet

    def step_fleet(self, observed: Mapping[str, Observed]) -> Status:
        """Go on with the fleet, once all providers are; how it is."""
        busy = {provider for provider, one in observed.items() if one.traffic}
        before = self.incidents.get(FLEET)
        joining = self._turned(FLEET_SECONDS if before is None else 0.0)
        if before is None and not _enough(joining, busy):
            return Status.HEALTHY
        start = before.start if before else min((self.incidents[one].turned for one in joining), key=_watched)
        for provider in joining:
            its = self.incidents[provider]
            self.incidents[provider] = replace(its, fleet=start.steady, pages=its.turned != self._now)
        parts = {provider: one for provider, one in self.incidents.items() if one.fleet == start.steady}
        bad = sorted(provider for provider, one in parts.items() if one.phase == "ongoing")
        seen = _of_fleet(bad, busy, observed) if len(bad) >= FLEET_PROVIDERS else Observed(Status.HEALTHY)
        self.step(FLEET, seen)
        self._finish_fleet(start, parts, began=before is None)
        return seen.status

    def _turned(self, within_seconds: float) -> list[str]:
        """The providers that turned bad so recently, and still are."""
        now = self._now.watched
        return [
            provider
            for provider, one in self.incidents.items()
            if provider != FLEET and one.phase == "ongoing" and now - one.turned.watched <= within_seconds
        ]

    def _finish_fleet(self, start: Sight, parts: Mapping[str, Incident], *, began: bool) -> None:
        """What the fleet's incident has beside what one of a provider has, and what its end means for its parts."""
        fleet = self.incidents[FLEET]
        cause = f"{fleet.reached} of {fleet.among} at once: look at the gateway or the network first"
        fleet = replace(fleet, cause=cause)
        if began:  # its parts are known since before it was
            requests, failed = (_sum(getattr(one, name) for one in parts.values()) for name in ("requests", "failed"))
            bad_seconds = self._now.watched - start.watched
            fleet = replace(fleet, start=start, turned=start, bad_seconds=bad_seconds, requests=requests, failed=failed)
        self.incidents[FLEET] = fleet
        if fleet.over:
            self.incidents |= {provider: replace(one, pages=True) for provider, one in parts.items()}


def _enough(turned: Collection[str], busy: set[str]) -> bool:
    """Whether so many providers at once are the fleet, of which these have traffic."""
    return len(turned) >= FLEET_PROVIDERS and len(turned) >= FLEET_SHARE * len(busy.union(turned))


def _watched(sight: Sight) -> float:
    return sight.watched


def _of_fleet(bad: Sequence[str], busy: set[str], observed: Mapping[str, Observed]) -> Observed:
    """What a poll says of a fleet, of which these providers are bad."""
    its = [observed.get(provider, UNSEEN) for provider in bad]
    status = max((one.status for one in its if one.bad), default=Status.DEGRADED)
    requests, failed = _sum(one.requests for one in its), _sum(one.failed for one in its)
    return Observed(status, "", requests, failed, tuple(bad), len(busy.union(bad)))


def _with_requests(it: Incident, seen: Observed) -> Incident:
    return replace(it, requests=_sum((it.requests, seen.requests)), failed=_sum((it.failed, seen.failed)))


def _sum(numbers: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
