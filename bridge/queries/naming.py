"""What a target's series are called, as many of them as a request has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.queries.budget import SELECT, Budget, cut
from bridge.queries.targets import Target

Labels = Mapping[str, str]


class Named:
    """The names of one target's series, and how many have none as there is no room for them."""

    def __init__(self, target: Target, budget: Budget) -> None:
        self._target = target
        self._budget = budget
        self._of = 0
        self.names: list[str] = []
        self.most_points = 0
        """Of each series, where that is fewer than were asked for."""

    def room(self, labels: Sequence[Labels]) -> int:
        """Name the series with these labels, once: how many there is room for, from the first on.

        Raises TooMuchError where there is none for any.
        """
        self._of = len(labels)
        self.names = self._budget.names(self._target.name, labels, _size)
        return len(self.names)

    @property
    def notices(self) -> tuple[str, ...]:
        """What there is to say of series and points that are left out."""
        shown = len(self.names)
        fewer = (f"at most {self.most_points:,} points of each series are shown: for more, {SELECT}",)
        return *(() if shown == self._of else (cut(shown, self._of, "series", SELECT),)), *fewer[: self.most_points]


def _size(labels: Labels) -> int:
    return sum(map(len, labels)) + sum(map(len, labels.values()))
