"""Regions: items of the same key that overlap, or nearly so, as the one thing a panel draws for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, TypeVar


class Spanning(Protocol):
    """Something that began and ended, in epoch seconds."""

    @property
    def start(self) -> float:
        """When it began."""

    @property
    def end(self) -> float:
        """When it ended."""


T = TypeVar("T", bound=Spanning)
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Region(Generic[T, K]):
    """Items of one key, by the time they began, from the first one's beginning to the last one's end."""

    key: K
    items: list[T]
    start: float
    end: float


def merge(items: Iterable[T], key: Callable[[T], K], gap_seconds: float = 0.0) -> list[Region[T, K]]:
    """The regions of all items, by the time they begin; every item is in one of them.

    Items of one key are in the same region where they overlap, touch or lie closer than the gap, or where others of
    the key bridge what is between them.
    """
    found: dict[K, list[Region[T, K]]] = {}
    for item in sorted(items, key=lambda one: (one.start, one.end)):
        regions = found.setdefault(key(item), [])
        last = regions[-1] if regions else None
        if last is not None and (item.start <= last.end or item.start - last.end < gap_seconds):
            last.items.append(item)
            last.end = max(last.end, item.end)
        else:
            regions.append(Region(key(item), [item], item.start, item.end))
    return sorted(chain.from_iterable(found.values()), key=lambda one: (one.start, one.end))
