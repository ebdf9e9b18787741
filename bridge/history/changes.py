"""A count of the log's changes that every process on the machine can look at for next to nothing.

Asking SQLite whether anybody has written costs several system calls, each of which hands the interpreter to another
thread; a number in shared memory costs none. It only says when to look: what it misses (a writer that died before it
could count) is found within ``LOOK_SECONDS``.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

LOOK_SECONDS = 1.0
_NUMBER = struct.Struct("=Q")
_DOUBTS = _NUMBER.size
"""Where the second number stands."""
_SIZE = 2 * _NUMBER.size


class Changes:
    """The count that goes with one log."""

    def __init__(self, path: Path) -> None:
        """Where the file cannot be made the count is this process' own: changes by others are found a little later."""
        try:
            self._memory = _shared(path)
        except OSError:
            self._memory = mmap.mmap(-1, _SIZE)
        self._seen: int | None = None
        self._look_at = 0.0

    def count(self) -> None:
        """There is one more. For who has written to the log."""
        _NUMBER.pack_into(self._memory, 0, self.number() + 1)

    def number(self) -> int:
        """The count as it is."""
        number: int = _NUMBER.unpack_from(self._memory)[0]
        return number

    def doubt(self) -> None:
        """Something in the log could not be read. For readers: whoever writes looks into it."""
        _NUMBER.pack_into(self._memory, _DOUBTS, self.doubts() + 1)

    def doubts(self) -> int:
        """How often that was."""
        number: int = _NUMBER.unpack_from(self._memory, _DOUBTS)[0]
        return number

    def look(self) -> int | None:
        """A number to give to ``seen`` once the log was read; None while there is nothing new to read."""
        number = self.number()
        return None if number == self._seen and time.monotonic() < self._look_at else number

    def seen(self, number: int) -> None:
        """The log was read when, or after, the count was this."""
        self._seen, self._look_at = number, time.monotonic() + LOOK_SECONDS


def _shared(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if (size := os.fstat(descriptor).st_size) < _SIZE:
            os.pwrite(descriptor, bytes(_SIZE - size), size)  # written, so that it has its place when the disk is full
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)
