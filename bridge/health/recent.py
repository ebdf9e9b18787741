"""What the last polls added to each key: the window over which the derived breaker looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from bridge.health.series_index import Ints, SeriesIndex
from bridge.health.traffic import Arrivals
from bridge.model import Floats, Key


class Step(NamedTuple):
    """What one poll added, by key."""

    end: float
    begins: Floats
    """From when on it came; infinite where nothing did."""
    successes: Floats
    failures: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Successes and failures by key (or provider), and since when those came."""

    successes: Floats
    failures: Floats
    begins: Floats


@dataclass(frozen=True, slots=True, eq=False)
class RecentTraffic:
    """The steps of the last polls, oldest first. Immutable: ``append`` gives the next one."""

    index: SeriesIndex = field(default_factory=lambda: SeriesIndex(()))
    steps: tuple[Step, ...] = ()

    def append(self, arrivals: Arrivals, at: float, seconds: float) -> RecentTraffic:
        """With what the poll at ``at`` added, and without what is older than ``seconds``."""
        here = self if arrivals.index is self.index else self._laid_out(arrivals.index)
        kept = tuple(step for step in here.steps if step.end > at - seconds)
        added = Step(at, arrivals.begins, arrivals.successes, arrivals.failures)
        return replace(here, steps=(*kept, added))

    def since(self, at: float) -> RecentTraffic:
        """Without the steps that ended before."""
        return replace(self, steps=tuple(step for step in self.steps if step.end >= at))

    def with_step(self, index: SeriesIndex, keys: Sequence[Key], step: Step) -> RecentTraffic:
        """With one more step, of these keys, and laid out by an index that has them."""
        here = self if index is self.index else self._laid_out(index)
        if keys is not index.keys:
            step = _spread(step, np.array([index.place_of_key[key] for key in keys], dtype=np.int64), len(index.keys))
        return replace(here, steps=(*here.steps, step))

    def _laid_out(self, index: SeriesIndex) -> RecentTraffic:
        places = index.place_of_key
        kept = [(place, places[key]) for place, key in enumerate(self.index.keys) if key in places]
        old, new = np.array(kept, dtype=np.int64).reshape(-1, 2).T
        steps = (Step(one.end, one.begins[old], one.successes[old], one.failures[old]) for one in self.steps)
        return RecentTraffic(index, tuple(_spread(step, new, len(index.keys)) for step in steps))

    def sums(self, seconds: float, interval: float, since: Floats) -> Sums:
        """What came within ``seconds`` of the last step and not before ``since`` (by key).

        Polls are never on time to the millisecond, so half an interval more is as good. The last step counts also where
        it lasted longer, up to an interval more: it is what there is to know. One that lasted longer still says nothing
        of how many came within the window.
        """
        nothing = np.zeros(len(self.index.keys))
        total = Sums(nothing.copy(), nothing.copy(), np.full(len(nothing), np.inf))
        for step in self.steps:
            lasted_from = self.steps[-1].end - (seconds + (interval if step is self.steps[-1] else interval / 2))
            counts = (step.begins >= lasted_from) & (step.begins >= since) & np.isfinite(step.begins)
            total.successes[counts] += step.successes[counts]
            total.failures[counts] += step.failures[counts]
            np.minimum(total.begins, np.where(counts, step.begins, np.inf), out=total.begins)
        return total

    def by_provider(self, sums: Sums) -> Sums:
        """The sums of each provider's keys."""
        places, count = self.index.provider_of_key, len(self.index.providers)
        successes, failures, begins = np.zeros(count), np.zeros(count), np.full(count, np.inf)
        np.add.at(successes, places, sums.successes)
        np.add.at(failures, places, sums.failures)
        np.minimum.at(begins, places, sums.begins)
        return Sums(successes, failures, begins)


def _spread(step: Step, places: Ints, width: int) -> Step:
    """A step's values at their places among ``width`` keys."""
    begins, successes, failures = np.full(width, np.inf), np.zeros(width), np.zeros(width)
    begins[places], successes[places], failures[places] = step.begins, step.successes, step.failures
    return Step(step.end, begins, successes, failures)
