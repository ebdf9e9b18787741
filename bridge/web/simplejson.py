"""Grafana's Simple JSON datasource 1.4, and the same questions by GET for curl."""

from __future__ import annotations

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.queries import answer as answers
from bridge.queries.search import TAG_KEYS, search, values
from bridge.queries.targets import TargetError
from bridge.web import formats, requests, text
from bridge.web.errors import ApiError

FORMATS = ("json", "text")

blueprint = Blueprint("simplejson", __name__)


@blueprint.post("/search")
def search_names() -> Response:
    """Names for the query editor, or a variable's values: ``["openai", …]``."""
    typed = requests.json_object(request).get("target", "")
    return formats.json_response(search(current_bridge().view(), typed if isinstance(typed, str) else ""))


@blueprint.post("/query")
def query() -> Response:
    """Series and tables for Grafana's panels: an array, one entry a series or table."""
    bridge = current_bridge()
    view = bridge.view()
    asked = requests.from_body(requests.json_object(request), view.now)
    return formats.json_response(formats.simple_json(answers.answer(asked, view, bridge.store)))


@blueprint.get("/query")
def query_by_url() -> Response:
    """The same for curl, ``format=json`` or ``text``."""
    wanted = request.args.get("format", "json")
    if wanted not in FORMATS:
        raise ApiError(400, f"there is no format {wanted[:40]!r}", f"formats are {', '.join(FORMATS)}")
    bridge = current_bridge()
    view = bridge.view()
    answered = answers.answer(requests.from_arguments(request, view.now), view, bridge.store)
    if wanted == "text":
        return formats.text_response(text.render(answered))
    return formats.json_response(formats.simple_json(answered))


@blueprint.post("/tag-keys")
def tag_keys() -> Response:
    """Labels that ad-hoc filters can use. Whatever the body is: Grafana's picker hangs on an error."""
    return formats.json_response([{"type": "string", "text": key} for key in TAG_KEYS])


@blueprint.post("/tag-values")
def tag_values() -> Response:
    """A label's values, among what the other filters let through; none for a body nothing can be made of."""
    try:
        body = requests.json_object(request)
        key = body.get("key")
        others = [chosen for chosen in requests.filters(body) if chosen.label != key]
        found = values(current_bridge().view(), key, others) if isinstance(key, str) else []
    except (ApiError, TargetError):
        found = []
    return formats.json_response([{"text": value} for value in found])
