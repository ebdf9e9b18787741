"""What Grafana and its plugins make of a stored query: variables filled in, and the HTTP request that is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from grafana.generate.__main__ import FOLDER

Json = dict[str, Any]
VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
ESCAPED = re.compile(r"[\\^$*+?.()|\[\]{}/]")
SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}
ALL = ("$__all",)
FILES = sorted(FOLDER.glob("*/*.json"), key=lambda file: (file.parent.name, file.stem))


class Refused(AssertionError):
    """The bridge did not answer; a panel is empty then, with an error in its corner."""


class Response(Protocol):
    """An HTTP answer, as Flask's test client has it."""

    @property
    def status_code(self) -> int: ...
    def get_json(self) -> Any: ...
    def get_data(self, *, as_text: bool) -> Any: ...


class Client(Protocol):
    """What sends a GET."""

    def get(self, path: str, *, query_string: Sequence[tuple[str, str]]) -> Response: ...


class Bridge(Protocol):
    """A bridge that can be asked: in this process, or a service."""

    @property
    def client(self) -> Client: ...
    def post(self, path: str, body: object) -> Response: ...


def load(file: Path) -> Json:
    board: Json = json.loads(file.read_text(encoding="utf-8"))
    return board


@dataclass(frozen=True)
class Scope:
    """What a viewer has chosen: the values of each variable, and the time range in epoch seconds."""

    chosen: Mapping[str, Sequence[str]]
    start: float
    end: float

    def fill(self, text: str, default: str) -> str:
        """A text with its variables, as Grafana's template service writes them."""

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[3]
            if name not in self.chosen:
                return found[0]
            return formatted(self.chosen[name], found[2] or default)

        return VARIABLE.sub(value, text)

    def range(self) -> Json:
        ends = {"from": iso(self.start), "to": iso(self.end)}
        return ends | {"raw": dict(ends)}


def formatted(values: Sequence[str], how: str) -> str:
    if tuple(values) == ALL:
        return ".*"  # the dashboards' own value for all, which no format changes
    if how == "regex":
        escaped = [ESCAPED.sub(lambda found: "\\" + found[0], value) for value in values]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
    assert how == "glob", how
    return values[0] if len(values) == 1 else "{" + ",".join(values) + "}"


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(length: str) -> float:
    return float(length[:-1]) * SECONDS[length[-1]]


def scope_of(
    board: Json,
    panel: Json,
    chosen: Mapping[str, Sequence[str]],
    now: float,
    absolute: tuple[float, float] | None = None,
) -> Scope:
    """The time a panel shows: the dashboard's, or its own, shifted. Where it is ``absolute``, none is a panel's own."""
    length = panel.get("timeFrom") or board["time"]["from"].removeprefix("now-")
    start, end = absolute or (now - seconds(length), now)
    shift = seconds(panel["timeShift"]) if "timeShift" in panel else 0.0
    return Scope(chosen, start - shift, end - shift)


def ask(site: Bridge, panel: Json, scope: Scope) -> list[Json]:
    """A panel's answer: entries with ``datapoints``, or with ``columns`` and ``rows`` (Infinity: always)."""
    kind = panel["datasource"]["type"]
    if kind == "yesoreyeram-infinity-datasource":
        return [ask_infinity(site, query, scope) for query in panel["targets"]]
    to_targets = {"grafana-simple-json-datasource": simple_json_target, "simpod-json-datasource": simpod_target}[kind]
    span = scope.end - scope.start
    points = int(panel.get("maxDataPoints", 1_000))
    body = {
        "targets": [to_targets(query, scope) for query in panel["targets"]],
        "range": scope.range(),
        "maxDataPoints": points,
        "intervalMs": max(1, round(span * 1000 / points)),
        "scopedVars": {name: {"text": "x", "value": list(values)} for name, values in scope.chosen.items()},
    }
    return answered(site.post("/query", body))


def simple_json_target(query: Json, scope: Scope) -> Json:
    """All that this plugin sends of a query."""
    return {
        "target": scope.fill(query["target"], "regex"),
        "refId": query["refId"],
        "hide": query.get("hide"),
        "type": query.get("type", "timeserie"),
    }


def simpod_target(query: Json, scope: Scope) -> Json:
    """In code mode the payload is JSON with variables in it; one that cannot be read silently becomes ``{}``."""
    assert query["editorMode"] == "code"
    payload = json.loads(query["payload"]) if query["payload"].strip() else {}
    return {**query, "target": scope.fill(query["target"], "regex"), "payload": payload}


def ask_infinity(site: Bridge, query: Json, scope: Scope) -> Json:
    """Its answer as the table that its backend parser makes of it: the declared columns, by their types."""

    assert (query["type"], query["source"], query["parser"]) == ("json", "url", "backend")
    macros = {"${__timeFrom}": f"{scope.start * 1000:.0f}", "${__timeTo}": f"{scope.end * 1000:.0f}"}
    parameters = []
    for parameter in query["url_options"]["params"]:
        value = scope.fill(parameter["value"], "glob")
        for macro, meant in macros.items():
            value = value.replace(macro, meant)
        parameters.append((parameter["key"], value))
    rows = answered(site.client.get(query["url"], query_string=parameters))
    return {
        "columns": [{"text": column["text"]} for column in query["columns"]],
        "rows": [[cell(row[column["selector"]], column["type"]) for column in query["columns"]] for row in rows],
    }


def cell(value: object, kind: str) -> object:
    """A value as Infinity reads it into a column of this type: times, which come as ISO 8601, become milliseconds."""
    if value is None:
        return None
    if kind == "timestamp":
        assert isinstance(value, str)
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    assert isinstance(value, str if kind == "string" else int | float)
    assert not isinstance(value, bool)
    return value


def infinity_frame(query: Json, table: Json) -> Json:
    """The frame that this plugin's back end makes of such a table; where there are no rows, it has no fields either."""
    kinds = {"timestamp": "time", "number": "number", "string": "string"}
    fields = [
        {"name": column["text"], "type": kinds[column["type"]], "values": [row[place] for row in table["rows"]]}
        for place, column in enumerate(query["columns"])
    ]
    return {"name": query["refId"], "refId": query["refId"], "fields": fields if table["rows"] else []}


def answered(response: Response) -> list[Json]:
    if response.status_code != 200:
        raise Refused(response.get_data(as_text=True))
    body = response.get_json()
    assert isinstance(body, list)
    return body


def variable_values(site: Bridge, variable: Json, scope: Scope) -> list[str]:
    """What a variable's drop-down lists."""
    kind, query = variable["datasource"]["type"], variable["query"]
    if kind == "grafana-simple-json-datasource":
        names = answered(site.post("/search", {"target": scope.fill(query, "regex")}))
        return [str(name) for name in names]
    if kind == "simpod-json-datasource":
        assert query["format"] == "string"
        body = {"payload": {"target": scope.fill(query["query"], "regex")}, "range": scope.range()}
        options = answered(site.post("/variable", body))
        assert all(option["__text"] == option["__value"] for option in options)
        return [option["__value"] for option in options]
    table = ask_infinity(site, query["infinityQuery"], scope)
    assert len(table["columns"]) == 1  # of two, Grafana would take one for texts and one for values
    return list(dict.fromkeys(value for [value] in table["rows"]))


def annotation_events(site: Bridge, annotation: Json, scope: Scope) -> list[Json]:
    """What a dashboard draws: events with ``time``, ``timeEnd`` (milliseconds), ``title`` and ``text``."""
    kind = annotation["datasource"]["type"]
    if kind == "grafana-simple-json-datasource":
        asked = {**annotation, "query": scope.fill(annotation["query"], "glob")}
        return answered(site.post("/annotations", {"range": scope.range(), "annotation": asked}))
    if kind == "simpod-json-datasource":
        about = {"__annotation": {"text": annotation["name"], "value": annotation}}
        body = {
            "targets": [simpod_target(annotation["target"], scope)],
            "range": scope.range(),
            "scopedVars": about,
        }
        [table] = answered(site.post("/query", body))
    else:
        table = ask_infinity(site, annotation["target"], scope)
    names = [column["text"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]
