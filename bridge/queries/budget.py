"""What one request may cost, over all its targets and whatever its format: points, names, rows, bytes and time.

It is asked before the work is done. What does not fit is left out, and the answer says so and how to ask for less;
where nothing sensible would be left, the request is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from bridge.queries.admission import Admission
from bridge.queries.targets import TargetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request has to spend."""

    points: int = 500_000
    """Of all series together."""
    name_bytes: int = 4 * 2**20
    """Of what is said of all series beside their points: names, labels, keys."""
    rows: int = 20_000
    """Of all tables together."""
    events: int = 50_000
    """That are read of the log, for one table or one set of annotations."""
    answer_bytes: int = 16 * 2**20
    """Of the answer as it is written, before it is compressed."""
    seconds: float = 2.0
    """Of computing and writing. Time in which others had the processor, or a disk is waited for, does not count."""


LIMITS = Limits()
FEWEST_SHARES = 100
"""Each target that is still to come is left this part of what is taken in turn: so many targets a request may have."""
WRITING_SHARE = 0.3
"""Of the time: it is left for writing down what was computed."""
SERIES_BYTES = 150
"""Of the keys and the unit that each series carries, roughly."""
SELECT = 'ask for fewer by a selector, as {provider="openai"}'
AT_ONCE = 256
"""Rows or names that are written between two looks at the clock."""


class TooMuchError(TargetError):
    """A target of which nothing sensible would be left."""


class Budget:
    """One request's, for the thread that answers it. ``close`` when the answer was sent, or is not going to be."""

    def __init__(self, limits: Limits | None = None, admission: Admission | None = None) -> None:
        self.limits = limits or LIMITS
        self._admission = admission or Admission(self.limits.answer_bytes)
        self._until = time.thread_time() + self.limits.seconds
        self._points = self.limits.points
        self._name_bytes = self.limits.name_bytes
        self._rows = self.limits.rows
        self._bytes = 0
        self._to_come = 0
        self._working = False
        self.ran_out = False
        """True once something was left out because of the time it took: the next time there may be more."""

    # Turns

    def begin(self) -> None:
        """What comes now is expensive: the history is read. Raises BusyError where others keep it waiting too long."""
        if not self._working:
            self._admission.begin()
            self._working = True

    def end(self) -> None:
        """The expensive part is over, and others may begin theirs."""
        if self._working:
            self._working = False
            self._admission.end()

    def close(self) -> None:
        """Nothing of the request is in hand any more."""
        self.end()
        size, self._bytes = self._bytes, 0
        self._admission.release(size)

    # Time

    @property
    def late(self) -> bool:
        """True when no time is left at all."""
        return self._is_past(self._until)

    @property
    def late_to_compute(self) -> bool:
        """True when what is left of the time is for writing down what is there."""
        return self._is_past(self._until - WRITING_SHARE * self.limits.seconds)

    def _is_past(self, at: float) -> bool:
        past = time.thread_time() > at
        self.ran_out = self.ran_out or past
        return past

    def check(self) -> None:
        """Raise TooMuchError when it is too late to compute more."""
        if self.late_to_compute:
            raise self.refusal()

    def refusal(self) -> TooMuchError:
        """What to say of what does not fit any more."""
        over = f"takes longer than {self.limits.seconds:g} s"
        if not self.ran_out:
            over = f"would be answered with more than {self.limits.answer_bytes / 2**20:g} MiB"
        return TooMuchError(
            f"not answered: the request {over}",
            "ask for fewer targets, fewer series or a shorter range in one request",
        )

    # Targets

    def next_target(self, to_come: int) -> None:
        """Another target's turn; ``to_come`` follow after it."""
        self._to_come = to_come

    def names(self, name: Callable[[T], str], labels: Sequence[T], size: Callable[[T], int]) -> list[str]:
        """The names of as many series as there is room for, from the first on, which are spent.

        ``size``: the bytes of a series' labels.
        """
        room = self._name_bytes - self._reserved(self.limits.name_bytes)
        found: list[str] = []
        for one in labels:
            named = name(one)
            needed = SERIES_BYTES + 2 * len(named) + size(one)
            if needed > room or (len(found) % AT_ONCE == AT_ONCE - 1 and self.late_to_compute):
                break
            room -= needed
            self._name_bytes -= needed
            found.append(named)
        if labels and not found:
            self.check()
            raise TooMuchError("the request's series have too long names, together", SELECT)
        return found

    def points_each(self, series: int) -> int:
        """How many points each of so many series of a target may have: all targets that are to come get as many."""
        return max(1, self._points // (self._to_come + 1) // max(1, series))

    def spend_points(self, points: int) -> None:
        """So many points were taken."""
        self._points = max(0, self._points - points)

    def rows(self, wanted: int) -> int:
        """How many of so many rows a table may have; they are spent."""
        given = max(0, min(wanted, self._rows - self._reserved(self.limits.rows)))
        self._rows -= given
        return given

    def _reserved(self, limit: int) -> int:
        return self._to_come * limit // FEWEST_SHARES

    # Bytes

    @property
    def room_bytes(self) -> int:
        """How much more may be written."""
        return self.limits.answer_bytes - self._bytes

    def write(self, size: int, *, whole: bool = False) -> bool:
        """Spend so many bytes of the answer; False where they do not fit, or it has taken too long.

        ``whole``: they are all of the answer, so its time was spent already. Raises BusyError when too many bytes of
        other answers are in hand.
        """
        if size > self.room_bytes or (self.late and not whole):
            return False
        self._admission.hold(size)
        self._bytes += size
        return True

    def written(self, items: Iterable[str]) -> Iterator[str]:
        """The texts for as long as they fit, as UTF-8 with a line break, their bytes spent."""
        remaining = iter(items)
        while some := list(islice(remaining, AT_ONCE)):
            if not self.write(sum(len(one.encode(errors="surrogatepass")) + 2 for one in some)):
                return
            yield from some


def cut(shown: int, of: int, what: str, how: str) -> str:
    """What an answer says that does not show all."""
    return f"only the first {shown:,} of {of:,} {what} are shown: {how}"
