"""Where gunicorn's workers write what they count, so that each of them can tell the sum.

``PROMETHEUS_MULTIPROC_DIR`` names a directory with a file for each worker (and for the process that polls) and kind of
metric, as prometheus_client makes them. When one of them ends, what it counted is folded into one file of all that
have ended: no sum ever falls, and the files stay few.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

KINDS = ("counter", "histogram")
"""What there are files of: ``counter_<pid>.db``."""
ENDED = "ended"
"""Stands for the pid in the name of the file of all workers that have ended."""
OWNER = "owner"
"""The file whose lock the service holds."""
RESERVED_BYTES = 256 * 1024
"""Room that a file has from the beginning: it is mapped, and to find its disk full then would kill the process."""


class WorkerFiles(NamedTuple):
    """The metrics of all workers; with no ``folder``, those of this process, which is alone."""

    registry: CollectorRegistry
    folder: Path | None

    @classmethod
    def find(cls, own: CollectorRegistry) -> WorkerFiles:
        """All workers' metrics, where they share a directory, else ``own``."""
        shared = CollectorRegistry()
        try:
            collector = MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        except ValueError:  # there is no such directory
            return cls(own, None)
        return cls(shared, Path(collector._path))

    def text(self) -> bytes:
        """The sums as an exposition. No worker is counted twice, or not at all, because it ends just now."""
        if self.folder is None:
            return generate_latest(self.registry)
        with _locked(self.folder, fcntl.LOCK_SH):
            return generate_latest(self.registry)


def hold(folder: Path) -> int:
    """Keep others from taking the directory for one that was left behind, until every process of the service ended.

    The descriptor is to stay open. Raises OSError.
    """
    owner = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(owner, fcntl.LOCK_SH)
    return owner


def remove_left_behind(parent: Path, prefix: str) -> None:
    """Take away directories of services that were killed: theirs is what is held by no process any more."""
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # another user's, or just being made
            owner = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(owner)


def ended(folder: Path) -> set[int]:
    """The pids of processes that have left files and are no more."""
    pids = {int(pid) for file in folder.glob("*.db") if (pid := file.stem.rpartition("_")[2]).isdecimal()}
    return {pid for pid in pids if not _lives(pid)}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError):  # one that nobody has asked how it ended counts no more
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def fold(folder: Path, ended: Collection[int]) -> None:
    """Fold the files of workers that have ended (their pids) into one of each kind.

    Raises BlockingIOError while somebody reads: the files stay as they are, to be folded some other time.
    """
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        for kind in KINDS:
            all_ended = folder / f"{kind}_{ENDED}.db"
            files = [file for pid in ended if (file := folder / f"{kind}_{pid}.db").exists()]
            if files:
                _add_up([*files, *([all_ended] if all_ended.exists() else [])], all_ended)
                for file in files:
                    file.unlink()


def _add_up(files: Collection[Path], into: Path) -> None:
    """Write every value's sum over the files ``into`` one, which may be among them."""
    sums: defaultdict[str, float] = defaultdict(float)
    for file in files:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            sums[key] += value
    new = into.with_suffix(".new")
    new.unlink(missing_ok=True)
    _reserve(new, max(RESERVED_BYTES, *(file.stat().st_size for file in files)))
    written = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    new.rename(into)


@contextmanager
def making() -> Iterator[None]:
    """To be held while this worker makes its files: nobody may read one that is there and not yet laid out.

    Raises OSError when there is no room for them.
    """
    found = WorkerFiles.find(CollectorRegistry())
    if found.folder is None:
        yield
        return
    with _locked(found.folder, fcntl.LOCK_EX):
        for kind in KINDS:
            _reserve(found.folder / f"{kind}_{os.getpid()}.db", RESERVED_BYTES)
        yield


def _reserve(file: Path, size: int) -> None:
    """Make a file of zeros, which is one without values, if there is none. Raises OSError when there is no room."""
    if file.exists():
        return
    new = file.with_suffix(".reserved")
    try:
        new.write_bytes(bytes(size))
        new.rename(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the folder's lock; the kernel gives it back if the process dies."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)
