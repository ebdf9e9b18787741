"""Answers as one flat table, for Infinity, spreadsheets and scripts: rows of JSON, or CSV.

Series give a row a point, by time: ``time``, ``target`` (the series' name), ``provider``, ``model``, ``value`` and
``stale``. ``stale`` says of a current value that the data it was to come from is too old to count as now; a recorded
point is as old as its time says. Tables give their own columns. Times are ISO 8601 in UTC with milliseconds, as
``2026-11-21T03:12:05.000Z`` (Infinity's type *Time*). What is not known is null, or an empty cell; every row has the
same keys, and every column one type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

import numpy as np
import orjson
from flask import Request as HttpRequest
from flask import Response

from bridge.queries.answer import Answer, SeriesAnswer
from bridge.queries.budget import SELECT, Budget, cut
from bridge.queries.tables import Cell, Column, Table
from bridge.queries.view import View
from bridge.web import csv_table
from bridge.web.errors import ApiError
from bridge.web.formats import ready_json, with_warning
from bridge.web.tooltips import drawn

FORMATS = ("rows", "csv")
SERIES_COLUMNS = ("time", "target", "provider", "model", "value", "stale")
ROW_CHARACTERS = 60
"""Of a row of JSON or CSV beside what all of its series' rows share, at most: the time, the value, what separates."""


def wanted_format(request: HttpRequest, known: Sequence[str] = ("json", "text", *FORMATS)) -> str:
    """The format a GET asks for, of those there are; the first where it names none. Raises ApiError for another."""
    wanted = request.args.get("format", "").strip().lower() or known[0]
    if wanted not in known:
        raise ApiError(400, f"there is no format {wanted[:40]!r} here", f"formats are {', '.join(known)}")
    return wanted


def response(wanted: str, answers: Sequence[Answer], view: View, budget: Budget, *, current: bool) -> Response:
    """Answers as ``rows`` or ``csv``; what there is to say of them stands in a ``Warning`` header.

    ``current``: the series are the latest values. Raises ApiError for answers that do not fit into one table,
    TooMuchError where there is no room for any row.
    """
    notices = [view.trouble] if view.trouble else []
    notices += [notice for answer in answers for notice in answer.notices]
    notices += [f"{answer.ask.text[:80]}: {answer.error.told}" for answer in answers if answer.error is not None]
    good = [answer for answer in answers if answer.error is None]
    tables = [answer.table for answer in good if answer.table is not None]
    if tables and (len(tables) < len(good) or len({table.columns for table in tables}) > 1):
        raise ApiError(
            400,
            f"{wanted} is one table: series, or tables with the same columns",
            "ask for these targets one by one, or with format=json",
        )
    if tables:
        table = Table(tables[0].name, tables[0].columns, [row for table in tables for row in drawn(table).rows])
        return of_table(wanted, table, budget, notices)
    series = [one for answer in good for one in answer.series]
    shared = _SHARED[wanted](series, [current and _is_stale(one, view) for one in series])
    points = _points(series, shared, budget)
    if points.left_out:
        notices.append(
            f"only the newest {len(points.of):,} rows are answered, {points.left_out:,} earlier ones are not: {SELECT}"
        )
    return with_warning(_as_response(wanted, _SERIES_WRITERS[wanted](points)), notices)


def of_table(wanted: str, table: Table, budget: Budget, notices: Sequence[str] = ()) -> Response:
    """One table as ``rows`` or ``csv``, with what there is to say of it in a ``Warning`` header.

    Raises TooMuchError where there is no room for any row.
    """
    rows = drawn(table).rows
    written = list(budget.written(_TABLE_WRITERS[wanted](table.columns, rows)))
    if rows and not written:
        raise budget.refusal()
    left_out = () if len(written) == len(rows) else (cut(len(written), len(rows), "rows", SELECT),)
    if wanted == "csv":
        body = csv_table.written([column.title for column in table.columns], written)
    else:
        body = "[" + ",".join(written) + "]"
    return with_warning(_as_response(wanted, body), [*notices, *left_out])


def _as_response(wanted: str, body: str) -> Response:
    return Response(body, content_type=csv_table.CONTENT_TYPE) if wanted == "csv" else ready_json(body.encode())


def _is_stale(one: SeriesAnswer, view: View) -> bool:
    """Whether a latest value is too old to count as now. What is known of the gateway does not come from its data."""
    if one.metric.name.startswith("gateway_"):
        return not isfinite(one.series.values[-1])
    return view.stale


# Tables


def _rows_of_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    titles = [column.title for column in columns]
    return (orjson.dumps(dict(zip(titles, _timed(columns, row), strict=True))).decode() for row in rows)


def _csv_of_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    return (csv_table.line(_timed(columns, row)) for row in rows)


def _timed(columns: Sequence[Column], row: Sequence[Cell]) -> list[Cell]:
    """A row with its times as ISO 8601."""
    return [
        _iso(value) if column.type == "time" and isinstance(value, int | float) else value
        for column, value in zip(columns, row, strict=True)
    ]


def _iso(milliseconds: float) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


# Series, of which there may be many points: what the rows of one share is written once


@dataclass(frozen=True, slots=True)
class _Points:
    """The points of some series by time, the newest that there is room for."""

    shared: Sequence[tuple[str, str]]
    """What stands before and behind the value in each row of a series."""
    of: Sequence[int]
    """Which series each point is of."""
    times: Sequence[str]
    values: Sequence[float]
    left_out: int


def _points(series: Sequence[SeriesAnswer], shared: Sequence[tuple[str, str]], budget: Budget) -> _Points:
    """Raises TooMuchError where there is no room for any."""
    budget.check()
    seconds = np.concatenate([np.empty(0), *(one.series.times for one in series)])
    values = np.concatenate([np.empty(0), *(one.series.values for one in series)])
    of = np.repeat(np.arange(len(series)), [len(one.series.times) for one in series])
    order = np.argsort(seconds, kind="stable")
    sizes = np.array([ROW_CHARACTERS + len("".join(one).encode()) for one in shared], dtype=np.int64)
    spent = np.cumsum(sizes[of[order[::-1]]])
    rows = int(np.searchsorted(spent, budget.room_bytes, side="right"))
    newest = order[len(order) - rows :]
    if len(order) and not (rows and budget.write(int(spent[rows - 1]))):
        raise budget.refusal()
    times = np.rint(seconds[newest] * 1000).astype("datetime64[ms]")
    return _Points(
        shared,
        of[newest].tolist(),
        np.datetime_as_string(times).tolist(),
        values[newest].tolist(),
        len(seconds) - len(newest),
    )


def _shared_of_rows(series: Sequence[SeriesAnswer], stale: Sequence[bool]) -> list[tuple[str, str]]:
    shared = []
    for one, its in zip(series, stale, strict=True):
        labels = one.series.labels
        told = {"target": one.name, "provider": labels.get("provider"), "model": labels.get("model")}
        shared.append(('Z",' + orjson.dumps(told).decode()[1:-1] + ',"value":', f',"stale":{_word(its)}}}'))
    return shared


def _shared_of_csv(series: Sequence[SeriesAnswer], stale: Sequence[bool]) -> list[tuple[str, str]]:
    shared = []
    for one, its in zip(series, stale, strict=True):
        named = csv_table.line([one.name, one.series.labels.get("provider"), one.series.labels.get("model")])
        shared.append((f"Z,{named},", f",{_word(its)}"))
    return shared


def _rows_of_series(points: _Points) -> str:
    shared = points.shared
    rows = [
        '{"time":"' + time + shared[of][0] + (repr(value) if isfinite(value) else "null") + shared[of][1]
        for time, of, value in zip(points.times, points.of, points.values, strict=True)
    ]
    return "[" + ",".join(rows) + "]"


def _csv_of_series(points: _Points) -> str:
    shared = points.shared
    lines = [
        time + shared[of][0] + csv_table.number_cell(value) + shared[of][1]
        for time, of, value in zip(points.times, points.of, points.values, strict=True)
    ]
    return csv_table.written(SERIES_COLUMNS, lines)


def _word(stale: bool) -> str:
    return "true" if stale else "false"


_TABLE_WRITERS: dict[str, Callable[[Sequence[Column], Sequence[Sequence[Cell]]], Iterator[str]]] = {
    "rows": _rows_of_table,
    "csv": _csv_of_table,
}
_SHARED: dict[str, Callable[[Sequence[SeriesAnswer], Sequence[bool]], list[tuple[str, str]]]] = {
    "rows": _shared_of_rows,
    "csv": _shared_of_csv,
}
_SERIES_WRITERS: dict[str, Callable[[_Points], str]] = {"rows": _rows_of_series, "csv": _csv_of_series}
