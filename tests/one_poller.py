"""The poller of an application under test, in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from flask import Flask

from bridge.bridge import Bridge
from bridge.model import Poll, Reading
from bridge.polling.child import poller_of
from bridge.polling.loop import Poller


def reads(clock: Callable[[], float]) -> Callable[[], Reading]:
    """Both clocks of a machine whose time is this. They tick at every reading, as clocks do."""
    ticks = count()

    def read() -> Reading:
        now = clock() + 1e-6 * next(ticks)
        return Reading(now, now, "test")

    return read


def polled(poller: Poller) -> Poll:
    """One more poll, now."""
    return poller.poll_once(poller._clock())


def poller_in(app: Flask) -> Poller:
    """The one poller of this application: it polls when the test says so."""
    if "poller" not in app.extensions:
        bridge: Bridge = app.extensions["bridge"]
        told = {"observe": bridge.metrics.poll, "parsed": bridge.metrics.parsed}
        app.extensions["poller"] = poller_of(bridge.settings, bridge.store, clock=bridge.clock, **told)
    poller: Poller = app.extensions["poller"]
    return poller
