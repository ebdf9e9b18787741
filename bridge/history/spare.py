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
from typing import Any

import orjson

from bridge.history import codec
from bridge.model import Poll, Reading, Snapshot

MEMORY = Path("/dev/shm")  # noqa: S108 (files in it are made with mkstemp, and only the owner's are read)


def in_memory(data_dir: Path) -> Path:
    """A name that only this user's services with this data folder use, in a folder in memory where there is one."""
    folder = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    digest = hashlib.blake2b(os.fsencode(data_dir.resolve()), digest_size=8).hexdigest()
    return folder / f"provider-health-bridge-{os.getuid()}-{digest}"


@dataclass(frozen=True, slots=True)
class Spared:
    """The newest state, and why it does not stand in the log."""

    poll: Poll
    snapshot: Snapshot | None
    failing_since: float | None
    good_reading: Reading | None
    why: str


class Spare:
    """The file that goes with one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.path = in_memory(data_dir)

    def write(self, state: Spared) -> None:
        """Put the newest state there. Raises OSError when there is no room for that either."""
        snapshot = None if state.snapshot is None else codec.dump_snapshot(state.snapshot).hex()
        content = orjson.dumps(
            [state.poll, snapshot, state.failing_since, state.good_reading, state.why], default=codec.plain
        )
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
            failing_since, good_reading, why = rest
            return Spared(_poll(poll), known, failing_since, Reading(*good_reading) if good_reading else None, why)
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


def _poll(fields: dict[str, Any]) -> Poll:
    reading = fields.get("reading")
    return codec.known(Poll, {**fields, "reading": Reading(*reading) if reading else None})
