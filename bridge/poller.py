"""The only loop: one poll of the gateway per interval, whatever the number of workers.

Every worker runs a poller; the one that holds the lock on ``leader.lock`` leads, the others wait for it. When the
leader dies the kernel gives the lock to another, which goes on from the log. The lock's file says when a poll last
began, so that a leader killed in the middle of one does not make the gateway see two in one interval.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from bridge.gateway.errors import GatewayError, UnknownGateway
from bridge.gateway.source import GatewaySource
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.history.store import Store
from bridge.model import Event, Poll, Signals, Snapshot
from bridge.policy import Policy

TAKEOVER_SECONDS = 0.5
"""How often a waiting worker tries for the lead."""
SHORTEST_STEP_SECONDS = 0.001
"""Between two polls while the clock is behind the last one: so it catches up, and times still rise."""
MAX_EVENTS_KEPT = 10_000
"""Events that wait for a log that can be written again."""

log = structlog.get_logger("bridge.poller")


class Poller:
    """Polls, assesses and records, as long as it leads. ``start`` after fork: threads do not survive one."""

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
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._memory = Memory()
        self._failing_since: float | None = None
        self._last_at = 0.0
        self._unwritten: list[Event] = []
        self._sources: Mapping[str, tuple[str, str]] | None = None
        self._rejected_lines = 0

    def start(self) -> None:
        """Begin to poll, or to wait for the lead, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End after the poll in flight and give the lead away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with _Lead(self._store.path.with_name("leader.lock")) as lead:
                    if lead.held:
                        log.info("leading", message="this worker polls the gateway", pid=os.getpid())
                        self._lead(lead)
                        return
            except Exception:
                log.exception("lead_lost", message="the poller failed and begins again")
            self._stop.wait(TAKEOVER_SECONDS)

    def _lead(self, lead: _Lead) -> None:
        self.resume()
        now = self._clock()
        last_began = max(self._last_at, lead.last_began())
        due = time.monotonic() + min(self._interval, max(0.0, last_began + self._interval - now))
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            lead.begins(self._clock())
            self.poll_once()
            due = max(due + self._interval, time.monotonic())

    def resume(self) -> None:
        """Go on from the log."""
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
            memory, snapshot, events = assess(self._memory, signals, at, self._policy)
            self._memory = memory
        except GatewayError as error:
            outcome, message = error.code, str(error)
        except Exception as error:
            log.exception("poll_broke", message="a mistake of the bridge's own: this poll counts as failed")
            outcome, message = "internal_error", f"the bridge could not assess this poll: {type(error).__name__}"
        poll = Poll(at, self._interval, outcome, message, time.monotonic() - started, clock if clock < at else None)
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
        self._unwritten = [*self._unwritten, *events][-MAX_EVENTS_KEPT:]
        try:
            self._store.append(
                poll,
                failing_since=self._failing_since,
                events=self._unwritten,
                snapshot=snapshot,
                memory=None if snapshot is None else self._memory,
            )
            self._unwritten = []
            self._store.maintain(poll.at)
        except sqlite3.Error as error:
            log.error(
                "log_not_written", message=f"the history could not be written: {error}", path=str(self._store.path)
            )
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


class _Lead:
    """The lock that one worker holds; released by the kernel when it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.held = False

    def __enter__(self) -> _Lead:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def begins(self, at: float) -> None:
        """Note that a poll begins at ``at``."""
        os.pwrite(self._file, f"{at:020.3f}\n".encode(), 0)

    def last_began(self) -> float:
        """When any leader last began a poll; 0 when nobody ever did."""
        try:
            return float(os.pread(self._file, 32, 0) or 0)
        except ValueError:
            return 0.0
