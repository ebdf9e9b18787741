"""Which polls count, where the wall clock was set meanwhile.

Polls of one *epoch* are dated by one clock, which ran steadily; each time it was set another epoch begins. What an
epoch's dates are worth is seen later: the newest is the truth, and where a clock is right again, all that was dated
while it was wrong does not count. Nothing is deleted for this.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

SAME_SECONDS = 2.0
SAME_SHARE = 500e-6
"""Two clocks are the same one when they differ by no more than this, and this share of the time between: a clock that
is not set drifts, and is slewed, by no more than 500 ppm."""
NEAREST = 8
"""So many epochs are looked at one by one for the same clock, the others by how far their clocks were off."""


class Epoch(NamedTuple):
    """Polls that were dated by one clock."""

    id: int
    """Rises from one to the next."""
    first_at: float
    """When its first poll was, as it was dated (epoch seconds)."""
    first_steady: float
    """The same in steady seconds (see ``Moment``)."""
    shift: float
    """``at`` less ``steady`` of its newest poll."""
    steady: float
    """Steady seconds of its newest poll."""


def cutoffs(epochs: Sequence[Epoch]) -> dict[int, float]:
    """By epoch (given in the order of their ids): its polls count while their ``at`` is before this."""
    found = dict.fromkeys((epoch.id for epoch in epochs), -math.inf)
    by_shift = sorted((epoch.shift, place) for place, epoch in enumerate(epochs))
    until = math.inf
    place = len(epochs) - 1
    while place >= 0:
        epoch = epochs[place]
        found[epoch.id] = until
        until = min(until, epoch.first_at)
        place = _before(epochs, place, by_shift)
    return found


def _before(epochs: Sequence[Epoch], place: int, by_shift: Sequence[tuple[float, int]]) -> int:
    """The place of the newest earlier epoch of the same clock; where there is none, of the one before.

    A clock that jumps with every poll begins thousands of epochs: not each is compared with each.
    """
    epoch, shift = epochs[place], epochs[place].first_at - epochs[place].first_steady
    for earlier in reversed(range(max(0, place - NEAREST), place)):
        if _same(epochs[earlier], epoch):
            return earlier
    reach = SAME_SECONDS + SAME_SHARE * abs(epoch.first_steady - epochs[0].steady)
    low, high = bisect_left(by_shift, (shift - reach, 0)), bisect_right(by_shift, (shift + reach, place))
    same = (earlier for _, earlier in by_shift[low:high] if earlier < place and _same(epochs[earlier], epoch))
    return max(same, default=place - 1)


def _same(earlier: Epoch, later: Epoch) -> bool:
    """True when the later one began with the clock that the earlier one ended with."""
    between = later.first_steady - earlier.steady
    return abs(later.first_at - later.first_steady - earlier.shift) <= SAME_SECONDS + SAME_SHARE * abs(between)
