"""Answers as Grafana's Simple JSON datasource takes them: an array with an item a series or table.

Each item is written once, as JSON, and what there is to say of the moment (the gateway is unreachable, since when) is
put to it afterwards: so it can be kept, and be given with what is to be said then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from bridge.queries.answer import Answer
from bridge.queries.budget import AT_ONCE, SELECT, Budget, TooMuchError, cut
from bridge.queries.series import Series
from bridge.queries.tables import Table
from bridge.web.tooltips import drawn

MAX_NAME_CHARACTERS = 80
"""Of a target that cannot be answered, before what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One series or table."""

    json: bytes
    """All of it but its ``meta`` and the closing brace."""
    error: str = ""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    drawn: bool = False
    """Grafana draws it over the panel's series."""


def items(answers: Sequence[Answer], budget: Budget) -> list[Item]:
    """The items of all answers, as far as ``budget`` goes. Raises TooMuchError where it does not go anywhere."""
    found: list[Item] = []
    refused: TooMuchError | None = None
    for answer in answers:
        try:
            found += _items(answer, budget)
        except TooMuchError as error:
            refused = error
            found.append(_failed(Answer(answer.ask, error=error)))
    if refused is not None and all(item.error for item in found):
        raise refused
    return found


def written(items: Sequence[Item], trouble: str = "") -> bytes:
    """The array, each item with what there is to say of it; ``trouble`` holds for all of them."""
    parts = [b"["]
    for number, item in enumerate(items):
        parts += (b"," if number else b"", item.json, _meta(item, trouble), b"}")
    return b"".join([*parts, b"]"])


def size(items: Sequence[Item]) -> int:
    """What they take, in bytes."""
    return sum(len(item.json) for item in items)


def _meta(item: Item, trouble: str) -> bytes:
    """One merged text a severity."""
    warnings = (trouble, *item.warnings) if trouble else item.warnings
    told = (("error", (item.error,) if item.error else ()), ("warning", warnings), ("info", item.infos))
    notices = [{"severity": severity, "text": "; ".join(texts)} for severity, texts in told if texts]
    meta: dict[str, Any] = {"notices": notices} if notices else {}
    if item.drawn:
        meta["dataTopic"] = "annotations"
    return b',"meta":' + orjson.dumps(meta) if meta else b""


def _items(answer: Answer, budget: Budget) -> list[Item]:
    if answer.error is not None:
        return [_failed(answer)]
    if answer.table is not None:
        return [_table_item(answer, answer.table, budget)]
    heads = list(_series_items(answer, budget))
    warnings = tuple(answer.notices)
    if len(heads) < len(answer.series):
        if not heads:
            raise budget.refusal()
        warnings = (*warnings, cut(len(heads), len(answer.series), "series", SELECT))
    return [
        Item(json, "", warnings, (one.series.notice,) if one.series.notice else ())
        for json, one in zip(heads, answer.series, strict=False)
    ]


def _series_items(answer: Answer, budget: Budget) -> Iterator[bytes]:
    for one in answer.series:
        described = {"target": one.name, "title": one.name, "tags": one.series.labels, "unit": one.metric.unit}
        points = datapoints(one.series)
        # Joined at once: orjson's own bytes take up to eight times as much memory as they are long.
        json = orjson.dumps(described | _ref_id(answer))[:-1] + b',"datapoints":' + points
        if not budget.write(len(json)):
            return
        yield json


def _table_item(answer: Answer, table: Table, budget: Budget) -> Item:
    columns = []
    for column in table.columns:
        described = {"text": column.title, "type": column.type}
        if column.unit:
            described["unit"] = column.unit
        if column.title == "Value":
            described["displayName"] = column.title  # Grafana would call it by the table's name
        columns.append(described)
    rows = drawn(table).rows
    parts = list(_parts(rows, budget))
    shown = min(len(rows), AT_ONCE * len(parts))
    if rows and not shown:
        raise budget.refusal()
    left_out = () if shown == len(rows) else (cut(shown, len(rows), "rows", SELECT),)
    head = orjson.dumps({"type": "table", "name": table.name, "columns": columns} | _ref_id(answer))
    return Item(
        head[:-1] + b',"rows":[' + b",".join(parts) + b"]",
        warnings=(*answer.notices, *left_out),
        drawn=table.tooltips and not answer.ask.annotation,
    )


def _parts(rows: Sequence[object], budget: Budget) -> Iterator[bytes]:
    """The rows, some at a time, as JSON without the brackets around them, for as long as they fit."""
    for first in range(0, len(rows), AT_ONCE):
        part = orjson.dumps(rows[first : first + AT_ONCE])[1:-1]
        if not budget.write(len(part) + 1):
            return
        yield part


def _failed(answer: Answer) -> Item:
    told = answer.error.told if answer.error is not None else ""
    empty: dict[str, Any] = {"datapoints": []}
    if answer.ask.as_table:
        empty = {"type": "table", "columns": [], "rows": []}
    said = f"{answer.ask.text[:MAX_NAME_CHARACTERS]}: {told}"  # not every Grafana shows notices
    return Item(
        orjson.dumps({"target": said, "title": said} | empty | _ref_id(answer))[:-1], told, tuple(answer.notices)
    )


def _ref_id(answer: Answer) -> dict[str, Any]:
    return {} if answer.ask.ref_id is None else {"refId": answer.ask.ref_id}


def datapoints(series: Series) -> bytes:
    """``[[value, epoch milliseconds], …]``; NaN is null."""
    milliseconds = np.rint(series.times * 1000).astype(np.int64)
    # Quicker than an array of both: that has one type, so times would be written as floats and cut afterwards.
    return orjson.dumps(list(zip(series.values.tolist(), milliseconds.tolist(), strict=True)))
