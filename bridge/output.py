"""Where log lines go: a file descriptor that may be full, closed or not read, and must never hold anybody up."""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import time
from collections.abc import Callable

PATIENCE_SECONDS = 0.1
"""How long a line waits for room, once: after that lines are lost until there is room again."""
GATHER_SECONDS = 0.1
"""How long lines that are in no hurry are gathered: a write each would cost more than the request it tells of."""
AT_ONCE_BYTES = select.PIPE_BUF
"""What a pipe takes whole, so that the lines of several workers do not run into each other."""
MOST_WAITING_BYTES = 256 * 1024


class Output:
    """Writes whole lines. What cannot be written is lost, and said so once something can be written again."""

    def __init__(self, descriptor: int, lost: Callable[[int], bytes]) -> None:
        """``lost`` makes the line that tells how many are missing."""
        self._descriptor = _unblocked(descriptor)
        self._told_lost = lost
        self._lost = 0
        self._torn = False
        self._lock = threading.RLock()  # a signal's handler may log while its thread does
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._some = threading.Event()
        self._gatherer: int | None = None
        """The process whose thread writes what waits: threads do not survive a fork."""

    def write(self, line: bytes) -> None:
        """Write a line, which ends in its line break, and what waited before it. Never raises, and hardly waits."""
        with self._lock:
            self.flush()
            self._write(line, 1)

    def later(self, line: bytes) -> None:
        """Write a line together with others, within ``GATHER_SECONDS``."""
        with self._lock:
            if self._waiting_bytes > MOST_WAITING_BYTES:
                self.flush()
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            if self._gatherer != os.getpid():
                self._begin()
            if not self._some.is_set():
                self._some.set()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
            first, size = 0, 0
            for number, line in enumerate(lines):
                if size and size + len(line) > AT_ONCE_BYTES:
                    self._write(b"".join(lines[first:number]), number - first)
                    first, size = number, 0
                size += len(line)
            if first < len(lines):
                self._write(b"".join(lines[first:]), len(lines) - first)

    def _begin(self) -> None:
        self._gatherer = os.getpid()
        threading.Thread(target=self._gather, name="log", daemon=True).start()
        atexit.register(self.flush)

    def _gather(self) -> None:
        while True:
            self._some.wait()
            time.sleep(GATHER_SECONDS)
            self._some.clear()
            self.flush()

    def _write(self, lines: bytes, count: int) -> None:
        if self._lost:
            sent = self._sent(self._told_lost(self._lost) + lines, 0.0)
        else:
            sent = self._sent(lines, PATIENCE_SECONDS)
        self._lost = 0 if sent else self._lost + count

    def _sent(self, lines: bytes, patience_seconds: float) -> bool:
        rest = b"\n" + lines if self._torn else lines  # after half a line the next one begins anew
        deadline: float | None = None
        while True:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:
                now = time.monotonic()
                deadline = deadline or now + patience_seconds
                if now >= deadline or not _room(self._descriptor, deadline - now):
                    return False
                continue
            except OSError:
                return False
            self._torn = written < len(rest)
            if not self._torn:
                return True
            rest = rest[written:]


def _room(descriptor: int, seconds: float) -> bool:
    """Wait for room. What has none because nobody will ever read it again counts as room: the next write says so."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _unblocked(descriptor: int) -> int:
    """The same file without waiting for readers: opened anew, as others (a shell) share the descriptor's own flags."""
    try:
        mode = os.fstat(descriptor).st_mode
        terminal = os.isatty(descriptor)
    except OSError:
        return descriptor
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or terminal):
        return descriptor
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a socket, another user's pipe, or no Linux
        if not terminal:
            os.set_blocking(descriptor, False)
        return descriptor
