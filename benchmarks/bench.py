"""What the lines of one run share: sizes, a folder, and the histories, each written once."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import history, prometheus
from benchmarks.history import History
from benchmarks.servers import Server

HOUR = 3600.0
SPARE_SECONDS = 4 * HOUR
"""How much older than the longest range a history is, so that many different ranges lie within it."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    providers: int = 30
    tenfold_providers: int = 300
    days: float = 7.0
    """Of history that a start finds."""
    range_seconds: float = 24 * HOUR
    lines: int = 30_000
    counters: int = 30_000
    """Of the gateway that is polled, assessed and written down."""
    hour_polls: int = 240
    fast_polls: int = 330
    """Of the histories that a start with so many counters finds: an hour at 15 s, and a full window at 1 s."""
    sealed_blocks: int = 4
    """Of the history that is weighed on disk, an hour each."""
    rounds: int = 9
    load_seconds: float = 1.2
    """How long a server is asked as fast as it answers, in a round."""
    cold_requests: int = 6
    """Requests for ranges nobody asked for before, in a round."""
    steady_seconds: float = 6.0
    """How long a server is asked at a steady pace, in a round."""
    readings: int = 7
    starts: int = 3


QUICK = Sizes(
    providers=3,
    tenfold_providers=30,
    days=0.05,
    range_seconds=0.5 * HOUR,
    lines=600,
    counters=600,
    hour_polls=3,
    fast_polls=3,
    sealed_blocks=1,
    rounds=1,
    load_seconds=0.2,
    cold_requests=2,
    steady_seconds=2.5,
    readings=2,
    starts=1,
)
"""Only to see that everything runs: the figures mean nothing."""


class Bench:
    """One run."""

    def __init__(self, folder: Path, sizes: Sizes, stack: ExitStack) -> None:
        self.folder = folder
        self.sizes = sizes
        self._stack = stack

    @cached_property
    def history(self) -> History:
        """The full history."""
        return self._write("history", self.sizes.providers, self.sizes.days * 24 * HOUR)

    @cached_property
    def tenfold_history(self) -> History:
        """Ten times the providers, as long as the range that is asked for."""
        seconds = self.sizes.range_seconds + min(HOUR, self.sizes.range_seconds)
        return self._write("tenfold", self.sizes.tenfold_providers, seconds)

    @cached_property
    def prometheus(self) -> Server:
        """A Prometheus with the newest part of the history; it ends with the run."""
        folder = self.new_folder("peer")
        seconds = self.sizes.range_seconds + SPARE_SECONDS
        return self._stack.enter_context(prometheus.serving(folder, self.history, seconds))

    def new_folder(self, name: str) -> Path:
        """An empty folder."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _write(self, name: str, providers: int, seconds: float) -> History:
        folder = self.new_folder(name)
        return history.write(
            folder / "data", providers=providers, seconds=seconds, polled_seconds=min(HOUR, seconds / 4)
        )
