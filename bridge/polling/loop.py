"""The only loop: one poll of the gateway per interval, assessed and recorded."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from bridge.gateway.errors import GatewayError, UnknownGateway
from bridge.gateway.source import GatewaySource
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.history import codec
from bridge.history.spare import Spared
from bridge.history.store import Store, Unwritten
from bridge.model import Event, Moment, Poll, Signals, Snapshot
from bridge.policy import Policy
from bridge.polling.election import Lead

SHORTEST_STEP_SECONDS = 0.001
"""Between two polls while the clock is behind the last one: so it catches up, and times still rise."""
MAX_EVENTS_KEPT = 10_000
MAX_POLLS_KEPT = 1_000
"""Events and polls that wait for a log that can be written again."""

log = structlog.get_logger("bridge.poller")


class Poller:
    """Polls, assesses and records."""

    def __init__(
        self,
        source: GatewaySource,
        store: Store,
        policy: Policy,
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
        observe: Callable[[Poll], None] = lambda _: None,
    ) -> None:
        """``observe`` is told of every poll once it is recorded."""
        self._source = source
        self._store = store
        self._policy = policy
        self._interval = interval_seconds
        self._clock = clock
        self._observe = observe
        self._memory = Memory()
        self._failing_since: float | None = None
        self._last_at = 0.0
        self._events: list[Event] = []
        self._unwritten: list[Unwritten] = []
        self._damage: sqlite3.DatabaseError | None = None
        """What is wrong with the log's file, where waiting does not help."""
        self._sources: Mapping[str, tuple[str, str]] | None = None
        self._rejected_lines = 0

    def run(self, lead: Lead, stop: threading.Event) -> None:
        """Go on from the log, and poll as long as ``stop`` is not set: the first time at once, if it is time."""
        self.resume()
        now = self._clock()
        last_began = max(self._last_at, lead.last_began())
        due = time.monotonic() + min(self._interval, max(0.0, last_began + self._interval - now))
        while not stop.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            lead.begins(self._clock())
            self.poll_once()
            if self._damage is not None:
                raise self._damage  # whoever begins anew sets the file aside
            if began - due > self._interval / 2:
                due = began  # the process, or the machine, stood still: the next poll is not due at once
            due = max(due + self._interval, time.monotonic())

    def resume(self) -> None:
        """Go on from the log."""
        self._store.spare.clear()
        self._memory = self._store.memory()
        self._source.restore(self._memory.names)
        latest = self._store.latest()
        if latest is not None:
            self._last_at = latest.poll.at
            self._failing_since = latest.failing_since

    def poll_once(self) -> Poll:
        """Poll now, and write down how it went. Never raises for what the gateway or the disk does."""
        clock, at = self._clock(), self._stamp()
        started = time.monotonic()
        snapshot: Snapshot | None = None
        events: list[Event] = []
        outcome, message = "ok", ""
        try:
            signals = self._source.read()
            self._log_reading(signals)
            if not signals.dialects and self._memory.absences:
                raise UnknownGateway("nothing in the exposition is of a gateway this bridge knows, as it was before")
            # While the clock is behind the last poll, stamps say nothing of how much time passes, so nothing of rates.
            before = self._memory if clock >= at else self._memory.with_windows_of(Memory())
            memory, snapshot, events = assess(before, signals, at, self._policy)
            if memory.forgotten and not self._memory.forgotten:
                log.warning("series_forgotten", message=snapshot.notices[-1])
            self._memory = memory
        except GatewayError as error:
            outcome, message = error.code, str(error)
        except Exception as error:
            log.exception("poll_broke", message="a mistake of the bridge's own: this poll counts as failed")
            outcome, message = "internal_error", f"the bridge could not assess this poll: {type(error).__name__}"
        poll = Poll(at, self._interval, outcome, message, time.monotonic() - started, clock if clock < at else None, at)
        self._record(poll, snapshot, [*self._gateway_event(poll), *events])
        self._observe(poll)
        return poll

    def _log_reading(self, signals: Signals) -> None:
        """Say which dialect gives which signal, and which lines cannot be read, whenever that is new."""
        if signals.sources != self._sources:
            given = {signal: f"{family} ({name})" for signal, (family, name) in signals.sources.items()}
            message = f"read as {', '.join(signals.dialects)}" if signals.dialects else "; ".join(signals.notices)
            log.info("dialects", message=message, signals=given)
        if signals.rejected_lines != self._rejected_lines:
            message = f"{signals.rejected_lines} lines could not be read"
            log.warning("lines_rejected", message=message, first=list(signals.first_rejected))
        self._sources, self._rejected_lines = signals.sources, signals.rejected_lines

    def _gateway_event(self, poll: Poll) -> list[Event]:
        """The gateway went down or came back with this poll. Keeps count of since when it fails."""
        failed_before = self._failing_since is not None
        if poll.good:
            self._failing_since = None
            return [Event(poll.at, "gateway", "", "", "down", "up", "polls succeed again")] if failed_before else []
        if failed_before:
            return []
        self._failing_since = poll.at
        return [Event(poll.at, "gateway", "", "", "up" if self._memory.at else "", "down", poll.message)]

    def _record(self, poll: Poll, snapshot: Snapshot | None, events: list[Event]) -> None:
        """Write the poll down, and what could not be written before; where that is not possible, keep it for later."""
        self._events = [*self._events, *events][-MAX_EVENTS_KEPT:]
        try:
            self._store.append(
                poll,
                failing_since=self._failing_since,
                events=self._events,
                snapshot=snapshot,
                memory=None if snapshot is None else self._memory,
                earlier=self._unwritten,
            )
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self._damage = error
            self._spare(poll, snapshot, error)
        else:
            if self._unwritten:
                log.info("log_written_again", message=f"{len(self._unwritten)} polls were written down belatedly")
                self._store.spare.clear()
            self._events, self._unwritten = [], []
            self._maintain(Moment(poll.at, poll.steady))
        self._say(poll, snapshot)

    def _maintain(self, now: Moment) -> None:
        try:
            self._store.maintain(now)
        except sqlite3.Error as error:
            log.error("log_not_maintained", message=f"old history could not be removed: {error}")

    def _spare(self, poll: Poll, snapshot: Snapshot | None, error: sqlite3.Error) -> None:
        """Keep a poll in memory, and let the workers know of it in another way."""
        path = str(self._store.path)
        log.error("log_not_written", message=f"the history could not be written: {error}", path=path)
        layout, numbers = (None, None) if snapshot is None else codec.poll_numbers(snapshot)
        if self._unwritten and layout == self._unwritten[-1].layout:
            layout = self._unwritten[-1].layout  # with thousands of models it takes more room than the numbers
        self._unwritten = [*self._unwritten, Unwritten(poll, layout, numbers)][-MAX_POLLS_KEPT:]
        if snapshot is None:
            latest = self._store.state(poll.at)
            known, good = (latest.snapshot, latest.good_reading) if latest else (None, None)
        else:
            known, good = snapshot, poll.reading
        try:
            self._store.spare.write(Spared(poll, known, self._failing_since, good, f"{path}: {error}"))
        except OSError as failed:
            log.error("state_not_shared", message=f"the workers cannot be told of this poll: {failed}")

    def _say(self, poll: Poll, snapshot: Snapshot | None) -> None:
        say = log.info if poll.good else log.warning
        say(
            "poll",
            message=poll.message or "polled the gateway",
            outcome=poll.outcome,
            duration_ms=round(poll.seconds * 1000, 1),
            samples=snapshot.samples if snapshot else None,
            rejected_lines=snapshot.rejected_lines if snapshot else None,
            dialects=list(snapshot.dialects) if snapshot else None,
        )

    def _stamp(self) -> float:
        """The poll's time: the clock's, but never before the last poll's, even when the clock jumps back."""
        self._last_at = max(self._clock(), self._last_at + SHORTEST_STEP_SECONDS)
        return self._last_at
