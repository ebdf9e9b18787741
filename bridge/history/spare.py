"""Where the newest state goes when the log cannot be written: a small file in memory, beside a disk that is full.

The process that polls writes it, every worker reads it; it holds one poll, and is gone once the log has caught up.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from bridge.history import codec
from bridge.model import Poll, Reading, Snapshot

MEMORY = Path("/dev/shm")  # noqa: S108 (files in it are made with mkstemp, and only the owner's are read)


@dataclass(frozen=True, slots=True)
class Spared:
    """The newest state, and why it does not stand in the log."""

    poll: Poll
    snapshot: Snapshot | None
    failing_since: float | None
    good_clock: float | None
    why: str


class Spare:
    """The file that goes with one data folder."""

    def __init__(self, data_dir: Path) -> None:
        folder = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        digest = hashlib.blake2b(os.fsencode(data_dir.resolve()), digest_size=8).hexdigest()
        self.path = folder / f"provider-health-bridge-{os.getuid()}-{digest}"

    def write(self, state: Spared) -> None:
        """Put the newest state there. Raises OSError when there is no room for that either."""
        snapshot = None if state.snapshot is None else codec.dump_snapshot(state.snapshot).hex()
        fields = [state.poll, snapshot, state.failing_since, state.good_clock, state.why]
        content = orjson.dumps(fields, default=codec.plain)
        descriptor, name = tempfile.mkstemp(prefix=f"{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink()
            raise

    def read(self) -> Spared | None:
        """What was put there last; None when nothing is there, or nothing that we wrote."""
        try:
            poll, snapshot, *rest = orjson.loads(self._content())
            known = None if snapshot is None else codec.load_snapshot(bytes.fromhex(snapshot))
            reading = None if poll["reading"] is None else Reading(*poll["reading"])
            return Spared(Poll(**{**poll, "reading": reading}), known, *rest)
        except OSError:
            return None
        except codec.CORRUPT:
            return None

    def clear(self) -> None:
        """Take it away. What others have put in its place stays: it is never read."""
        with suppress(OSError):
            self.path.unlink()

    def _content(self) -> bytes:
        """What the file holds, if it is a file, and ours. A pipe that somebody left there is not waited for."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
                return b""
            return os.read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
