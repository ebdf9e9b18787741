"""A gateway's story, and what is true of it at the moments at which somebody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from demo.traffic import CLOSED, HALF_OPEN, OPEN

Key = tuple[str, str]
HEALTHY, FLAPPING, FAILING = "openai", "anthropic", "groq"
FLEET: tuple[Key, ...] = (
    (HEALTHY, "gpt-4o"),
    (HEALTHY, "o3"),
    (FLAPPING, "claude-sonnet-4"),
    (FLAPPING, "claude-haiku-4"),
    (FAILING, "llama-3.1-8b"),
    (FAILING, "qwen-2.5-32b"),
)
FLAPS = (FLAPPING, "claude-haiku-4")
CALM_POLLS = 3
"""Good polls before anything goes wrong."""
FLAP = (OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED, OPEN, CLOSED, OPEN)
"""Its states from then on, one a poll; it stays in the last. The incident begins with the first."""
REQUESTS = 20
"""Of each model, between two polls. From the incident's begin on, all of the failing provider's fail."""
BOUNDS = (0.1, 0.5, 1.0, 5.0)
SECONDS = 0.4
"""What every request takes."""
SCORE = 97.0
"""What the gateway says of everyone, whatever happens."""
WORDS = {CLOSED: "CLOSED", OPEN: "OPEN", HALF_OPEN: "HALF_OPEN"}


@dataclass(frozen=True)
class Poll:
    """What was true when the gateway was asked, and whether it said so."""

    at: float
    """Epoch seconds."""
    good: bool
    states: Mapping[Key, str] = field(default_factory=dict)
    requests: Mapping[Key, int] = field(default_factory=dict)
    failures: Mapping[Key, int] = field(default_factory=dict)


class Storyteller:
    """A gateway's answers: while it is there, the next page of the story."""

    def __init__(self) -> None:
        self.polls: list[Poll] = []
        self._gone = True
        self._lock = threading.Lock()
        self._requests = dict.fromkeys(FLEET, 0)
        self._failures = dict.fromkeys(FLEET, 0)

    def __call__(self) -> bytes | str:
        with self._lock:
            if self._gone:
                self.polls.append(Poll(time.time(), good=False))
                return "close"
            return self._page()

    def come(self) -> None:
        """Answer from now on."""
        with self._lock:
            self._gone = False

    def go(self) -> None:
        """Answer no more."""
        with self._lock:
            self._gone = True

    @property
    def good(self) -> list[Poll]:
        """The good polls so far."""
        with self._lock:
            return [poll for poll in self.polls if poll.good]

    @property
    def missed(self) -> list[Poll]:
        """The bad ones, each perhaps tried more than once."""
        with self._lock:
            return [poll for poll in self.polls if not poll.good]

    def _page(self) -> bytes:
        number = sum(poll.good for poll in self.polls) - CALM_POLLS
        for key in FLEET:
            self._requests[key] += REQUESTS
            self._failures[key] += REQUESTS * (number >= 0 and key[0] == FAILING)
        states = {key: self._state(key, number) for key in FLEET}
        self.polls.append(Poll(time.time(), True, states, dict(self._requests), dict(self._failures)))
        return exposition(self.polls[-1])

    @staticmethod
    def _state(key: Key, number: int) -> str:
        if number < 0:
            return CLOSED
        if key == FLAPS:
            return FLAP[min(number, len(FLAP) - 1)]
        return OPEN if key[0] == FAILING else CLOSED


def exposition(poll: Poll) -> bytes:
    """The page as the GatewayZ backend's own ``/metrics`` has it, with breakers by model."""
    lines = [f'gatewayz_provider_health_score{{provider="{provider}"}} {SCORE}' for provider in providers()]
    for key in FLEET:
        labels = f'provider="{key[0]}",model="{key[1]}"'
        lines += [
            f'gatewayz_circuit_breaker_state{{{labels},state="{state}"}} {int(poll.states[key] == state)}'
            for state in (CLOSED, OPEN, HALF_OPEN)
        ]
        requests, failures = poll.requests[key], poll.failures[key]
        for status, count in (("success", requests - failures), ("error", failures)):
            lines.append(f'model_inference_requests_total{{{labels},status="{status}"}} {count}')
        for bound in (*map(str, BOUNDS), "+Inf"):
            count = requests if float(bound) >= SECONDS else 0
            lines.append(f'model_inference_duration_seconds_bucket{{{labels},le="{bound}"}} {count}')
        lines.append(f"model_inference_duration_seconds_sum{{{labels}}} {requests * SECONDS}")
        lines.append(f"model_inference_duration_seconds_count{{{labels}}} {requests}")
    return "\n".join([*lines, ""]).encode()


def providers() -> list[str]:
    """Everyone, in the fleet's order."""
    return list(dict.fromkeys(provider for provider, _ in FLEET))


def circuits_of(provider: str) -> list[Key]:
    """A provider's circuits."""
    return [key for key in FLEET if key[0] == provider]


@dataclass(frozen=True)
class Truth:
    """What is so when somebody looks."""

    moment: str
    at: float
    good: Sequence[Poll]
    missed: Sequence[Poll]
    """All polls before, good and bad."""
    stale: bool

    @property
    def never(self) -> bool:
        """Whether nothing was ever read."""
        return not self.good

    @property
    def known(self) -> bool:
        """Whether anything counts as now."""
        return not self.stale and not self.never

    @property
    def providers(self) -> list[str]:
        """Those that were ever seen."""
        return [] if self.never else providers()

    def state(self, key: Key) -> str:
        """A circuit's state now, in a viewer's words."""
        return WORDS[self.good[-1].states[key]] if self.known else "unknown"

    def worst(self, provider: str) -> str:
        """The state of a provider's worst circuit now."""
        return self._worst(self.good[-1], circuits_of(provider)) if self.known else "unknown"

    def open_circuits(self, provider: str) -> int:
        """How many of a provider's circuits are OPEN."""
        return sum(self.state(key) == "OPEN" for key in circuits_of(provider))

    def status(self, provider: str) -> str:
        """A provider's status now."""
        if not self.known:
            return "unknown"
        opened = self.open_circuits(provider)
        return "down" if opened == len(circuits_of(provider)) else "degraded" if opened else "healthy"

    def error_rate(self, *keys: Key) -> float | None:
        """Failures among requests since the first good poll (there are no five minutes yet)."""
        if not self.known:
            return None
        first, last = self.good[0], self.good[-1]
        requests = sum(last.requests[key] - first.requests[key] for key in keys)
        failures = sum(last.failures[key] - first.failures[key] for key in keys)
        return failures / requests if requests else None

    def request_rate(self, *keys: Key) -> float:
        """Requests a second since the first good poll."""
        first, last = self.good[0], self.good[-1]
        return sum(last.requests[key] - first.requests[key] for key in keys) / (last.at - first.at)

    def score(self, provider: str) -> float | None:
        """A provider's health score, 0-100: its latency is good, whatever happens."""
        errors = self.error_rate(*circuits_of(provider))
        return None if errors is None else 40 * self.available(provider) + 30 * (1 - errors) + 30

    def available(self, provider: str) -> float:
        """The share of a provider's circuits that are not OPEN."""
        return 1 - self.open_circuits(provider) / len(circuits_of(provider))

    def first_opened(self, *keys: Key) -> float | None:
        """When the outage began that the last good poll saw; None where no circuit is OPEN."""
        polls = [poll for poll in self.good if any(poll.states[key] == OPEN for key in keys)]
        if not polls or polls[-1] is not self.good[-1]:
            return None
        closed = [poll.at for poll in self.good if all(poll.states[key] == CLOSED for key in keys)]
        return min(poll.at for poll in polls if not closed or poll.at > closed[-1])

    def bars(self, *keys: Key) -> list[tuple[float, str]]:
        """How the worst of these circuits went: when each state was first seen, holes where polls were missed."""
        found: list[tuple[float, str]] = []
        end = self.at if self.stale else self.good[-1].at
        for poll in sorted((*self.good, *self.missed), key=lambda poll: poll.at):
            if poll.at > end or not (poll.good or found):
                continue
            word = self._worst(poll, keys) if poll.good else "no data"
            if not found or found[-1][1] != word:
                found.append((poll.at, word))
        return found

    @staticmethod
    def _worst(poll: Poll, keys: Sequence[Key]) -> str:
        states = {poll.states[key] for key in keys}
        return next(WORDS[state] for state in (OPEN, HALF_OPEN, CLOSED) if state in states)

    def moves(self) -> list[tuple[float, Key, str, str]]:
        """Every change of a circuit, newest first: when, which, from what and to what."""
        found = [
            (after.at, key, WORDS[before.states[key]], WORDS[after.states[key]])
            for before, after in pairwise(self.good)
            for key in FLEET
            if before.states[key] != after.states[key]
        ]
        return sorted(found, reverse=True)

    def until(self, end: float) -> Truth:
        """What was true at an earlier time, of what came before."""
        good, missed = ([poll for poll in polls if poll.at <= end] for polls in (self.good, self.missed))
        return replace(self, at=end, good=good, missed=missed)
