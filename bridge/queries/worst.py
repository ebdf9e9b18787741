"""The worst few of some series, for panels that have room for a few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.model import Status
from bridge.queries.catalog import Metric
from bridge.queries.series import Series
from bridge.queries.severity import badness
from bridge.queries.targets import TargetError


def worst(count: int, series: Sequence[Series], metric: Metric) -> list[Series]:
    """The ``count`` series that are worst at the range's end, the worst first.

    Those that are not known then (a status: 0) come last; of equals those first whose provider, then model, does by
    name. Raises TargetError for a metric whose values are not good or bad in themselves.
    """
    if not metric.has_worst:
        raise TargetError(f"{metric.name} has no worst: more of it is neither better nor worse", "ask for all of it")
    last = np.array([one.values[-1] if len(one.values) else np.nan for one in series], dtype=np.float64)
    if metric.worst == "status":
        last = np.where(last == Status.UNKNOWN, np.nan, last)
    ranks = np.nan_to_num(-badness(last, metric.worst), nan=np.inf)
    order = sorted(range(len(series)), key=lambda place: (ranks[place], *series[place].labels.values()))
    return [series[place] for place in order[:count]]
