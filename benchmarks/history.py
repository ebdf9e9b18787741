"""A made-up history, written into a log through the bridge's own ``Store.append``, poll by poll.

Every provider's error rate, latency, availability and traffic wander, so no two polls are alike, and its score is what
the bridge's formula makes of them; models fail, breakers open and close, now and then a poll fails. The last polls are
not made up: the bridge's own poller reads them from the exposition that the benchmarks' gateway goes on with, so that
a bridge that starts on the log continues where it stands.

An append takes a fraction of a millisecond, as SQLite's write-ahead log waits for no disk at a commit
(``synchronous = NORMAL``): seven days are written in well under a minute without any shortcut.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.expositions import exposition, model_names, provider_names
from benchmarks.source import Hand, source_of
from bridge import logs
from bridge.health.memory import Memory
from bridge.history.store import Store
from bridge.model import (
    FLEET_METRICS,
    PROVIDER_METRICS,
    Event,
    Key,
    ModelNumbers,
    Moment,
    Poll,
    Reading,
    Snapshot,
    Status,
    Verdict,
)
from bridge.policy import Policy
from bridge.polling.loop import Poller

INTERVAL_SECONDS = 15.0
RETENTION_SECONDS = 8 * 86_400.0
"""More than is written, so that nothing of it is pruned while it is measured."""
FAILED_POLLS = 0.001
OPENINGS_PER_MODEL_AND_DAY = 0.2
MODELS = 2
METRIC = "provider_health_score"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """A log that was written, and what stands in it of ``METRIC``."""

    data_dir: Path
    providers: tuple[str, ...]
    times: Floats
    """Good polls, epoch seconds."""
    scores: Floats
    """Shape (polls, providers)."""
    bytes: int
    write_seconds: float

    @property
    def end(self) -> float:
        """The last poll."""
        return float(self.times[-1])


def write(data_dir: Path, *, providers: int, seconds: float, polled_seconds: float = 3600.0) -> History:
    """Write a history that ends now; the last ``polled_seconds`` of it by the bridge's poller."""
    began = time.perf_counter()
    store = Store(data_dir, retention_seconds=RETENTION_SECONDS)
    names = tuple(provider_names(providers))
    polled = min(int(polled_seconds / INTERVAL_SECONDS), int(seconds / INTERVAL_SECONDS) - 2)
    count = int(seconds / INTERVAL_SECONDS) - polled
    end = time.time()
    first = end - (count + polled - 1) * INTERVAL_SECONDS
    made_up, scores = _Wandering(names, count, first).append_to(store)
    recorded = _poll(store, names, [end - (polled - 1 - number) * INTERVAL_SECONDS for number in range(polled)])
    store.close()
    size = sum(file.stat().st_size for file in data_dir.glob("history.sqlite*"))
    return History(
        data_dir,
        names,
        np.r_[made_up, [at for at, _ in recorded]],
        np.r_[scores, np.array([row for _, row in recorded])],
        size,
        time.perf_counter() - began,
    )


def poll_now(history: History) -> None:
    """One more poll at this moment, so that the log's last one is fresh."""
    store = Store(history.data_dir, retention_seconds=RETENTION_SECONDS)
    _poll(store, history.providers, [time.time()])
    store.close()


def poll_number(at: float) -> int:
    """Which of the gateway's polls is due at a time, so that its counters rise from one process to the next."""
    return int(at % 31_536_000 / INTERVAL_SECONDS)


def _poll(store: Store, providers: Sequence[str], times: Sequence[float]) -> list[tuple[float, list[float]]]:
    """Let the bridge's poller poll at these times: each time, and the scores."""
    logs.configure("CRITICAL")
    hand, first = Hand(), poll_number(times[0])
    poller = Poller(source_of(hand), store, Policy(), interval_seconds=INTERVAL_SECONDS)
    poller.resume()
    recorded = []
    for number, at in enumerate(times):
        hand.body = exposition(first + number, providers=len(providers), models=MODELS)
        poll = poller.poll_once(Reading(at, at, "bench"))
        latest = store.latest()
        if not poll.good or latest is None or latest.snapshot is None:
            raise RuntimeError(f"the history could not be written: {poll.message}")
        values = {verdict.provider: verdict.values[METRIC] for verdict in latest.snapshot.verdicts}
        recorded.append((poll.at, [np.nan if (it := values[name]) is None else it for name in providers]))
    return recorded


class _Wandering:
    """Polls whose numbers walk at random."""

    def __init__(self, names: Sequence[str], count: int, first: float) -> None:
        random = np.random.default_rng(20_261_121)
        shape = (count, len(names))
        self._names, self._count = names, count
        self._times = first + np.arange(count) * INTERVAL_SECONDS + random.uniform(0, 0.05, count)
        self._failed = random.random(count) < FAILED_POLLS
        self._failed[[0, -1]] = False
        requests = _walk(random, shape, low=20.0, high=400.0, pace=8.0).round()
        self._error_rate = np.minimum(requests, _walk(random, shape, low=-8.0, high=12.0, pace=0.6).round().clip(0))
        self._error_rate /= requests
        self._latency = _walk(random, shape, low=0.4, high=6.0, pace=0.05)
        self._p95 = self._latency * _walk(random, shape, low=1.5, high=3.0, pace=0.01)
        self._rate = requests / 300.0
        self._cost = (requests * 0.0021).cumsum(axis=0)
        self._keys = [Key(name, model) for name in names for model in model_names(name, MODELS)]
        self._keys_in_order = tuple(sorted(self._keys))
        self._order = np.array([self._keys.index(key) for key in self._keys_in_order])
        self._open, self._events = self._openings(random)
        self._availability = 100.0 * (MODELS - self._open) / MODELS
        latency_score = ((10.0 - self._p95) / 8.0).clip(0, 1)
        self._score = 0.4 * self._availability + 30.0 * (1 - self._error_rate) + 30.0 * latency_score

    def append_to(self, store: Store) -> tuple[Floats, Floats]:
        """Write it all down: times and scores of the good polls."""
        for row in range(self._count):
            at, failing = float(self._times[row]), bool(self._failed[row])
            events = self._events.get(row, ())
            if failing:
                poll = Poll(at, INTERVAL_SECONDS, "timeout", "the gateway did not answer in time", 10.0, steady=at)
                store.append(poll, failing_since=at, events=events)
            else:
                poll = Poll(at, INTERVAL_SECONDS, "ok", "", 0.02, steady=at)
                store.append(
                    poll,
                    failing_since=None,
                    events=events,
                    snapshot=self._snapshot(row),
                    memory=Memory(moment=Moment(at, at)),
                )
        good = ~self._failed
        return self._times[good], self._score[good]

    def _openings(self, random: np.random.Generator) -> tuple[Floats, dict[int, list[Event]]]:
        """How many of each provider's circuits are open at each poll, and the events that say so."""
        events: dict[int, list[Event]] = {}
        opened = np.zeros((self._count, len(self._names)))

        def note(row: int, key: Key, before: str, after: str, reason: str) -> None:
            while self._failed[row] and row < self._count - 1:
                row += 1
            at = float(self._times[row])
            events.setdefault(row, []).append(Event(at, "circuit", key.provider, key.model, before, after, reason))

        share = OPENINGS_PER_MODEL_AND_DAY * INTERVAL_SECONDS / 86_400.0
        for number, key in enumerate(self._keys):
            note(0, key, "", "CLOSED", "first seen")
            free = 1
            for begin in np.flatnonzero(random.random(self._count) < share):
                end = int(begin) + int(random.integers(2, 40))
                if begin < free or end >= self._count - 1:
                    continue
                opened[begin:end, number // MODELS] += 1
                note(int(begin), key, "CLOSED", "OPEN", "5 failures and no success in 60 s")
                note(end, key, "OPEN", "CLOSED", "2 successes")
                free = end + 2
        return opened, events

    def _snapshot(self, row: int) -> Snapshot:
        columns = dict.fromkeys(PROVIDER_METRICS, np.full(len(self._names), np.nan))
        is_open = self._open[row] > 0
        score = self._score[row]
        status = np.where(score < 50, Status.DOWN, np.where(is_open | (score < 80), Status.DEGRADED, Status.HEALTHY))
        columns |= {
            "provider_health_score": score,
            "provider_status": status.astype(np.float64),
            "provider_circuit_breaker_state": is_open.astype(np.float64),
            "provider_open_circuits": self._open[row],
            "provider_circuits": np.full(len(self._names), float(MODELS)),
            "provider_error_rate": self._error_rate[row],
            "provider_availability": self._availability[row],
            "provider_latency_seconds": self._latency[row],
            "provider_latency_p95_seconds": self._p95[row],
            "provider_request_rate": self._rate[row],
            "provider_cost_usd": self._cost[row],
        }
        metrics = list(columns)
        table = np.array([columns[metric] for metric in metrics]).T.tolist()
        at = float(self._times[row])
        verdicts = tuple(
            Verdict(
                name, Status(int(state)), at, {m: None if v != v else v for m, v in zip(metrics, values, strict=True)}
            )
            for name, state, values in zip(self._names, status.tolist(), table, strict=True)
        )
        rates = np.repeat(self._error_rate[row], MODELS)
        fleet = dict.fromkeys(FLEET_METRICS) | {
            "fleet_health_score": float(score.mean()),
            "fleet_open_circuits": float(self._open[row].sum()),
            "fleet_error_rate": float(self._error_rate[row].mean()),
            "fleet_request_rate": float(self._rate[row].sum()),
            "fleet_cost_usd": float(self._cost[row].sum()),
        }
        return Snapshot(
            at,
            verdicts,
            (),
            ModelNumbers(self._keys_in_order, {"model_error_rate": rates[self._order]}),
            fleet,
            ("gatewayz-metrics",),
        )


def _walk(random: np.random.Generator, shape: tuple[int, int], *, low: float, high: float, pace: float) -> Floats:
    """Random walks between two bounds, reflected there."""
    steps = random.normal(0.0, pace, shape)
    steps[0] = random.uniform(low, high, shape[1])
    folded = np.abs((steps.cumsum(axis=0) - low) % (2 * (high - low)) - (high - low))
    return high - folded if high > low else folded
