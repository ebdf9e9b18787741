"""What happened, drawn over panels: Simple JSON's annotations, and the same by GET for Infinity and curl."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.queries.annotations import Annotation, annotate
from bridge.queries.answer import known_since
from bridge.queries.tables import milliseconds, of_annotations
from bridge.queries.view import View
from bridge.web import formats, requests, rows, text
from bridge.web.budgets import current_budget
from bridge.web.tooltips import tooltip

blueprint = Blueprint("events", __name__)


@blueprint.post("/annotations")
def annotation_events() -> Response:
    """What happened in the range: an array of events, all with the same keys. A point's ``timeEnd`` is its ``time``."""
    view = current_bridge().view()
    asked = requests.annotation(requests.json_object(request), view.now)
    echo = orjson.Fragment(asked.echo)
    events = [{"annotation": echo} | _event(one) for one in _found(asked, view)]
    return _warned(formats.listed(events, current_budget()), asked, view)


@blueprint.get("/annotations")
def annotations_by_url() -> Response:
    """The same by URL: ``query``, ``from`` and ``to`` (else the last 24 hours), ``format``.

    ``rows`` and ``csv`` have the columns Grafana looks for in a frame of annotations: ``time``, ``timeEnd``, ``title``,
    ``text``, ``tags`` (one text, with commas), ``id`` and ``newState``; times are ISO 8601, texts HTML as in ``json``.
    """
    wanted = rows.wanted_format(request)
    view = current_bridge().view()
    asked = requests.annotation_by_url(request, view.now)
    found = _found(asked, view)
    if wanted == "json":
        response = formats.listed([_event(one) for one in found], current_budget())
    elif wanted == "text":
        response = formats.text_response(
            text.text_table(of_annotations(found, tooltips=False), view.now, current_budget())
        )
    else:
        response = rows.of_table(wanted, of_annotations(found, tooltips=True), current_budget())
    return _warned(response, asked, view)


def _warned(response: Response, asked: requests.AnnotationRequest, view: View) -> Response:
    """With a warning where older history is kept elsewhere, and the range begins before the one here does."""
    bridge = current_bridge()
    first = bridge.store.first_at(view.now) if bridge.remote is not None else None
    return formats.with_warning(response, known_since(first if first and asked.span.start < first else None))


def _found(asked: requests.AnnotationRequest, view: View) -> list[Annotation]:
    bridge = current_bridge()
    kept_since = view.now - bridge.store.retention_seconds
    known = bridge.vocabulary(view).known
    budget = current_budget()
    return annotate(asked.query, asked.span, view, bridge.store, kept_since=kept_since, known=known, budget=budget)


def _event(found: Annotation) -> dict[str, Any]:
    """One event as Grafana takes it. Its tooltip shows texts as HTML, so what the gateway called things is escaped."""
    start, end = milliseconds(found.start), milliseconds(found.end)
    return {
        "id": found.id,
        "time": start,
        "timeEnd": end,
        "isRegion": end > start,
        "title": tooltip(found.title),
        "text": tooltip(found.text),
        "tags": [tooltip(tag) for tag in found.tags],
        "newState": found.new_state,
    }
