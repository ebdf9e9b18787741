"""The machine's clocks, read together: one that dates things, and one that measures how much time has passed."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from bridge.model import Reading

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read() -> Reading:
    """The clocks now. The steady one goes on while the machine sleeps, where the system has such a clock (Linux)."""
    boot = _boot()  # first, so that nothing comes between the two clocks
    return Reading(time.time(), _steady(), boot)


def passed(since: Reading, now: Reading) -> float:
    """Seconds that passed between two readings.

    By the steady clock where both are of one start of the machine, however the wall clock was set in between. Else by
    the wall clock: then the answer is as wrong as that is, and can be negative.
    """
    if since.boot and since.boot == now.boot and now.steady >= since.steady:
        return now.steady - since.steady
    return now.wall - since.wall


def _steady() -> float:
    return time.clock_gettime(_BOOT_TIME) if _BOOT_TIME is not None else time.monotonic()


_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


@cache
def _boot() -> str:
    """Which start of the machine this is; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
