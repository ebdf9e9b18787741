"""When a poll was: dated by the wall clock, measured on a time line of seconds that really passed.

The wall clock can be wrong, and be set at any time. Nothing but dates follows it: windows, time-outs and retention go
by the steady clock, which all processes of one boot share. Only across a boot is there nothing but the wall clock to
say how long it took.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge import clock
from bridge.model import Moment, Reading

SET_BY_SECONDS = 2.0
DRIFT = 500e-6
"""The wall clock was set where it is further off than this, and than clocks drift (the most that NTP slews)."""
SHORTEST_STEP_SECONDS = 0.001
"""Between the dates of two polls: they rise, also where the wall clock stands still or is put back a little."""
UNKNOWN_GAP_SECONDS = 3600.0
"""Taken to have passed where nothing says how long it was: long enough that windows begin anew."""


@dataclass(frozen=True, slots=True)
class Dated:
    """A poll's place in time."""

    moment: Moment
    reading: Reading
    epoch: int = 0
    """How often the wall clock was set before: polls of one epoch are dated by one clock."""
    set_by: float = 0.0
    """Seconds by which the wall clock was set since the poll before; 0 while it runs on."""


def date(reading: Reading, before: Dated | None) -> Dated:
    """The place in time of a poll that begins at ``reading``, after the one ``before``."""
    if before is None:
        return Dated(Moment(reading.wall, reading.wall), reading)
    passed = _known(clock.passed(before.reading, reading))
    steady = before.moment.steady + (UNKNOWN_GAP_SECONDS if passed is None else max(passed, SHORTEST_STEP_SECONDS))
    off = reading.wall - before.reading.wall - (passed or 0.0)
    if passed is None or abs(off) > SET_BY_SECONDS + DRIFT * passed:
        return Dated(Moment(reading.wall, steady), reading, before.epoch + 1, off)
    at = max(reading.wall, before.moment.at + SHORTEST_STEP_SECONDS)
    return Dated(Moment(at, steady), reading, before.epoch)


def _known(passed: float) -> float | None:
    """None where nothing says how long it was: the machine was started again, and its clock put back."""
    return passed if passed >= 0 else None
