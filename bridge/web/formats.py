"""Answers as responses: JSON in Simple JSON's shapes, plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from flask import Response

from bridge.queries.answer import Answer, SeriesAnswer
from bridge.queries.series import Recorded, Series
from bridge.queries.tables import Table
from bridge.web.compression import is_compressed
from bridge.web.text import printable
from bridge.web.tooltips import drawn

MAX_WARNING_CHARACTERS = 500
MAX_NAME_CHARACTERS = 80
"""Of a target that cannot be answered, before what is wrong with it."""


def json_bytes(body: Any) -> bytes:
    """JSON without NaN: what is not a number is null."""
    return orjson.dumps(body)


def ready_json(body: bytes, *, status: int = 200) -> Response:
    """JSON that is written already, and maybe compressed."""
    response = Response(body, status=status, mimetype="application/json")
    if is_compressed(body):
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def json_response(body: Any, *, status: int = 200) -> Response:
    """A body as JSON."""
    return ready_json(json_bytes(body), status=status)


def text_response(text: str, *, status: int = 200) -> Response:
    """Plain text, UTF-8."""
    return Response(text, status=status, mimetype="text/plain")


def warned(response: Response, recorded: Recorded | None) -> Response:
    """The response, with a ``Warning`` header where a remote history did not answer all that was asked of it."""
    return with_warning(response, () if recorded is None else recorded.troubles)


def with_warning(response: Response, notices: Sequence[str]) -> Response:
    """The response, with what there is to say of it in a ``Warning`` header."""
    if notices:
        said = printable("; ".join(dict.fromkeys(notices))[:MAX_WARNING_CHARACTERS])
        plain = said.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        response.headers["Warning"] = f'199 - "{plain}"'
    return response


def simple_json(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Answers as Grafana's Simple JSON datasource takes them: series and tables in one array."""
    body: list[dict[str, Any]] = []
    for answer in answers:
        common: dict[str, Any] = {} if answer.ask.ref_id is None else {"refId": answer.ask.ref_id}
        notices = [{"severity": "error", "text": answer.error.told}] if answer.error else []
        if answer.notices:
            notices.append({"severity": "warning", "text": "; ".join(answer.notices)})
        meta: dict[str, Any] = {"notices": notices} if notices else {}
        if answer.table is not None and answer.table.tooltips and not answer.ask.annotation:
            meta["dataTopic"] = "annotations"  # Grafana draws it over the panel's series
        if meta:
            common["meta"] = meta
        if answer.table is not None:
            body.append(_json_table(answer.table) | common)
        elif answer.error is not None:
            empty = {"type": "table", "columns": [], "rows": []} if answer.ask.as_table else {"datapoints": []}
            said = f"{answer.ask.text[:MAX_NAME_CHARACTERS]}: {answer.error.told}"  # not every Grafana shows notices
            body.append({"target": said, "title": said} | empty | common)
        else:
            body.extend(_json_series(series) | common | _told_of(series, notices) for series in answer.series)
    return body


def _told_of(answer: SeriesAnswer, notices: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What is to be known of one series alone, beside what holds for all."""
    notice = answer.series.notice
    return {"meta": {"notices": [*notices, {"severity": "info", "text": notice}]}} if notice else {}


def _json_series(answer: SeriesAnswer) -> dict[str, Any]:
    return {
        "target": answer.name,
        "title": answer.name,
        "tags": dict(answer.series.labels),
        "unit": answer.metric.unit,
        "datapoints": _datapoints(answer.series),
    }


def _datapoints(series: Series) -> orjson.Fragment:
    """``[[value, epoch milliseconds], …]``; NaN is null."""
    milliseconds = np.rint(series.times * 1000).astype(np.int64)
    # Quicker than an array of both: that has one type, so times would be written as floats and cut afterwards.
    return orjson.Fragment(orjson.dumps(list(zip(series.values.tolist(), milliseconds.tolist(), strict=True))))


def _json_table(table: Table) -> dict[str, Any]:
    columns = []
    for column in table.columns:
        described = {"text": column.title, "type": column.type}
        if column.unit:
            described["unit"] = column.unit
        if column.title == "Value":
            described["displayName"] = column.title  # Grafana would call it by the table's name
        columns.append(described)
    return {"type": "table", "name": table.name, "columns": columns, "rows": drawn(table).rows}
