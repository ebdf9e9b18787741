"""Questions to a Prometheus-compatible API, as text.

They are made of metric names, checked matchers and numbers, never of what a user typed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OPERATORS = frozenset({"=", "!=", "=~", "!~"})
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

WORST = {
    "low": "min_over_time({})",
    "high": "max_over_time({})",
    # OPEN (1) is worse than HALF_OPEN (2), which is worse than CLOSED (0). Of the numbers 0, 1 and 2 the sum of 2x - x²
    # counts the ones, and both sums follow from average, variance and count: no sample is missed, as by a subquery's
    # steps. Where there is no OPEN, the highest number is the worst.
    "circuit": (
        "((2 * avg_over_time({0}) - stdvar_over_time({0}) - avg_over_time({0}) ^ 2) * count_over_time({0})"
        " > 0.5) * 0 + 1 or max_over_time({0})"
    ),
    # Down (3) and degraded (2) are worse than unknown (0), which is worse than healthy (1).
    "status": "max_over_time({0}) >= 2 or min_over_time({0})",
}
"""For each kind of metric (as the catalog calls it), the worst of a stretch of samples."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Series of one metric. ``matchers`` are label, operator (Prometheus' own four) and value.

    Raises ValueError for a name or an operator that is none.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        fine = _METRIC.fullmatch(self.metric) and all(
            _LABEL.fullmatch(label) and operator in OPERATORS for label, operator, _ in self.matchers
        )
        if not fine:
            raise ValueError("not a selector: a name or an operator in it is none")

    def __str__(self) -> str:
        """As PromQL."""
        return (
            self.metric
            + "{"
            + ",".join(f'{label}{op}"{_value(op, value)}"' for label, op, value in self.matchers)
            + "}"
        )


def samples(selector: Selector, milliseconds: int) -> str:
    """The samples themselves, of the last so many milliseconds."""
    return f"{selector}[{milliseconds}ms]"


def worst(selector: Selector, kind: str, seconds: int) -> str:
    """The worst of the last so many seconds; ``kind`` is a key of ``WORST``."""
    return WORST[kind].format(f"{selector}[{seconds}s]")


def _value(operator: str, value: str) -> str:
    if operator in ("=~", "!~") and "." in value:
        value = f"(?s:{value})"  # a dot matches line breaks too, here as in Prometheus 3
    return value.translate(_ESCAPES)
