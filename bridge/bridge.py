"""The running service, as the web edge sees it: settings, log, lead, and what is known now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import cast

from flask import current_app

from bridge import clock
from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.model import Reading
from bridge.polling.child import poll_in_child
from bridge.polling.election import Candidate
from bridge.queries.admission import Admission
from bridge.queries.cache import AnswerCache
from bridge.queries.trend import TrendCache
from bridge.queries.view import View
from bridge.queries.vocabulary import Vocabulary
from bridge.settings import Settings
from bridge.web.counts import OwnMetrics
from bridge.web.exposition import Exposition


@dataclass(frozen=True)
class Bridge:
    """One worker's bridge."""

    settings: Settings
    store: Store
    clock: Callable[[], Reading] = clock.read
    answers: AnswerCache = field(default_factory=AnswerCache)
    metrics: OwnMetrics = field(default_factory=OwnMetrics)
    exposition: Exposition = field(default_factory=Exposition)
    remote: RemoteHistory | None = None
    """Where older history is kept; None without ``HISTORY_URL``."""
    admission: Admission = field(default_factory=Admission)
    trends: TrendCache = field(default_factory=TrendCache)

    @cached_property
    def candidate(self) -> Candidate:
        """This worker's wish to be the one that sees to polling."""
        return Candidate(self.store.path.with_name("leader.lock"), partial(poll_in_child, self.settings))

    def start(self) -> None:
        """Begin to poll (or to wait for the lead), and to write down what is counted. After fork."""
        self.metrics.start()
        self.candidate.start()

    def stop(self) -> None:
        """End polling and give the lead away."""
        self.candidate.stop()
        if self.remote is not None:
            self.remote.close()
        self.metrics.stop()

    def view(self) -> View:
        """What is known now, the same in every worker."""
        now = self.clock()
        return View(now.wall, self.store.state(now.wall), self.settings.stale_after_seconds, now)

    def vocabulary(self, view: View) -> Vocabulary:
        """The label texts that exist at that moment."""
        return Vocabulary(view, self.store)


def current_bridge() -> Bridge:
    """The bridge of the application that answers the present request."""
    return cast(Bridge, current_app.extensions["bridge"])
