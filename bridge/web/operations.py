"""For platforms: is it alive, is it ready."""

from __future__ import annotations

from flask import Blueprint, Response

from bridge.bridge import current_bridge
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
