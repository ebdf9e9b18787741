"""For platforms: is it alive, is it ready, and its metrics for Prometheus."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from flask import Blueprint, Response

from bridge.bridge import current_bridge
from bridge.history.size import HistorySize, measure
from bridge.web import exposition
from bridge.web.errors import error_response
from bridge.web.formats import json_response

blueprint = Blueprint("operations", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Liveness: 200 while the process serves, whatever the gateway does."""
    return json_response({"status": "ok"})


@blueprint.get("/ready")
def ready() -> Response:
    """Readiness: 503, with the reason, until there is a poll that is not stale."""
    view = current_bridge().view()
    if view.stale:
        return error_response(503, view.trouble, "the bridge polls on by itself; GET /health says that it lives")
    return json_response({"status": "ready", "data_age_seconds": view.age_seconds})


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format: the catalog's metrics (gone while the data is stale), then the bridge's own."""
    bridge = current_bridge()
    view = bridge.view()
    size: HistorySize | None = None
    with suppress(sqlite3.Error):
        size = measure(bridge.store.database)
    text = bridge.exposition.text(view) + exposition.state(view, size) + bridge.metrics.text()
    return Response(text, content_type=exposition.CONTENT_TYPE)
