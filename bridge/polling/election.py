"""Who polls: of all workers the one that holds the lock on ``leader.lock``; the others wait for it.

When the leader dies the kernel gives the lock to another. The lock's file says when a poll last began, so that a leader
killed in the middle of one does not make the gateway see two in one interval. A lock on a file that is gone, or has
another in its place, keeps nobody else from leading, so it is lost.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from bridge import clock
from bridge.history.spare import Spare
from bridge.model import Reading

TAKEOVER_SECONDS = 0.5
"""How often a waiting worker tries for the lead."""
LONGEST_PAUSE_SECONDS = 10.0
"""How long a leader waits at most that fails again and again: twice as long each time."""
STEADY_SECONDS = 60.0
"""Work that has lasted this long counts as begun well."""
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_UNUSABLE = _NOT_WRITABLE | {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOLCK, errno.EBADF,
    errno.ESTALE, errno.ELOOP, errno.ENXIO,
}  # fmt: skip
"""What says that no lock can be had in the data folder, and not that this process has run out of something."""

log = structlog.get_logger("bridge.lead")


class LeadLost(Exception):
    """The lock that is held no longer keeps others from leading."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The lock, held. It lasts until every process that has the file descriptor has closed it, or died."""

    descriptor: int
    path: Path
    wanted: Path | None = None
    """Where the lock should be, had the folder been usable when it was taken; None when it is there."""

    @classmethod
    def take(cls, path: Path) -> Lead | None:
        """The lead, if nobody has it: in memory where ``path`` is not usable, so that polls do not depend on a disk."""
        try:
            return cls._take(path)
        except OSError as error:
            if error.errno not in _UNUSABLE:
                raise
        spare = Spare(path.parent).path
        return cls._take(spare.with_name(f"{spare.name}.lock"), path)

    @classmethod
    def _take(cls, path: Path, wanted: Path | None = None) -> Lead | None:
        descriptor = _open(path)
        lead = cls(descriptor, path, wanted)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lead.check()  # the file may have been removed in between
        except (BlockingIOError, LeadLost):
            lead.give_up()
            return None
        except BaseException:
            lead.give_up()
            raise
        return lead

    def give_up(self) -> None:
        """Let another have it."""
        os.close(self.descriptor)

    def check(self) -> None:
        """Raise LeadLost when the lock's file is gone, another one has its place, or it can be where it should be."""
        held = os.fstat(self.descriptor)
        try:
            found = self.path.stat()
        except OSError as error:
            raise LeadLost(f"{self.path} is gone ({error.strerror})") from None
        if (held.st_dev, held.st_ino) != (found.st_dev, found.st_ino):
            raise LeadLost(f"another file has taken the place of {self.path}")
        if self.wanted is not None:
            with suppress(OSError):
                os.close(_open(self.wanted))
                raise LeadLost(f"{self.wanted} can be used again")

    def begins(self, now: Reading, log: str = "-", recorded: int = 0) -> None:
        """Note that a poll begins now, and which one was the last that was recorded in the file ``log``.

        Where the disk is full or read-only nothing is noted, and polls go on. Raises LeadLost when the poll must not
        begin, since another may lead.
        """
        self.check()
        noted = f"{now.wall:020.3f} {now.steady:020.3f} {now.boot or '-':36} {recorded:020} {log:30}\n"
        with suppress(OSError):
            os.pwrite(self.descriptor, noted.encode(), 0)

    def recorded(self, log: str) -> int:
        """The number of the last poll that any leader recorded in the file ``log``; 0 where that is not known."""
        try:
            *_, number, name = os.pread(self.descriptor, 256, 0).decode("ascii").split()
            return int(number) if name == log else 0
        except (OSError, ValueError):
            return 0

    def seconds_since_begin(self, now: Reading) -> float:
        """How long ago any leader last began a poll; infinite when none ever did. Negative if the clock was set back.

        However the clock was set since, unless the machine was started again in between.
        """
        try:
            wall, steady, boot, *_ = [*os.pread(self.descriptor, 128, 0).split(), b"", b"", b""]
            began = Reading(float(wall), float(steady or 0), boot.decode("ascii").strip("-"))
        except (OSError, ValueError):
            return math.inf
        passed = clock.passed(began, now)
        return passed if math.isfinite(passed) else math.inf


def _open(path: Path) -> int:
    """The lock's file, made if missing; no link is followed, and no pipe waited for. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        descriptor = os.open(path, flags | os.O_RDONLY)  # enough for a lock
    return descriptor


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
            except LeadLost as error:
                wait = TAKEOVER_SECONDS
                log.warning("lead_lost", message=f"this worker no longer polls: {error}", pid=os.getpid())
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
