"""A log in memory, and ranges asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bridge.history.codec import poll_numbers
from bridge.history.columns import Columns
from bridge.history.segment import PollRow
from bridge.history.store import Latest
from bridge.model import Poll, Snapshot, Status
from bridge.queries.catalog import metric
from bridge.queries.series import Recorded, Series, Steps
from bridge.queries.targets import parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, columns_of, poll_row, snapshot, verdict
from tests.queries import contract_6

SCORE, ERRORS, STATE = "provider_health_score", "provider_error_rate", "provider_circuit_breaker_state"


@dataclass
class Log:
    """All that a range reads of a store."""

    rows: list[PollRow] = field(default_factory=list)
    snapshots: dict[float, Snapshot] = field(default_factory=dict)

    def polls(self, start: float, end: float) -> list[PollRow]:
        return [row for row in self.rows if start <= row.at <= end]

    def columns(self, start: float, end: float, now: float | None = None) -> Columns:
        return columns_of(self.polls(start, end))

    def last_good_before(self, at: float) -> float | None:
        return max((row.at for row in self.rows if row.good and row.at < at), default=None)

    def add(self, at: float, interval: float = INTERVAL, **values: float | None) -> None:
        """A good poll in which openai had these values (score, error_rate…)."""
        status = values.pop("status", None)
        self.good(
            snapshot(at, [verdict("openai", Status.HEALTHY if status is None else Status(status), **values)]), interval
        )

    def add_many(self, at: float, statuses: Sequence[Status]) -> None:
        """A good poll in which p0, p1… had these statuses."""
        self.good(snapshot(at, [verdict(f"p{number}", status) for number, status in enumerate(statuses)]))

    def good(self, one: Snapshot, interval: float = INTERVAL) -> None:
        self.snapshots[one.at] = one
        self.rows.append(poll_row(one.at, interval, "ok", 0.1, *poll_numbers(one)))

    def fail(self, at: float, interval: float = INTERVAL) -> None:
        self.rows.append(poll_row(at, interval, "refused", 0.5, None, None))

    def poll(self, one: contract_6.Poll, name: str) -> None:
        """A poll as the reference has it, with the value of this metric."""
        if one.good:
            self.add(one.at, one.interval, **{name.removeprefix("provider_"): one.value})
        else:
            self.fail(one.at, one.interval)


class LogView(View):
    """What is known at a time."""

    log: Log

    def interval(self, span: contract_6.Range) -> float:
        """The usual interval of a range."""
        return median(row.interval for row in self.log.polls(span.start, span.last) if row.good)


def view_of(log: Log, now: float, stale_after: float = 3 * INTERVAL) -> LogView:
    rows = [row for row in log.rows if row.at <= now]
    good = [row for row in rows if row.good]
    latest = None
    if rows:
        last = rows[-1]
        failing = [row.at for row in rows if not good or row.at > good[-1].at]
        poll = Poll(last.at, last.interval, "ok" if last.good else "refused", "", 0.1)
        latest = Latest(len(rows), poll, log.snapshots[good[-1].at] if good else None, failing[0] if failing else None)
    view = LogView(now, latest, stale_after)
    object.__setattr__(view, "log", log)
    return view


def asked(
    log: Log,
    name: str,
    *,
    start: float = T0,
    end: float = T0 + 86_400,
    now: float | None = None,
    max_points: int | None = 1000,
    interval: float = 0.0,
    target: str = "",
    stale_after: float = 3 * INTERVAL,
) -> list[Series]:
    """A metric's series over a range."""
    view = view_of(log, end if now is None else now, stale_after)
    recorded = Recorded(log, view, TimeRange(start, end), Steps(max_points, interval))  # type: ignore[arg-type]
    return recorded.series(metric(name), parse(target or name), [])


def points(log: Log, name: str, **more: Any) -> list[tuple[float | None, float]]:
    """The points of the one series there is, times counted from T0."""
    [series] = asked(log, name, **more)
    return [(value, round(at - T0, 6)) for value, at in series.points]


def scored(*scores: float | str | None, every: float = INTERVAL) -> Log:
    """A log of a poll every so many seconds, with these scores; ``"failed"`` is a failed one, ``"missed"`` none."""
    log = Log()
    for number, score in enumerate(scores):
        at = T0 + every * number
        if score == "failed":
            log.fail(at, every)
        elif not isinstance(score, str):
            log.add(at, every, health_score=score)
    return log
