"""Whole polls of a large gateway: read, assessed and written by the bridge's own poller, at made-up times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.expositions import exposition
from benchmarks.harness import Row, alternately
from benchmarks.reading import parser_seconds, timed
from benchmarks.servers import BenchmarkError
from benchmarks.source import Hand, source_of
from bridge import logs
from bridge.history.store import Store
from bridge.model import Learnt, Reading
from bridge.policy import RATE_WINDOW_SECONDS, Policy
from bridge.polling.loop import Poller

MOST_RATIO = 0.3
MOST_SECONDS = 0.5
INTERVAL_SECONDS = 15.0
RETENTION_SECONDS = 7 * 86_400.0


class Polls:
    """A gateway that is polled again and again, every counter having risen meanwhile."""

    def __init__(
        self, data_dir: Path, *, providers: int, models: int, interval: float, first_at: float, breakers: bool = True
    ) -> None:
        """``breakers`` says whether the gateway reports its own; else the bridge derives one for each model."""
        logs.configure("CRITICAL")
        self._size = {"providers": providers, "models": models}
        self._breakers, self._interval, self._first_at = breakers, interval, first_at
        self._hand = Hand()
        self._store = Store(data_dir, retention_seconds=RETENTION_SECONDS)
        self._poller = Poller(source_of(self._hand), self._store, Policy(), interval_seconds=interval)
        self._poller.resume()
        self.count = 0
        """Polls so far."""

    @property
    def last_at(self) -> float:
        """When the last poll was (epoch seconds)."""
        return self._first_at + (self.count - 1) * self._interval

    @property
    def breakers(self) -> int:
        """Circuit breakers as of the last poll."""
        latest = self._store.latest()
        return len(latest.snapshot.circuits) if latest is not None and latest.snapshot is not None else 0

    def next_seconds(self) -> float:
        """How long the next poll takes."""
        self._hand.body = exposition(self.count, **self._size, reports_breakers=self._breakers)
        self.count += 1
        at = self.last_at
        outcomes: list[str] = []
        seconds = timed(lambda: outcomes.append(self._poller.poll_once(Reading(at, at, "bench")).outcome))
        if outcomes != ["ok"]:
            raise BenchmarkError(f"a poll came to {outcomes[0]}")
        return seconds

    def parser_seconds(self) -> float:
        """How long prometheus_client's parser takes for the same text."""
        return parser_seconds(self._hand.body)

    def fill(self, polls: int) -> None:
        """So many polls more."""
        for _ in range(polls):
            self.next_seconds()

    def close(self) -> None:
        """Close the log."""
        self._store.close()


@cache
def models_for_counters(counters: int, providers: int) -> int:
    """How many models a provider must have for the bridge to follow at least so many counters."""

    def size(models: int) -> int:
        hand = Hand()
        hand.body = exposition(0, providers=1, models=models)
        return len(source_of(hand).read(Learnt()).counters.ids)

    one, two = size(1), size(2)
    return max(1, -(-(counters // providers - one) // (two - one)) + 1)


def poll(bench: Bench) -> Iterator[Row]:
    """The whole poll, against the parser's time for the same text: breakers reported, and thousands of them derived."""
    sizes = bench.sizes
    models = models_for_counters(sizes.counters, sizes.providers)
    window = int(RATE_WINDOW_SECONDS / INTERVAL_SECONDS)
    first_at = time.time() - (window + sizes.readings) * INTERVAL_SECONDS
    for breakers in (True, False):
        polls = Polls(
            bench.new_folder(f"poll-{'reported' if breakers else 'derived'}"),
            providers=sizes.providers,
            models=models,
            interval=INTERVAL_SECONDS,
            first_at=first_at,
            breakers=breakers,
        )
        polls.fill(window + 2)  # from then on as much leaves the windows as comes
        ratio, ours, theirs = alternately(sizes.readings, polls.next_seconds, polls.parser_seconds)
        figures = f"{ratio:.3f} × ({ours * 1000:.0f} against {theirs * 1000:.0f} ms)"
        how = f"{polls.breakers:,} breakers {'reported' if breakers else 'derived'}"
        polls.close()
        yield Row(
            f"whole poll of {sizes.counters:,} counters, {how}",
            "prometheus_client's parser alone",
            figures,
            f"≤ {MOST_RATIO:g} ×, {MOST_SECONDS:g} s",
            ratio <= MOST_RATIO and ours <= MOST_SECONDS,
        )
