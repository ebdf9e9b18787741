"""The only loop: one poll of the gateway per interval, assessed and recorded."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from bridge import clock
from bridge.gateway.errors import GatewayError
from bridge.gateway.source import GatewaySource
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.history.database import is_damage
from bridge.history.spare import Spared
from bridge.history.store import Store, Unwritten
from bridge.model import Event, Moment, Poll, Reading, Signals, Snapshot
from bridge.policy import Policy
from bridge.polling.dating import Dated, date
from bridge.polling.election import Lead

MAX_EVENTS_KEPT = 100_000
MAX_POLLS_KEPT = 1_000
"""Events and polls that wait for a log that can be written again: of more the newest."""

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
        clock: Callable[[], Reading] = clock.read,
        observe: Callable[[Poll], None] = lambda _: None,
    ) -> None:
        """``observe`` is told of every poll once it is recorded."""
        self._source = source
        self._store = store
        self._policy = replace(policy, poll_interval_seconds=interval_seconds)
        self._interval = interval_seconds
        self._clock = clock
        self._observe = observe
        self._memory = Memory()
        self._failing_since: float | None = None
        self._dated: Dated | None = None
        """The last poll's place in time."""
        self._events: list[Event] = []
        self._unwritten: list[Unwritten] = []
        self._recorded = 0
        """The number of the last poll that stands in the log."""
        self._sources: Mapping[str, tuple[str, str]] | None = None
        self._rejected_lines = 0

    def run(self, lead: Lead, stop: threading.Event) -> None:
        """Go on from the log, and poll as long as ``stop`` is not set: the first time at once, if it is time.

        Raises LeadLost when another may poll as well.
        """
        self._store.expect(lead.recorded(self._store.path.name))
        self.resume()
        due = time.monotonic() + self._wait(lead)
        while not stop.wait(max(0.0, due - time.monotonic())):
            began, now = time.monotonic(), self._clock()
            lead.begins(now, self._store.path.name, self._recorded)
            self.poll_once(now)
            if began - due > self._interval / 2:
                due = began  # the process, or the machine, stood still: the next poll is not due at once
            due = max(due + self._interval, time.monotonic())

    def _wait(self, lead: Lead) -> float:
        """How long the first poll has to wait, so that the gateway sees none too soon after another's."""
        now = self._clock()
        passed = [lead.seconds_since_begin(now)]
        if self._dated is not None:
            passed.append(clock.passed(self._dated.reading, now))  # where the lock's file was removed
        last = min((seconds for seconds in passed if seconds >= 0), default=self._interval)
        return max(0.0, self._interval - last)

    def resume(self) -> None:
        """Go on from the log."""
        self._store.spare.clear()
        self._memory = self._store.memory()
        latest = self._store.latest()
        if latest is not None:
            poll, self._recorded = latest.poll, latest.poll_id
            reading = poll.reading or Reading(poll.at, poll.at, "")
            self._dated = Dated(Moment(poll.at, poll.steady or poll.at), reading, poll.epoch)
            self._failing_since = latest.failing_since
        elif epochs := self._store.epochs():  # the newest state was lost: clocks go on all the same
            last = epochs[-1]
            at = last.steady + last.shift
            self._dated = Dated(Moment(at, last.steady), Reading(at, 0.0, ""), last.id)

    def poll_once(self, now: Reading) -> Poll:
        """Poll, and write down how it went. Never raises for what the gateway or the disk does.

        ``now`` is the one reading of the clocks that all of the poll goes by.
        """
        dated = self._dated = self._date(now)
        started = time.monotonic()
        snapshot: Snapshot | None = None
        events: list[Event] = []
        outcome, message = "ok", ""
        try:
            signals = self._source.read(self._memory.learnt)
            self._log_reading(signals)
            memory, snapshot, events = assess(self._memory, signals, dated.moment, self._policy)
            if memory.window.forgotten and not self._memory.window.forgotten:
                log.warning("series_forgotten", message=snapshot.notices[-1])
            self._memory = memory
        except GatewayError as error:
            outcome, message = error.code, str(error)
        except Exception as error:
            log.exception("poll_broke", message="a mistake of the bridge's own: this poll counts as failed")
            outcome, message = "internal_error", f"the bridge could not assess this poll: {type(error).__name__}"
        poll = Poll(
            dated.moment.at,
            self._interval,
            outcome,
            message,
            time.monotonic() - started,
            steady=dated.moment.steady,
            epoch=dated.epoch,
            reading=now,
        )
        self._record(poll, snapshot, [*self._gateway_event(poll), *events])
        self._observe(poll)
        return poll

    def _date(self, now: Reading) -> Dated:
        """The poll's place in time. What an earlier clock dated is dated by this one, where it was set."""
        dated = date(now, self._dated)
        if dated.set_by:
            if self._failing_since is not None:
                self._failing_since += dated.set_by
            way = "forward" if dated.set_by > 0 else "back"
            told = f"the clock was set {way} by {abs(dated.set_by):.0f} s: polls that it dated wrongly are set apart"
            self._memory = self._memory.dated_anew(dated.moment.steady, dated.set_by, told)
            log.warning("clock_set", message=told)
        return dated

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
        return [Event(poll.at, "gateway", "", "", "up" if self._memory.moment else "", "down", poll.message)]

    def _record(self, poll: Poll, snapshot: Snapshot | None, events: list[Event]) -> None:
        """Write the poll down, and what could not be written before; where that is not possible, keep it for later."""
        waiting = [*self._events, *events]
        if self._unwritten and len(waiting) > MAX_EVENTS_KEPT:
            lost = len(waiting) - MAX_EVENTS_KEPT
            log.error(
                "events_lost", message=f"{lost} events that wait for a log that can be written again are given up"
            )
            waiting = waiting[lost:]
        self._events = waiting
        try:
            self._write(poll, snapshot)
        except sqlite3.Error as error:
            self._spare(poll, snapshot, error)
        else:
            if self._unwritten:
                log.info("log_written_again", message=f"{len(self._unwritten)} polls were written down belatedly")
                self._store.spare.clear()
            self._events, self._unwritten = [], []
            self._maintain(Moment(poll.at, poll.steady))
        self._say(poll, snapshot)

    def _write(self, poll: Poll, snapshot: Snapshot | None) -> None:
        """Write the poll down: where the file is damaged in one that is opened anew, so that no poll is lost by it."""
        try:
            self._append(poll, snapshot)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._reopen(error)
            self._append(poll, snapshot)

    def _append(self, poll: Poll, snapshot: Snapshot | None) -> None:
        self._recorded = self._store.append(
            poll,
            failing_since=self._failing_since,
            events=self._events,
            snapshot=snapshot,
            memory=None if snapshot is None else self._memory,
            earlier=self._unwritten,
        )

    def _reopen(self, error: sqlite3.Error) -> None:
        log.error("history_damaged", message=f"the history is opened anew: {error}", path=str(self._store.path))
        try:
            self._store.reopen()
        except OSError as failed:
            raise sqlite3.OperationalError(str(failed)) from failed

    def _maintain(self, now: Moment) -> None:
        try:
            self._store.maintain(now)
        except sqlite3.Error as error:
            log.error("log_not_maintained", message=f"old history could not be removed: {error}")
            if is_damage(error):
                with suppress(sqlite3.Error):  # the next poll meets it as well
                    self._reopen(error)

    def _spare(self, poll: Poll, snapshot: Snapshot | None, error: sqlite3.Error) -> None:
        """Keep a poll in memory, and let the workers know of it in another way."""
        path = str(self._store.path)
        log.error("log_not_written", message=f"the history could not be written: {error}", path=path)
        layout, numbers = (None, None) if snapshot is None else self._store.numbers(snapshot, poll)
        if self._unwritten and layout == self._unwritten[-1].layout:
            layout = self._unwritten[-1].layout  # with thousands of models it takes more room than the numbers
        watch = None if snapshot is None else self._memory.watch
        self._unwritten = [*self._unwritten, Unwritten(poll, layout, numbers, watch)][-MAX_POLLS_KEPT:]
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
