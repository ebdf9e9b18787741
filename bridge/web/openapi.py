"""Every route of the service, declared once: for ``/openapi.json``, and for people in ``/help``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.web.errors import CODES
from bridge.web.rows import FORMATS

Schema = Mapping[str, Any]
JSON, TEXT, HTML, CSV = "application/json", "text/plain", "text/html", "text/csv"
STRING: Schema = {"type": "string"}


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_POINT: Schema = {
    "type": "array",
    "prefixItems": [{"type": ["number", "null"]}, {"type": "integer", "description": "epoch milliseconds"}],
    "minItems": 2,
    "maxItems": 2,
}
_ROW: Schema = {
    "type": "object",
    "description": "One row of the flat table, all with the same keys.",
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}
_SERIES = _object("target", "datapoints", target=STRING, title=STRING, datapoints=_list(_POINT))
_TABLE = _object(
    "type", "columns", "rows", type={"const": "table"}, columns=_list({"type": "object"}), rows=_list({"type": "array"})
)
_EVENT = _object(
    *("id", "time", "timeEnd", "isRegion", "title", "text", "tags", "newState"),
    time={"type": "integer"},
    timeEnd={"type": "integer"},
    isRegion={"type": "boolean"},
    title=STRING,
    text=STRING,
    tags=_list(STRING),
    newState=STRING,
)
_ERROR = _object(
    *("message", "hint", "error"),
    message=STRING,
    hint=STRING,
    error=_object("code", "message", code=STRING, message=STRING),
)
SCHEMAS: Mapping[str, Schema] = {
    "Series": _SERIES,
    "Table": _TABLE,
    "Row": _ROW,
    "Event": _EVENT,
    "Error": _ERROR,
}


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_ANSWERS = {"anyOf": [_list({"anyOf": [_of("Series"), _of("Table")]}), _list(_of("Row"))]}
_ONE_TABLE = {"anyOf": [_of("Table"), _list(_of("Row"))]}
_EVENTS = {"anyOf": [_list(_of("Event")), _list(_of("Row"))]}


@dataclass(frozen=True, slots=True)
class Parameter:
    """What stands in a URL: in its query, or as ``path``."""

    name: str
    meaning: str
    schema: Schema
    where: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route: what it takes, and what it answers."""

    method: str
    path: str
    summary: str
    answers: Mapping[str, Schema]
    """What a 200 comes as, by content type."""
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    errors: tuple[int, ...] = ()
    """Statuses beside 200 and those of a missing credential."""


_TARGETS = Parameter(
    "target", "what to ask for, as provider_health_score or circuits; may be repeated", _list(STRING), required=True
)
_FROM = Parameter("from", "begin of the range: now-6h, ISO 8601 or epoch milliseconds; without one, as of now", STRING)
_TO = Parameter("to", "end of the range, as from", STRING)
_MAX_POINTS = Parameter("maxDataPoints", "points of a series at most", {"type": "integer", "minimum": 1})
_INTERVAL = Parameter("intervalMs", "spacing of the points that is wanted", {"type": "integer", "minimum": 0})
_TYPE = Parameter("type", "table: one row a series, as of now", {"enum": ["table", "timeserie"]})
_FORMAT = Parameter("format", "how to answer", {"enum": ["json", "text", *FORMATS]})
_BOARD_FORMAT = Parameter("format", "how to answer", {"enum": ["json", "text"]})
_NAME = Parameter("name", "a provider's name", {"type": "string", "minLength": 1}, "path", required=True)
_FILE = Parameter("name", "a file's name", {"type": "string", "pattern": "^[a-z.]+$"}, "path", required=True)
_TEXTS = {TEXT: STRING, CSV: STRING}
_RANGE = _object(**{"from": {"type": ["string", "number"]}, "to": {"type": ["string", "number"]}})
_ASKED = _object(target=STRING, type=STRING, refId=STRING, payload={"type": ["object", "string"]})
_QUERY = _object("targets", targets=_list(_ASKED), range=_RANGE, maxDataPoints={"type": "integer", "minimum": 1})
_READ = (400, 413, 415)
"""What a body can be wrong by."""
_BUSY = (422, 429, 503)
"""Over the budget of a request, others are being computed, and a history that cannot be read."""

OPERATIONS = (
    Operation(
        "GET",
        "/",
        "the status board, a page in a browser, the summary as JSON",
        {TEXT: STRING, HTML: STRING, JSON: _object("status", "message", "gateway", "providers")},
        (_BOARD_FORMAT,),
        errors=(400,),
    ),
    Operation(
        "GET",
        "/providers",
        "the table of providers, worst first",
        {JSON: _ONE_TABLE, HTML: STRING, **_TEXTS},
        (_FORMAT,),
        errors=(400,),
    ),
    Operation(
        "GET",
        "/providers/{name}",
        "each number behind one provider's verdict",
        {JSON: _ONE_TABLE, HTML: STRING, **_TEXTS},
        (_NAME, _FORMAT),
        errors=(400, 404, 503),
    ),
    Operation(
        "GET",
        "/incidents",
        "incidents of a range (the last 7 days without one), newest first",
        {JSON: _ONE_TABLE, HTML: STRING, **_TEXTS},
        (_FROM, _TO, _FORMAT),
        errors=(400,),
    ),
    Operation(
        "GET",
        "/query",
        "series and tables by URL, for curl and Infinity",
        {JSON: _ANSWERS, **_TEXTS},
        (_TARGETS, _FROM, _TO, _MAX_POINTS, _INTERVAL, _TYPE, _FORMAT),
        errors=(400, *_BUSY),
    ),
    Operation(
        "POST",
        "/query",
        "series and tables, for Grafana's panels",
        {JSON: _list({"anyOf": [_of("Series"), _of("Table")]})},
        body=_QUERY,
        errors=(*_READ, *_BUSY),
    ),
    Operation(
        "GET",
        "/annotations",
        "what happened in the range, by URL",
        {JSON: _EVENTS, **_TEXTS},
        (Parameter("query", "which kinds, as circuit,gateway or all", STRING), _FROM, _TO, _FORMAT),
        errors=(400, *_BUSY),
    ),
    Operation(
        "POST",
        "/annotations",
        "what happened in the range, drawn over panels",
        {JSON: _list(_of("Event"))},
        body=_object(range=_RANGE, annotation={"type": ["object", "string"]}),
        errors=(*_READ, *_BUSY),
    ),
    Operation(
        "POST",
        "/search",
        "names for a query editor, or a variable's values",
        {JSON: _list(STRING)},
        body=_object(target=STRING),
        errors=_READ,
    ),
    Operation(
        "POST",
        "/tag-keys",
        "labels for ad-hoc filters",
        {JSON: _list(_object("type", "text", text=STRING))},
        body=_object(),
        errors=_READ,
    ),
    Operation(
        "POST",
        "/tag-values",
        "a label's values",
        {JSON: _list(_object("text", text=STRING))},
        body=_object(key=STRING),
        errors=_READ,
    ),
    Operation(
        "POST",
        "/metrics",
        "simPod's query builder: every metric and table",
        {JSON: _list(_object("value", "label", "payloads", value=STRING, label=STRING, payloads={"type": "array"}))},
        body=_object(metric=STRING),
        errors=_READ,
    ),
    Operation(
        "POST",
        "/metric-payload-options",
        "simPod's query builder: what a drop-down offers",
        {JSON: _list(_object("label", "value", label=STRING, value=STRING))},
        body=_object(metric=STRING, name=STRING, payload={"type": ["object", "string"]}),
        errors=_READ,
    ),
    Operation(
        "POST",
        "/variable",
        "simPod's variables",
        {JSON: _list(_object("__text", "__value", __text=STRING, __value=STRING))},
        body=_object(payload={"type": ["object", "string"]}),
        errors=_READ,
    ),
    Operation("GET", "/metrics", "all of it, and the bridge's own numbers, for Prometheus", {TEXT: STRING}),
    Operation(
        "GET", "/health", "liveness: 200 while the process serves", {JSON: _object("status", status={"const": "ok"})}
    ),
    Operation(
        "GET",
        "/ready",
        "readiness: 503, with the reason, until there is a poll that is not stale",
        {JSON: _object("status", "data_age_seconds", status={"const": "ready"})},
        errors=(503,),
    ),
    Operation("GET", "/help", "what can be asked, for people", {TEXT: STRING}),
    Operation("GET", "/openapi.json", "the same for programs", {JSON: _object("openapi", "paths")}),
    Operation(
        "GET",
        "/static/{name}",
        "the pages' style sheet and script",
        {"text/css": STRING, "text/javascript": STRING},
        (_FILE,),
        errors=(404,),
    ),
)
"""Every route; each also stands below ``/api``."""
PREFIXES = ("", "/api")


def document() -> dict[str, Any]:
    """The service as OpenAPI 3.1 describes one."""
    paths: dict[str, dict[str, Any]] = {}
    for prefix in PREFIXES:
        for one in OPERATIONS:
            paths.setdefault(prefix + one.path, {})[one.method.lower()] = _described(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Provider Health Bridge",
            "version": "1",
            "description": "Every route only reads. Where a credential is set, all but /health ask for it.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _described(one: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": one.summary,
        "responses": {"200": _response(one.summary, one.answers)},
        "parameters": [
            {"name": it.name, "in": it.where, "description": it.meaning, "required": it.required, "schema": it.schema}
            for it in one.parameters
        ],
    }
    by_get = one.method == "GET"
    shown = {JSON: _of("Error"), TEXT: STRING, HTML: STRING} if by_get else {JSON: _of("Error")}
    refused = () if one.path == "/health" else (401, 403) if by_get else (403,)
    for status in sorted({*refused, *one.errors}):
        described["responses"][str(status)] = _response(CODES.get(status, "error").replace("_", " "), shown)
    if one.body is not None:
        described["requestBody"] = {"content": {JSON: {"schema": one.body}}}
    return described


def _response(meaning: str, content: Mapping[str, Schema]) -> dict[str, Any]:
    return {"description": meaning, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
