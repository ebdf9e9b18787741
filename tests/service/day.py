"""A day of the demo's fleet as history: quiet but for a few incidents, and one that goes on at its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

from bridge import logs
from bridge.gateway import dialect_file
from bridge.gateway.client import Fetched, GatewayClient
from bridge.gateway.source import GatewaySource
from bridge.history.store import Store
from bridge.policy import Policy
from bridge.polling.loop import Poller
from demo.script import LOOP_SECONDS, exposition
from tests.one_poller import polled, reads

DAY_SECONDS = 86_400.0
POLLED_EVERY, POLLED_CLOSELY = 300.0, 5.0
NOT_POLLED_HOURS = (-10.0, -9.5)
QUIET = 40.0
"""A second of the demo's loop at which all is well."""
BEGINS = {"openrouter": 60.0, "groq": 270.0, "cohere": 450.0}
"""The second of the loop at which a provider's incident begins."""
EARLIER = ((-20.0, "openrouter", 150.0), (-13.5, "groq", 150.0), (-6.0, "cohere", 5.0), (-2.2, "openrouter", 60.0))
"""How many hours ago whose incident began, and how many seconds of it happened."""


class Moment(NamedTuple):
    """The demo at one moment: the second of the loop, for openrouter one of its own, so that incidents can overlap."""

    second: float = QUIET
    openrouter: float = QUIET


WELL = Moment()
INCIDENT = Moment(BEGINS["groq"] + 75.0, BEGINS["openrouter"] + 80.0)
"""All of groq's circuits are OPEN, and one of openrouter's is OPEN again after it was tried."""


class _Hand:
    def __init__(self) -> None:
        self.body = b""

    def fetch(self) -> Fetched:
        return Fetched(self.body, 0.01, "text/plain; version=0.0.4")

    def close(self) -> None:
        """Nothing is open."""


def write(folder: Path, now: float, ends: Moment = WELL) -> None:
    """Write the 24 hours before ``now`` as the bridge records them, up to the moment ``ends``."""
    logs.configure("CRITICAL")
    store = Store(folder, retention_seconds=7 * DAY_SECONDS)
    hand, clock = _Hand(), [now]
    source = GatewaySource(cast(GatewayClient, hand), dialect_file.select("auto"))
    pollers = {}
    for at in _times(now):
        closely = _played(at, now) is not None or now - at < 180.0
        every = POLLED_CLOSELY if closely else POLLED_EVERY
        if every not in pollers:
            pollers[every] = Poller(source, store, Policy(), interval_seconds=every, clock=reads(lambda: clock[0]))
        clock[0], hand.body = at, body(at, now, _moment(at, now, ends))
        pollers[every].resume()
        polled(pollers[every])
    store.close()


def gateway(now: float, moment: Moment) -> Callable[[], bytes]:
    """What the gateway goes on to say: this moment, standing still."""
    return lambda: body(now, now, moment)


def body(at: float, now: float, moment: Moment) -> bytes:
    """The exposition of a moment."""
    loop = (1000 + (at - now) // LOOP_SECONDS) * LOOP_SECONDS
    mark = 'provider="openrouter"'
    its = [line for line in exposition(loop + moment.openrouter, at).splitlines() if mark in line]
    others = [line for line in exposition(loop + moment.second, at).splitlines() if mark not in line]
    return ("\n".join([*others[:-1], *its, others[-1]]) + "\n").encode()


def _times(now: float) -> list[float]:
    times, at = [], now - DAY_SECONDS
    while at < now - 1:
        if not NOT_POLLED_HOURS[0] < (at - now) / 3600 < NOT_POLLED_HOURS[1]:
            times.append(at)
        closely = _played(at, now, before=POLLED_EVERY + 10) is not None or now - at < 600.0
        at += POLLED_CLOSELY if closely else POLLED_EVERY
    return times


def _played(at: float, now: float, before: float = 10.0) -> tuple[str, float] | None:
    """Whose earlier incident a time falls into, and how far."""
    for hours, whose, lasts in EARLIER:
        into = at - now - hours * 3600
        if -before <= into < lasts + 30:
            return whose, into
    return None


def _moment(at: float, now: float, ends: Moment) -> Moment:
    played = _played(at, now)
    if played is not None:
        whose, into = played
        lasts = next(lasts for _, name, lasts in EARLIER if name == whose)
        second = BEGINS[whose] + into if 0 <= into < lasts else QUIET
        return Moment(openrouter=second) if whose == "openrouter" else Moment(second)
    back = now - at
    return Moment(*(last - back if last - back > QUIET and back < 180.0 else QUIET for last in ends))
