"""A day in the life of a fleet: the demo's gateway, with an incident now and quieter hours before it, as history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from bridge import logs
from bridge.gateway import dialect
from bridge.gateway.client import Fetched, GatewayClient
from bridge.gateway.source import GatewaySource
from bridge.history.store import Store
from bridge.policy import Policy
from bridge.poller import Poller
from demo.script import LOOP_SECONDS, exposition

DAY_SECONDS = 86_400.0
BETWEEN_POLLS = 120.0
QUIET = 40.0
"""A second of the demo's loop at which all is well."""
OPENROUTER, GROQ, COHERE = 60.0, 270.0, 450.0
"""Seconds of the loop at which each of its incidents begins."""
LATER = 210.0
INCIDENTS = ((-20.0, OPENROUTER + LATER, 15.0), (-13.5, GROQ, 50.0), (-6.0, COHERE, 5.0), (-2.2, OPENROUTER + LATER, 8.0))
"""What happened earlier: how many hours ago, at which second of the loop it begins, how long it goes on."""


class _Hand:
    def __init__(self) -> None:
        self.body = b""

    def fetch(self) -> Fetched:
        return Fetched(self.body, 0.01, "text/plain; version=0.0.4")

    def close(self) -> None:
        """Nothing is open."""


def write(folder: Path, now: float, second: float = QUIET, *, gap_hours: tuple[float, float] = (-10.0, -9.5)) -> None:
    """Write the 24 hours before ``now`` as the bridge would have recorded them; in ``gap_hours`` it was not running.

    ``second`` is the second of the loop that stands at ``now``: the minutes before it have been polled closely.
    """
    logs.configure("CRITICAL")
    store = Store(folder, retention_seconds=7 * DAY_SECONDS)
    hand, clock = _Hand(), [now]
    source = GatewaySource(cast(GatewayClient, hand), dialect.select("auto"))
    poller = Poller(source, store, Policy(), interval_seconds=BETWEEN_POLLS, clock=lambda: clock[0])
    poller.resume()
    at = now - DAY_SECONDS
    close = now - max(second - QUIET, 0.0)
    while at < now:
        hours = (at - now) / 3600
        poller._interval = BETWEEN_POLLS if at < close - 60 else 5.0
        if not gap_hours[0] < hours < gap_hours[1]:
            clock[0] = at
            hand.body = _body(_elapsed(at, now, close, second), at)
            poller.poll_once()
        at += 5.0 if at >= close - 60 else next((5.0 for begin, _, _ in INCIDENTS if _during(hours, begin)), BETWEEN_POLLS)
    store.close()


def gateway(now: float, second: float) -> Callable[[], bytes]:
    """What the gateway goes on with: the moment ``now`` of the loop, standing still."""
    return lambda: _body(1000 * LOOP_SECONDS + second, now)


def _body(elapsed: float, at: float) -> bytes:
    """The demo's exposition, but that openrouter's incident is ``LATER`` by so much that it falls into groq's."""
    mark = 'provider="openrouter"'
    of_openrouter = [line for line in exposition(elapsed - LATER, at).splitlines() if mark in line]
    others = [line for line in exposition(elapsed, at).splitlines() if mark not in line]
    return ("\n".join([*others[:-1], *of_openrouter, others[-1]]) + "\n").encode()


def _during(hours: float, begin: float) -> bool:
    return begin - 0.02 < hours < begin + 0.05


def _elapsed(at: float, now: float, close: float, second: float) -> float:
    loop = 1000 * LOOP_SECONDS - (now - at) // LOOP_SECONDS * LOOP_SECONDS
    if at >= close:
        return 1000 * LOOP_SECONDS + second - (now - at)
    for begin, first, lasts in INCIDENTS:
        into = at - now - begin * 3600
        if 0 <= into < lasts:
            return loop + first + into
    return loop + QUIET
