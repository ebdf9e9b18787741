"""The machine's clocks, read together: the wall clock dates things, the steady one measures how long they lasted."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from bridge.model import Reading

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where the system has such a clock."""


def read() -> Reading:
    """What the clocks say now."""
    return Reading(time.time(), time.clock_gettime(_STEADY), boot())


@cache
def boot() -> str:
    """Which start of the machine this is; empty where the system does not say."""
    with suppress(OSError):
        return BOOT_ID.read_text(encoding="ascii").strip()
    return ""
