"""Whose counters some series are, in integers: worked out once for as long as a gateway publishes the same series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bridge.model import CounterId, Floats, Key

Ints = NDArray[np.int64]
NOTHING: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Buckets:
    """The buckets of histograms: which series are one histogram's bucket of one bound, and where each one's stand."""

    series: Ints
    group_of: Ints
    """For each of those series, the bucket it counts for."""
    bounds: Floats
    """Of each bucket, in seconds; those of a histogram stand together and rise."""
    starts: Ints
    """Where each histogram's begin, and the end of the last."""
    owners: Ints
    """Whose each histogram is: a place in ``providers``, or in ``keys``."""


@dataclass(frozen=True, eq=False)
class SeriesIndex:
    """Series by signal, by key (provider and model), and by provider."""

    ids: tuple[CounterId, ...]

    @cached_property
    def keys(self) -> tuple[Key, ...]:
        """All keys that series count for, sorted."""
        return tuple(sorted({Key(counter.provider, counter.model) for counter in self.ids}))

    @cached_property
    def providers(self) -> tuple[str, ...]:
        """All providers that series count for, sorted."""
        return tuple(dict.fromkeys(key.provider for key in self.keys))

    @cached_property
    def place_of_key(self) -> Mapping[Key, int]:
        """Where each key stands in ``keys``."""
        return {key: place for place, key in enumerate(self.keys)}

    @cached_property
    def place_of_provider(self) -> Mapping[str, int]:
        """Where each provider stands in ``providers``."""
        return {provider: place for place, provider in enumerate(self.providers)}

    @cached_property
    def key_of(self) -> Ints:
        """The key of each series."""
        places = self.place_of_key
        return np.array([places[counter.provider, counter.model] for counter in self.ids], dtype=np.int64)  # type: ignore[index]  # a Key is a tuple

    @cached_property
    def provider_of_key(self) -> Ints:
        """The provider of each key."""
        places = self.place_of_provider
        return np.array([places[key.provider] for key in self.keys], dtype=np.int64)

    @cached_property
    def provider_of(self) -> Ints:
        """The provider of each series."""
        return self.provider_of_key[self.key_of]

    @cached_property
    def by_signal(self) -> Mapping[str, Ints]:
        """Where the series of each signal stand."""
        places: dict[str, list[int]] = {}
        for place, counter in enumerate(self.ids):
            places.setdefault(counter.signal, []).append(place)
        return {signal: np.array(some, dtype=np.int64) for signal, some in places.items()}

    @cached_property
    def buckets_by_provider(self) -> Buckets:
        """The buckets of latency histograms, a histogram a provider."""
        return self._buckets(self.provider_of)

    @cached_property
    def buckets_by_key(self) -> Buckets:
        """The same, a histogram a key."""
        return self._buckets(self.key_of)

    def _buckets(self, owner_of: Ints) -> Buckets:
        series = self.of_signal("latency_bucket")
        bounds = [float(self.ids[place].detail) for place in series.tolist()]
        named = list(zip(owner_of[series].tolist(), bounds, strict=True))
        groups = sorted(set(named))
        place_of = {group: place for place, group in enumerate(groups)}
        starts: dict[int, int] = {}
        for place, (owner, _) in enumerate(groups):
            starts.setdefault(owner, place)
        return Buckets(
            series,
            np.array([place_of[one] for one in named], dtype=np.int64),
            np.array([bound for _, bound in groups]),
            np.array([*starts.values(), len(groups)], dtype=np.int64),
            np.array(list(starts), dtype=np.int64),
        )

    def of_signal(self, signal: str) -> Ints:
        """Where the series of a signal stand; none where it has none."""
        return self.by_signal.get(signal, NOTHING)

    def by_key(self, signal: str, numbers: Floats) -> Floats:
        """A number of each series (NaN: not known), added up by key; NaN for a key none of whose is known."""
        series = self.of_signal(signal)
        return sums(numbers[series], self.key_of[series], len(self.keys))

    def by_provider(self, signal: str, numbers: Floats) -> Floats:
        """The same by provider."""
        series = self.of_signal(signal)
        return sums(numbers[series], self.provider_of[series], len(self.providers))


def sums(numbers: Floats, groups: Ints, count: int) -> Floats:
    """Numbers (NaN: not known) added up by group, of ``count`` groups; NaN for one none of whose is known."""
    known = ~np.isnan(numbers)
    if not known.all():
        numbers, groups = numbers[known], groups[known]
    totals = np.bincount(groups, weights=numbers, minlength=count)
    return np.where(np.bincount(groups, minlength=count) > 0, totals, np.nan)
