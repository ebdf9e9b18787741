"""Who polls: of all workers the one that holds the lock on ``leader.lock``; the others wait for it.

When the leader dies the kernel gives the lock to another. The lock's file says when a poll last began, so that a leader
killed in the middle of one does not make the gateway see two in one interval.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

TAKEOVER_SECONDS = 0.5
"""How often a waiting worker tries for the lead."""
LONGEST_PAUSE_SECONDS = 10.0
"""How long a leader waits at most that fails again and again: twice as long each time."""
STEADY_SECONDS = 60.0
"""Work that has lasted this long counts as begun well."""

log = structlog.get_logger("bridge.lead")


class Lead:
    """The lock, held. It lasts until every process that has the file descriptor has closed it, or died."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Lead | None:
        """The lead, if nobody has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def give_up(self) -> None:
        """Let another have it."""
        os.close(self.descriptor)

    def begins(self, at: float) -> None:
        """Note that a poll begins at ``at``; not where the disk is full or has turned read-only: polls go on."""
        with suppress(OSError):
            os.pwrite(self.descriptor, f"{at:020.3f}\n".encode(), 0)

    def last_began(self) -> float:
        """When any leader last began a poll; 0 when nobody ever did."""
        try:
            return float(os.pread(self.descriptor, 32, 0) or 0)
        except ValueError:
            return 0.0


class Candidate:
    """One worker's wish to lead. ``start`` after fork: threads do not survive one."""

    def __init__(self, path: Path, work: Callable[[Lead, threading.Event], None]) -> None:
        """``work`` is what the leader does, until the event is set; should it end before, or fail, it begins anew."""
        self._path = path
        self._work = work
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Wait for the lead, and then lead, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="lead", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the work and give the lead away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        pause = TAKEOVER_SECONDS
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._try()
                wait = TAKEOVER_SECONDS
            except Exception as error:
                wait = TAKEOVER_SECONDS if time.monotonic() - began > STEADY_SECONDS else pause
                pause = min(2 * wait, LONGEST_PAUSE_SECONDS)
                log.exception("lead_lost", message=f"polling failed, and begins again in {wait:g} s: {error}")
            self._stop.wait(wait)

    def _try(self) -> None:
        lead = Lead.take(self._path)
        if lead is None:
            return
        try:
            log.info("leading", message="this worker sees to polling the gateway", pid=os.getpid())
            self._work(lead, self._stop)
        finally:
            lead.give_up()
