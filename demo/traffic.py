"""Simulated traffic: an AI gateway that sends requests to providers, keeps counters and breakers, and plays a script.

The same seconds always bring the same requests, so what a gateway counted can be checked request by request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

BOUNDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
"""Upper bounds of the latency buckets, in seconds, without the last (infinity)."""
SLOW_SHARE, SLOW = 0.1, 4.0
"""One request in ten takes at least so many times as long as usual, so that the p95 is one of those."""
REFUSED_SECONDS = 0.04
"""A failure comes back at once."""
LONGEST_STEP_SECONDS = 900.0
"""What is caught up with at once; a machine that slept for longer served nobody meanwhile."""

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model at a provider, and its usual traffic."""

    provider: str
    model: str
    per_second: float
    latency_seconds: float
    failing: float = 0.0
    """Share of requests that fail, 0-1."""
    usd: float = 0.0
    """What a successful request costs."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of the script, in seconds of it, in which something is not as usual."""

    begin: float
    end: float
    provider: str = ""
    """Empty: all of them."""
    model: str = ""
    """Empty: all of the provider's."""
    failing: float = 0.0
    slower: float = 1.0
    silent: bool = False
    """No requests are sent."""

    def covers(self, second: float, deployment: Deployment) -> bool:
        """True while it concerns this deployment."""
        return (
            self.begin <= second < self.end
            and self.provider in ("", deployment.provider)
            and self.model in ("", deployment.model)
        )


@dataclass(frozen=True, slots=True)
class Script:
    """What happens: spells, restarts of the gateway (in seconds of the script), and after how long it begins again."""

    spells: Sequence[Spell] = ()
    restarts: Sequence[float] = ()
    loop_seconds: float = float("inf")


class Call(NamedTuple):
    """One request that reached its provider."""

    at: float
    provider: str
    model: str
    failed: bool
    seconds: float


class Key(NamedTuple):
    """A provider and, where it is one model's, the model."""

    provider: str
    model: str = ""


@dataclass(slots=True)
class Counts:
    """What a gateway counts of one deployment since it was started."""

    successes: int = 0
    failures: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    observed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """Cumulative, as an exposition has them; the last is infinity."""
    last_failed: bool = False

    @property
    def requests(self) -> int:
        """Requests that reached the provider."""
        return self.successes + self.failures

    def count(self, call: Call, usd: float, *, observe: bool) -> None:
        """Add one request; its latency too, if the gateway observes those of its kind."""
        self.successes += not call.failed
        self.failures += call.failed
        self.last_failed = call.failed
        self.usd += 0.0 if call.failed else usd
        if observe:
            self.observed += 1
            self.seconds += call.seconds
            for place, bound in enumerate((*BOUNDS, float("inf"))):
                self.buckets[place] += call.seconds <= bound


@dataclass(slots=True)
class Breaker:
    """A circuit breaker as gateways have them: five failures in a row open it, a few successes close it."""

    timeout_seconds: float
    successes_to_close: int = 2
    state: str = CLOSED
    since: float = 0.0
    in_a_row: int = 0
    rejected: int = 0
    moves: dict[tuple[str, str], int] = field(default_factory=dict)
    """How often it went from one state to another."""

    def lets_through(self, at: float) -> bool:
        """False while it is open, which counts as a rejection; when the time-out is over, the request is a trial."""
        if self.state == OPEN and at - self.since >= self.timeout_seconds:
            self._enter(HALF_OPEN, at)
        self.rejected += self.state == OPEN
        return self.state != OPEN

    def saw(self, at: float, *, failed: bool) -> None:
        """Take note of a request that went through."""
        if self.state == HALF_OPEN:
            self.in_a_row = 0 if failed else self.in_a_row + 1
            if failed or self.in_a_row == self.successes_to_close:
                self._enter(OPEN if failed else CLOSED, at)
            return
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if self.in_a_row == 5:
            self._enter(OPEN, at)

    def _enter(self, state: str, at: float) -> None:
        self.moves[self.state, state] = self.moves.get((self.state, state), 0) + 1
        self.state, self.since, self.in_a_row = state, at, 0


class Router:
    """The gateway's inside. Time is its own: seconds since ``begins``, moved by ``advance``. Not thread-safe."""

    def __init__(
        self,
        fleet: Sequence[Deployment],
        script: Script | None = None,
        *,
        begins: float = 0.0,
        breaker_of: str = "provider",
        breaker_timeout_seconds: float = 60.0,
        successes_to_close: int = 2,
        observes_failures: bool = True,
        remembers: bool = False,
    ) -> None:
        """``breaker_of`` is ``provider``, ``model`` or empty: what has a breaker.

        ``remembers`` keeps every call in ``calls``, so that they can be checked.
        """
        self.fleet = fleet
        self.script = script or Script()
        self.at = self.started = begins
        self.counts: dict[Key, Counts] = {}
        """Since the last start, in the order in which they came up."""
        self.breakers: dict[Key, Breaker] = {}
        self.calls: list[Call] = []
        self._script_began = 0.0
        self._breaker_of = breaker_of
        self._breaker_timeout, self._successes_to_close = breaker_timeout_seconds, successes_to_close
        self._observes_failures = observes_failures
        self._remembers = remembers

    def play(self, script: Script) -> None:
        """Play this script from now on."""
        self.script, self._script_began = script, self.at

    def advance(self, to: float) -> None:
        """Let time pass until ``to``, with every request and restart that falls into it."""
        begin = max(self.at, to - LONGEST_STEP_SECONDS)
        restarts = [at for one in self.script.restarts if begin < (at := one + self._script_began) <= to]
        for start, end in pairwise([begin, *sorted(restarts), to]):
            if start in restarts:
                self._restart(start)
            self._serve(start, end)
        self.at = max(self.at, to)

    def of_providers(self) -> Mapping[str, Counts]:
        """The counts by provider: the sums of its models'."""
        sums: dict[str, Counts] = {}
        for key, counts in self.counts.items():
            its = sums.setdefault(key.provider, Counts())
            its.successes += counts.successes
            its.failures += counts.failures
            its.usd += counts.usd
            its.seconds += counts.seconds
            its.observed += counts.observed
            its.buckets = [one + more for one, more in zip(its.buckets, counts.buckets, strict=True)]
        return sums

    def state(self, key: Key) -> str:
        """A breaker's state: closed, where there is none yet."""
        return self.breakers[key].state if key in self.breakers else CLOSED

    def breaker_key(self, provider: str, model: str) -> Key:
        """Whose breaker guards this deployment."""
        return Key(provider, model if self._breaker_of == "model" else "")

    def _restart(self, at: float) -> None:
        self.started = at
        self.counts.clear()
        self.breakers.clear()

    def _serve(self, begin: float, end: float) -> None:
        due = []
        for deployment in self.fleet:
            rate, phase = deployment.per_second, _share(deployment, 0, "phase")
            first, after = _ceil(begin * rate - phase), _ceil(end * rate - phase)
            due += [((number + phase) / rate, number, deployment) for number in range(first, after)]
        for at, number, deployment in sorted(due, key=lambda one: one[0]):
            self._call(at, number, deployment)

    def _breaker_at(self, key: Key) -> Breaker | None:
        if self._breaker_of and key not in self.breakers:
            self.breakers[key] = Breaker(self._breaker_timeout, self._successes_to_close)
        return self.breakers.get(key)

    def _call(self, at: float, number: int, deployment: Deployment) -> None:
        second = (at - self._script_began) % self.script.loop_seconds
        spells = [spell for spell in self.script.spells if spell.covers(second, deployment)]
        if any(spell.silent for spell in spells):
            return
        key = self.breaker_key(deployment.provider, deployment.model)
        breaker = self._breaker_at(key)
        if breaker is not None and not breaker.lets_through(at):
            return
        failing = max([deployment.failing, *(spell.failing for spell in spells)])
        slower = max([1.0, *(spell.slower for spell in spells)])
        failed = _share(deployment, number, "fails") < failing
        seconds = REFUSED_SECONDS if failed else slower * _latency(deployment, number)
        call = Call(at, deployment.provider, deployment.model, failed, seconds)
        counts = self.counts.setdefault(Key(deployment.provider, deployment.model), Counts())
        counts.count(call, deployment.usd, observe=self._observes_failures or not failed)
        if breaker is not None:
            breaker.saw(at, failed=failed)
        if self._remembers:
            self.calls.append(call)


def _share(deployment: Deployment, number: int, what: str) -> float:
    """A number from 0 to 1 that looks random and is always the same."""
    return crc32(f"{what} {number} {deployment.provider} {deployment.model}".encode()) / 2**32


def _latency(deployment: Deployment, number: int) -> float:
    share = _share(deployment, number, "latency")
    return deployment.latency_seconds * (SLOW + share if share < SLOW_SHARE else 1.0 + share / 2)


def _ceil(number: float) -> int:
    return int(-(-number // 1))
