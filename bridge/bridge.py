"""The running service, as the web edge sees it: settings, log, poller, and what is known now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from flask import current_app

from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.poller import Poller
from bridge.queries.cache import AnswerCache
from bridge.queries.trend import TrendCache
from bridge.queries.view import View
from bridge.settings import Settings
from bridge.web.exposition import Exposition, OwnMetrics


@dataclass(frozen=True, slots=True)
class Bridge:
    """One worker's bridge."""

    settings: Settings
    store: Store
    poller: Poller
    clock: Callable[[], float] = time.time
    answers: AnswerCache = field(default_factory=AnswerCache)
    metrics: OwnMetrics = field(default_factory=OwnMetrics)
    exposition: Exposition = field(default_factory=Exposition)
    remote: RemoteHistory | None = None
    """Where older history is kept; None without ``HISTORY_URL``."""
    trends: TrendCache = field(default_factory=TrendCache)

    def start(self) -> None:
        """Begin to poll (or to wait for the lead). After fork."""
        self.poller.start()

    def stop(self) -> None:
        """End polling and give the lead away."""
        self.poller.stop()
        if self.remote is not None:
            self.remote.close()

    def view(self) -> View:
        """What is known now, the same in every worker."""
        return View(self.clock(), self.store.latest(), self.settings.stale_after_seconds)


def current_bridge() -> Bridge:
    """The bridge of the application that answers the present request."""
    return cast(Bridge, current_app.extensions["bridge"])
