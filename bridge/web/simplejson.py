"""Grafana's Simple JSON datasource 1.4, and the same questions by GET for curl."""

from __future__ import annotations

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.queries import answer as answers
from bridge.queries import cache
from bridge.queries.search import TAG_KEYS, search
from bridge.queries.series import Recorded
from bridge.queries.view import View
from bridge.web import compression, formats, ready, requests, rows, text
from bridge.web.errors import ApiError

blueprint = Blueprint("simplejson", __name__)


@blueprint.post("/search")
def search_names() -> Response:
    """Names for the query editor, or a variable's values: ``["openai", …]``."""
    typed = requests.json_object(request).get("target", "")
    bridge = current_bridge()
    return formats.json_response(search(bridge.vocabulary(bridge.view()), typed if isinstance(typed, str) else ""))


@blueprint.post("/query")
def query() -> Response:
    """Series and tables for Grafana's panels: an array, one entry a series or table."""
    bridge = current_bridge()
    view = bridge.view()
    asked = requests.from_body(requests.json_object(request), view.now, bridge.vocabulary(view).known)
    recorded = _recorded_for(asked, view)
    answered, keep = _answered(asked, view, recorded)
    key = ready.key_of(request.environ)
    if keep and not asked.relative and key is not None:
        bridge.answers.put(key, answered)
    return formats.warned(formats.ready_json(answered), recorded)


@blueprint.get("/query")
def query_by_url() -> Response:
    """The same for curl and Infinity: ``format=json``, ``rows``, ``csv`` or ``text``."""
    wanted = rows.wanted_format(request)
    bridge = current_bridge()
    view = bridge.view()
    asked = requests.from_arguments(request, view.now)
    recorded = _recorded_for(asked, view)
    if wanted == "text":
        shown = text.render(answers.answer(asked, view, bridge.store, recorded), view.now)
        return formats.warned(formats.text_response(shown), recorded)
    if wanted in rows.FORMATS:
        answered = answers.answer(asked, view, bridge.store, recorded)
        return rows.response(wanted, answered, view, current=recorded is None)
    return formats.warned(formats.ready_json(_answered(asked, view, recorded)[0]), recorded)


def _recorded_for(asked: answers.Request, view: View) -> Recorded | None:
    bridge = current_bridge()
    return answers.recorded_for(asked, view, bridge.store, bridge.remote)


def _answered(asked: answers.Request, view: View, recorded: Recorded | None) -> tuple[bytes, bool]:
    """An answer's JSON, gzipped for who takes it so, and whether it holds until the next poll; cached where it does."""
    bridge = current_bridge()
    gzipped = compression.wanted(request.environ)
    canonical = cache.canonical(asked, view, recorded)
    key = None if canonical is None else (canonical, gzipped)
    found = None if key is None else bridge.answers.get(key)
    if found is not None:
        return found, True
    answered = answers.answer(asked, view, bridge.store, recorded)
    found = formats.json_bytes(formats.simple_json(answered))
    if gzipped:
        found = compression.compressed(found)
    keep = key is not None and cache.keepable(answered, view, recorded)
    if keep:
        bridge.answers.put(key, found)
    return found, keep


@blueprint.post("/tag-keys")
def tag_keys() -> Response:
    """Labels that ad-hoc filters can use. Whatever the body is: Grafana's picker hangs on an error."""
    return formats.json_response([{"type": "string", "text": key} for key in TAG_KEYS])


@blueprint.post("/tag-values")
def tag_values() -> Response:
    """A label's values, among what the other filters let through; none for a body nothing can be made of."""
    bridge = current_bridge()
    vocabulary = bridge.vocabulary(bridge.view())
    try:
        body = requests.json_object(request)
        key = body.get("key")
        chosen, _ = requests.filters(body, vocabulary.known)
        others = [one for one in chosen if one.label != key]
        found = vocabulary.values(key, others) if isinstance(key, str) else []
    except ApiError:
        found = []
    return formats.json_response([{"text": value} for value in found])
