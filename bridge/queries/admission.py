"""Who of a worker's requests may work now: one expensive computation at a time, and so many bytes of answers in hand.

What is cheap (the latest values, an answer that is ready, ``/health``, ``/metrics``) asks for no turn, so it never
waits for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAIT_SECONDS = 2.0
"""How long a request waits for its turn, or for room, before it is told to come again."""
MOST_WAITING = 16
"""Of requests: each holds a thread, and some threads are always to be free for what is cheap."""
SERVICE_BYTES = 64 * 2**20
"""Of all answers that a service is making or sending; its workers have equal shares."""
LEAST_BYTES = 4 * 2**20
"""Of a worker's share: with less, a usual panel would not fit."""


class BusyError(Exception):
    """There is too much to do just now: the same request may well be answered in ``retry_seconds``."""

    retry_seconds = 2


class Admission:
    """One worker's door. Any number of threads may use it."""

    def __init__(self, max_bytes: int = SERVICE_BYTES, *, wait_seconds: float = WAIT_SECONDS) -> None:
        """``max_bytes`` of answers may be in hand at once."""
        self.max_bytes = max_bytes
        self._wait_seconds = wait_seconds
        self._changed = threading.Condition()
        self._working = False
        self.waiting = 0
        """Requests that wait for others."""
        self.held_bytes = 0
        """Of answers being made or sent."""

    def begin(self) -> None:
        """Take the turn of what is expensive; ``end`` gives it back. Raises BusyError where that takes too long."""

        def is_free() -> bool:
            return not self._working

        with self._changed:
            self._wait_for(is_free)
            self._working = True

    def end(self) -> None:
        """Give the turn back."""
        with self._changed:
            self._working = False
            self._changed.notify_all()

    def hold(self, size: int) -> None:
        """Make room for so many more bytes of an answer. Raises BusyError where there is none for too long."""

        def is_room() -> bool:
            return self.held_bytes + size <= self.max_bytes

        with self._changed:
            self._wait_for(is_room)
            self.held_bytes += size

    def release(self, size: int) -> None:
        """These bytes were sent, or are not going to be."""
        with self._changed:
            self.held_bytes -= size
            self._changed.notify_all()

    def _wait_for(self, may_go: Callable[[], bool]) -> None:
        if may_go():
            return
        with self.waiter():
            if not self._changed.wait_for(may_go, self._wait_seconds):
                raise BusyError(f"others were not done within {self._wait_seconds:g} s")

    @contextmanager
    def waiter(self) -> Iterator[None]:
        """For as long as a request waits for another one. Raises BusyError where many do already."""
        with self._changed:
            if self.waiting >= MOST_WAITING:
                raise BusyError(f"{self.waiting} requests wait already")
            self.waiting += 1
        try:
            yield
        finally:
            with self._changed:
                self.waiting -= 1
