"""Which check a panel has to stand, by its title."""

from __future__ import annotations

from collections.abc import Mapping

from tests.grafana import drawing, reading
from tests.grafana.drawing import Check, graph
from tests.grafana.plugins import Json
from tests.grafana.reading import ERROR_RATE_SLACK, REQUEST_RATE_SLACK
from tests.grafana.story import SCORE, SECONDS

HEALTH = graph(lambda truth, keys: truth.score(keys[0][0]), 2.0)
ERRORS = graph(lambda truth, keys: truth.error_rate(*keys), ERROR_RATE_SLACK)
SHIFTED = ("the same time yesterday", "the same time 7 days before")
CHECKS: Mapping[str, Check] = {
    "Data": reading.data,
    "Providers by status": reading.by_status,
    "Open circuits": reading.open_circuits,
    "Fleet health": reading.fleet_health,
    "Fleet error rate": reading.fleet_errors,
    "Age of the data": reading.age,
    "Status": reading.status_tiles,
    "Providers": reading.providers,
    "Providers that are not healthy": reading.not_healthy,
    "Circuits that are not CLOSED": reading.not_closed,
    "Every opening and closing in this range, newest first": reading.moves,
    "Evidence": reading.evidence,
    "Circuits: the worst of each provider": drawing.worst_circuits,
    "Circuits of each provider: bars that alternate are flapping": drawing.worst_circuits,
    "Circuits by model": drawing.circuits_by_model,
    "Availability": drawing.availability,
    "Health score": HEALTH,
    "Health score: this range": HEALTH,
    "Health score: the worst of every 20 minutes of the last 7 days": HEALTH,
    "Error rate": ERRORS,
    "Error rate: this range": ERRORS,
    "Error rate by model": graph(lambda truth, keys: truth.error_rate(*keys), ERROR_RATE_SLACK, models=True),
    "Latency, 95th percentile": graph(lambda truth, keys: SECONDS, 0.1),
    "Requests": graph(lambda truth, keys: truth.request_rate(*keys), REQUEST_RATE_SLACK),
    "Health score as the gateway reports it": graph(lambda truth, keys: SCORE, 0.0),
    **{f"{name}: {when}": drawing.nothing for name in ("Health score", "Error rate") for when in SHIFTED},
}
OPEN_CIRCUITS_GRAPH = graph(lambda truth, keys: float(truth.open_circuits(keys[0][0])), 0.0)


def check_of(panel: Json) -> Check:
    """The check of a panel. Of two that have one title the graph shows the same over time."""
    graphed = panel["type"] == "timeseries" and panel["title"] == "Open circuits"
    return OPEN_CIRCUITS_GRAPH if graphed else CHECKS[panel["title"]]
