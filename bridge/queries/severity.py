"""Which of two values is worse: what a step shows of the many it stands for."""

from __future__ import annotations

import numpy as np

from bridge.history.codec import Floats

CIRCUIT_SEVERITY = (0.0, 2.0, 1.0)
STATUS_SEVERITY = (1.0, 0.0, 2.0, 3.0)


def badness(values: Floats, worst: str) -> Floats:
    """Values turned so that higher is worse; NaN stays. ``worst`` is as in the catalog."""
    if worst in ("circuit", "status"):
        severity = np.array((*(CIRCUIT_SEVERITY if worst == "circuit" else STATUS_SEVERITY), np.nan))
        known = ~np.isnan(values)
        places = np.where(known, values, len(severity) - 1).astype(np.int64)
        turned: Floats = severity[places]
        return turned
    return -values if worst == "low" else values


def worse(one: Floats, other: Floats, worst: str) -> Floats:
    """The worse of each two values; the known one where only one is known."""
    comparable = [np.where(np.isnan(values), -np.inf, badness(values, worst)) for values in (one, other)]
    return np.where(comparable[1] > comparable[0], other, one)


def fleet_badness(counts: Floats) -> Floats:
    """How bad a fleet is at each poll, as one row: fewest healthy, then most down, then most degraded providers.

    ``counts`` has shape (statuses, polls), in the statuses' order.
    """
    unknown, healthy, degraded, down = np.nan_to_num(counts)
    most = 1.0 + float(np.nanmax(unknown + healthy + degraded + down, initial=0.0))
    turned: Floats = -healthy * most * most + down * most + degraded
    return np.where(np.isnan(counts).all(axis=0), np.nan, turned)
