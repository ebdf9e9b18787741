"""What can be asked: ``/help`` for people, ``/openapi.json`` for programs."""

from __future__ import annotations

from flask import Blueprint, Response

from bridge.queries.catalog import METRICS, TABLES
from bridge.queries.tables import Column, Table
from bridge.web import formats, openapi
from bridge.web.budgets import current_budget
from bridge.web.text import text_table

EXAMPLES = """\
Ask like
  curl 'localhost:5050/query?target=providers&format=text'
  curl -g 'localhost:5050/query?target=provider_error_rate{provider="openai"}&from=now-1h&format=text'
"""

blueprint = Blueprint("reference", __name__)


@blueprint.get("/help")
def help_for_people() -> Response:
    """Every route, metric and table in a line."""
    routes = [[one.method, one.path, one.summary] for one in openapi.OPERATIONS]
    metrics = [[one.name, ", ".join(one.labels), one.meaning] for one in METRICS.values()]
    tables = list(TABLES.items())
    parts = [
        "PROVIDER HEALTH BRIDGE\n",
        _table(routes, "Method", "Route", "Answer") + "Each also below /api. For programs: /openapi.json\n",
        _table(metrics, "Metric", "Labels", "Meaning"),
        _table(tables, "Table", "Meaning"),
        EXAMPLES,
    ]
    return formats.text_response("\n".join(parts))


def _table(rows: list[list[str]] | list[tuple[str, str]], *titles: str) -> str:
    return text_table(Table("help", tuple(Column(title) for title in titles), rows), 0.0, current_budget())


@blueprint.get("/openapi.json")
def openapi_document() -> Response:
    """Every route with its parameters and answers."""
    return formats.json_response(openapi.document())
