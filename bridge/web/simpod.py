"""simPod's JSON datasource: its query builder and its variables. Its panels and annotations ask ``/query``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.queries import payloads
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES, labels_of
from bridge.queries.search import search
from bridge.web import asks, formats, requests
from bridge.web.budgets import current_budget

ALL_OF = {
    "provider": "all providers",
    "model": "all models",
    "status": "every status",
    "state": "every state",
    "kind": "every kind",
    "phase": "every phase",
}
WIDTH = 40
"""Of an input, in the editor's own units of 8 pixels."""

blueprint = Blueprint("simpod", __name__)


@blueprint.post("/metrics")
def metrics() -> Response:
    """Every metric and table, each with what its series or rows can be chosen by.

    The drop-downs come without their options: the editor asks for those whenever one is opened, with what is chosen
    in the others, and of options that stand here it would not show the chosen ones again.
    """
    described = {name: metric.meaning for name, metric in METRICS.items()}
    described |= {name: f"a table: {meaning}" for name, meaning in TABLES.items()}
    described |= {old: f"old name of {name}" for old, name in OLD_NAMES.items()}
    return formats.json_response(
        [
            {"value": name, "label": name, "description": meaning, "payloads": _payloads(name)}
            for name, meaning in described.items()
        ]
    )


def _payloads(name: str) -> list[dict[str, Any]]:
    choices = [
        _payload(label, "multi-select", placeholder)
        for label, placeholder in ALL_OF.items()
        if label in labels_of(name)
    ]
    if name in TABLES:
        return choices
    return [*choices, _payload("legend", "input", " ".join(f"{{{{{label}}}}}" for label in labels_of(name)))]


def _payload(name: str, kind: str, placeholder: str) -> dict[str, Any]:
    return {"name": name, "label": name.capitalize(), "type": kind, "placeholder": placeholder, "width": WIDTH}


@blueprint.post("/metric-payload-options")
def options() -> Response:
    """What a drop-down offers: ``[{"label", "value"}]``; nothing for a metric or a name there is not."""
    body = requests.json_object(request)
    metric, name = body.get("metric"), body.get("name")
    if not isinstance(metric, str) or not isinstance(name, str):
        return formats.json_response([])
    bridge = current_bridge()
    vocabulary = bridge.vocabulary(bridge.view())
    choice = payloads.read(asks.payload(body.get("payload")), vocabulary.known)
    found = payloads.options(vocabulary, metric, name, choice)
    return formats.listed([{"label": value, "value": value} for value in found], current_budget())


@blueprint.post("/variable")
def variable() -> Response:
    """A variable's values: ``[{"__text", "__value"}]``.

    The payload is a query as ``/search`` takes it, alone or as ``target``; ``provider`` and ``model`` beside it narrow
    the values.
    """
    content = _query(requests.json_object(request).get("payload"))
    target = content.get("target", "")
    bridge = current_bridge()
    vocabulary = bridge.vocabulary(bridge.view())
    choice = payloads.read(content, vocabulary.known)
    chosen = [matcher for matcher in choice.matchers if matcher.label in ("provider", "model")]
    found = search(vocabulary, target if isinstance(target, str) else "", chosen)
    return formats.listed([{"__text": value, "__value": value} for value in found], current_budget())


def _query(payload: object) -> Mapping[str, Any]:
    if isinstance(payload, str) and not payload.lstrip().startswith("{"):
        return {"target": payload}
    return asks.payload(payload)
