"""How each Grafana datasource asks the bridge: for series, tables, a variable's values and annotations.

A target's text is the same for all: variables stand in it as ``${name:regex}``, which is safe in every one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DataTransformerConfig

from bridge.queries.tables import Column

Json = dict[str, Any]
REF_ID = "A"
INFINITY_TYPES = {"time": "timestamp", "number": "number", "string": "string"}


class Query(Dataquery, Builder[Dataquery]):
    """A query as its datasource's plugin stores it; the SDK has no models of these plugins."""

    def __init__(self, model: Json) -> None:
        self.model = model

    def build(self) -> Dataquery:
        """Itself: it is complete already."""
        return self

    def to_json(self) -> Json:
        """What stands in the dashboard."""
        return self.model


class Datasource(ABC):
    """One plugin. ``folder`` is where its dashboards are, ``suffix`` ends their uids."""

    folder: str
    suffix: str
    title: str
    plugin: str
    uid: str

    @property
    def ref(self) -> DataSourceRef:
        """How panels refer to it."""
        return DataSourceRef(type_val=self.plugin, uid=self.uid)

    @property
    def ref_json(self) -> Json:
        """The same as JSON."""
        return {"type": self.plugin, "uid": self.uid}

    @property
    def series_transformations(self) -> Sequence[DataTransformerConfig]:
        """What Grafana must do to an answer before it is one frame a series."""
        return ()

    @abstractmethod
    def series(self, target: str, max_data_points: int) -> Query:
        """Ask for a target's series over the panel's time range."""

    @abstractmethod
    def table(self, target: str, columns: Sequence[Column]) -> Query:
        """Ask for a table with these columns."""

    @abstractmethod
    def now(self, metric: str, label: str = "") -> Query:
        """Ask for a metric as of now, whatever the time range: a row a series (``Time``, the label, ``Value``)."""

    @abstractmethod
    def variable(self, label: str, selector: str) -> str | Json:
        """Ask for the values of ``label`` (provider or model); ``selector`` narrows them, as ``{provider=~"…"}``."""

    @abstractmethod
    def annotation(self, query: str) -> Json:
        """The part of an annotation's definition that asks for events."""


class SimpleJson(Datasource):
    """The datasource this bridge was made for (Grafana 9 to 11, Angular)."""

    folder = "simple-json"
    suffix = ""
    title = "Simple JSON"
    plugin = "grafana-simple-json-datasource"
    uid = "grafana_json_api"

    def series(self, target: str, max_data_points: int) -> Query:
        """Its type is spelt ``timeserie``."""
        return self._query(target, "timeserie")

    def table(self, target: str, columns: Sequence[Column]) -> Query:
        """The columns come with the answer."""
        return self._query(target, "table")

    def now(self, metric: str, label: str = "") -> Query:
        """A table is always of now, though Grafana sends a range with it."""
        return self._query(metric, "table")

    def variable(self, label: str, selector: str) -> str | Json:
        """The text that goes to ``/search``."""
        return f"{label}s{selector}"

    def annotation(self, query: str) -> Json:
        """The text that goes to ``/annotations``."""
        return {"query": query}

    def _query(self, target: str, kind: str) -> Query:
        return Query({"refId": REF_ID, "datasource": self.ref_json, "target": target, "type": kind})


class SimPod(Datasource):
    """simPod's JSON datasource (Grafana 10 on)."""

    folder = "simpod"
    suffix = "-simpod"
    title = "simPod JSON"
    plugin = "simpod-json-datasource"
    uid = "provider_health_bridge_simpod"

    def series(self, target: str, max_data_points: int) -> Query:
        """Variables stand in the target, not in the payload, where one quote too many silently empties it."""
        return self._query(target)

    def table(self, target: str, columns: Sequence[Column]) -> Query:
        """The bridge knows a table by its name."""
        return self._query(target)

    def now(self, metric: str, label: str = "") -> Query:
        """This plugin has no types: the payload asks for the table."""
        return self._query(metric, '{"type": "table"}')

    def variable(self, label: str, selector: str) -> str | Json:
        """What its variable editor stores; the text goes to ``/variable`` as a payload's target."""
        return {"query": f"{label}s{selector}", "format": "string"}

    def annotation(self, query: str) -> Json:
        """Its annotations are a table that is asked for by ``/query``."""
        return {"target": self._query(query).model | {"refId": "Anno"}}

    def _query(self, target: str, payload: str = "") -> Query:
        model = {"target": target, "payload": payload, "editorMode": "code"}
        return Query({"refId": REF_ID, "datasource": self.ref_json, **model})


class Infinity(Datasource):
    """The Infinity datasource, which reads flat JSON from URLs (version 3.11, Grafana 11.6 on)."""

    folder = "infinity"
    suffix = "-infinity"
    title = "Infinity"
    plugin = "yesoreyeram-infinity-datasource"
    uid = "provider_health_bridge_infinity"

    @property
    def series_transformations(self) -> Sequence[DataTransformerConfig]:
        """One frame a series: Infinity's format ``timeseries`` would put a null wherever another series has a point.

        The columns are called ``Time`` and ``Value``, as then Grafana names each frame by its label alone.
        """
        options = {"fields": ["target"], "keepFields": False, "naming": {"asLabels": True}}
        return (DataTransformerConfig(id_val="partitionByValues", options=options),)

    def series(self, target: str, max_data_points: int) -> Query:
        """Rows of all series; ``${__timeFrom}`` is the panel's own time, with its shift, unlike ``${__from}``."""
        columns = [
            _column("time", "Time", "time"),
            _column("target", "target", "string"),
            _column("value", "Value", "number"),
        ]
        return self._get("/query", {"target": target, **_RANGE, "maxDataPoints": str(max_data_points)}, columns)

    def table(self, target: str, columns: Sequence[Column]) -> Query:
        """Types are declared: Infinity would guess them from the first row."""
        described = [_column(column.title, column.title, column.type) for column in columns]
        return self._get("/query", {"target": target, **_RANGE}, described)

    def now(self, metric: str, label: str = "") -> Query:
        """A URL without a range asks for the latest values; a label that rows have no column for is their legend."""
        columns = [_column("time", "Time", "time"), _column("value", "Value", "number")]
        if label:
            columns.insert(1, _column("target", label, "string"))
            metric += f" as {{{{{label}}}}}"
        return self._get("/query", {"target": metric}, columns)

    def variable(self, label: str, selector: str) -> str | Json:
        """The label's column of a metric that every provider, or every circuit, has."""
        metric = {"provider": "provider_status", "model": "model_circuit_breaker_state"}[label]
        asked = self._get("/query", {"target": metric + selector}, [_column(label, label, "string")])
        return {"queryType": "infinity", "query": "", "infinityQuery": asked.model | {"refId": "variable"}}

    def annotation(self, query: str) -> Json:
        """Events as rows, with the columns Grafana looks for."""
        columns = [
            _column("time", "time", "time"),
            _column("timeEnd", "timeEnd", "time"),
            *(_column(name, name, "string") for name in ("title", "text", "tags", "id", "newState")),
        ]
        return {"target": self._get("/annotations", {"query": query, **_RANGE}, columns).model | {"refId": "Anno"}}

    def current(self, target: str, labels: Sequence[str]) -> Query:
        """Ask for a target's values as of now, a row a series with these labels: the form that alert rules take."""
        columns = [*(_column(label, label, "string") for label in labels), _column("value", "value", "number")]
        return self._get("/query", {"target": target}, columns)

    def _get(self, path: str, parameters: dict[str, str], columns: list[Json]) -> Query:
        given = [{"key": key, "value": value} for key, value in {**parameters, "format": "rows"}.items()]
        return Query(
            {
                "refId": REF_ID,
                "datasource": self.ref_json,
                "type": "json",
                "source": "url",
                "parser": "backend",
                "format": "table",
                "url": path,
                "url_options": {"method": "GET", "data": "", "params": given},
                "root_selector": "",
                "columns": columns,
                "filters": [],
            }
        )


_RANGE = {"from": "${__timeFrom}", "to": "${__timeTo}"}


def _column(selector: str, text: str, kind: str) -> Json:
    return {"selector": selector, "text": text, "type": INFINITY_TYPES[kind]}


DATASOURCES: tuple[Datasource, ...] = (SimpleJson(), SimPod(), Infinity())
