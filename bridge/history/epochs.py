"""Which polls count, where the wall clock was set meanwhile.

Polls of one *epoch* are dated by one clock, which ran steadily; each time it was set another epoch begins. What an
epoch's dates are worth is seen later: the newest is the truth, and where a clock is right again, all that was dated
while it was wrong does not count. Nothing is deleted for this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SAME_SECONDS = 2.0
SAME_SHARE = 500e-6
"""Two clocks are the same one when they differ by no more than this, and this share of the time between: a clock that
is not set drifts, and is slewed, by no more than 500 ppm."""


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
    until = math.inf
    place = len(epochs) - 1
    while place >= 0:
        epoch = epochs[place]
        found[epoch.id] = until
        until = min(until, epoch.first_at)
        same = (earlier for earlier in reversed(range(place)) if _same(epochs[earlier], epoch))
        place = next(same, place - 1)
    return found


def _same(earlier: Epoch, later: Epoch) -> bool:
    """True when the later one began with the clock that the earlier one ended with."""
    between = later.first_steady - earlier.steady
    return abs(later.first_at - later.first_steady - earlier.shift) <= SAME_SECONDS + SAME_SHARE * abs(between)
