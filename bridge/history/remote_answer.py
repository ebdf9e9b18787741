"""What a Prometheus-compatible API answers, as arrays; whatever is no such answer is an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from bridge.gateway.errors import one_line
from bridge.history.codec import Floats

MAX_WARNINGS = 3
MAX_VALUES = 1_000_000
"""An answer of the largest size that is read has fewer, unless it was made to take hundreds of times its bytes."""


class RemoteHistoryError(Exception):
    """No answer from the remote history. ``str()`` is one printable line of bounded length."""

    def __init__(self, message: str, *, of_question: bool = False) -> None:
        super().__init__(one_line(message))
        self.of_question = of_question
        """True when the question is to blame, and another may well be answered."""


MAX_SERIES = 20_000


@dataclass(frozen=True, slots=True)
class RemoteSeries:
    """One series: all its labels, times (epoch seconds, rising) and as many values, NaN for what is not known."""

    labels: Mapping[str, str]
    times: Floats
    values: Floats

    @property
    def nbytes(self) -> int:
        """What it weighs, roughly."""
        labels = sum(200 + len(name) + len(value) for name, value in self.labels.items())
        return 512 + labels + self.times.nbytes + self.values.nbytes


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """What a question brought. ``warnings`` say what may be missing from it."""

    series: Sequence[RemoteSeries]
    warnings: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """What it weighs, roughly."""
        return 512 + sum(one.nbytes for one in self.series)


def read_answer(body: bytes) -> RemoteAnswer:
    """An answer of the API. Raises RemoteHistoryError for what is none."""
    if body.count(b",") > MAX_VALUES:
        raise RemoteHistoryError(f"its answer has more than {MAX_VALUES} values; ask for less", of_question=True)
    if body.count(b"{") > 4 * MAX_SERIES:  # a series has two objects
        raise _too_many_series()
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RemoteHistoryError("its answer is not JSON; is HISTORY_URL the base of a Prometheus API?") from None
    try:
        if answer["status"] != "success":
            raise RemoteHistoryError(f"it answered {answer['status']}: {answer.get('error')}", of_question=True)
        warnings = tuple(one_line(str(said)) for said in (answer.get("warnings") or ())[:MAX_WARNINGS])
        data = answer["data"]
        if isinstance(data, list):
            _refuse_many(data)
            return RemoteAnswer([RemoteSeries(_labels(one), np.empty(0), np.empty(0)) for one in data], warnings)
        if data["resultType"] != "matrix":
            raise RemoteHistoryError(f"it answered with a {one_line(str(data['resultType']), 40)}, not with series")
        _refuse_many(data["result"])
        return RemoteAnswer([_series(one) for one in data["result"]], warnings)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise RemoteHistoryError("its answer is JSON, but not that of a Prometheus API") from None


def _refuse_many(series: Sequence[object]) -> None:
    if len(series) > MAX_SERIES:
        raise _too_many_series()


def _too_many_series() -> RemoteHistoryError:
    return RemoteHistoryError(f"its answer has more than {MAX_SERIES} series; ask for fewer", of_question=True)


def _labels(labels: Any) -> dict[str, str]:
    if not all(isinstance(value, str) for value in labels.values()):
        raise ValueError("labels are texts")
    return dict(labels)


def _series(one: Any) -> RemoteSeries:
    points = one["values"]
    # Values are texts, so that they can say NaN and +Inf; neither is known.
    array = np.array([(at, value) for at, value in points], dtype=np.float64).reshape(-1, 2)
    times, values = array[:, 0].copy(), array[:, 1].copy()
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError("times are finite, and rise")
    values[~np.isfinite(values)] = math.nan
    return RemoteSeries(_labels(one["metric"]), times, values)
