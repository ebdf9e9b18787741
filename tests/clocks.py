"""Clocks for tests. One that stands still between two readings hides mistakes: these go on at every reading."""

from __future__ import annotations


class Ticking:
    """A clock that moves at every reading, by ``step`` seconds; ``now`` can be set, as a machine's clock can."""

    def __init__(self, start: float, step: float = 0.001) -> None:
        self.now = start
        self.step = step

    def __call__(self) -> float:
        """The time. The next reading is later."""
        read = self.now
        self.now += self.step
        return read

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
