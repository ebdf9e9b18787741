"""Grafana's Simple JSON datasource 1.4, and the same questions by GET for curl."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.queries import answer as answers
from bridge.queries import cache
from bridge.queries.search import TAG_KEYS, search
from bridge.queries.series import Recorded
from bridge.queries.view import View
from bridge.web import compression, formats, items, ready, requests, rows, text
from bridge.web.budgets import current_budget
from bridge.web.errors import ApiError
from bridge.web.items import Item

blueprint = Blueprint("simplejson", __name__)


@blueprint.post("/search")
def search_names() -> Response:
    """Names for the query editor, or a variable's values: ``["openai", …]``."""
    typed = requests.json_object(request).get("target", "")
    bridge = current_bridge()
    found = search(bridge.vocabulary(bridge.view()), typed if isinstance(typed, str) else "")
    return formats.listed(found, current_budget())


@blueprint.post("/query")
def query() -> Response:
    """Series and tables for Grafana's panels: an array, one entry a series or table."""
    bridge = current_bridge()
    view = bridge.view()
    asked = requests.from_body(requests.json_object(request), view.now, bridge.vocabulary(view).known)
    recorded = _recorded_for(asked, view)
    answered = _answered(asked, view, recorded)
    key = ready.key_of(request.environ)
    if answered.key is not None and not asked.relative and key is not None:
        bridge.answers.call(key, answered.key, cache.holds_until(view, recorded))
    return formats.warned(formats.ready_json(answered.body), recorded)


@blueprint.get("/query")
def query_by_url() -> Response:
    """The same for curl and Infinity: ``format=json``, ``rows``, ``csv`` or ``text``."""
    wanted = rows.wanted_format(request)
    bridge, budget = current_bridge(), current_budget()
    view = bridge.view()
    asked = requests.from_arguments(request, view.now)
    recorded = _recorded_for(asked, view)
    if wanted == "json":
        return formats.warned(formats.ready_json(_answered(asked, view, recorded).body), recorded)
    answered = answers.answer(asked, view, bridge.store, recorded, budget)
    if wanted == "text":
        return formats.warned(formats.text_response(text.render(answered, view, budget)), recorded)
    return rows.response(wanted, answered, view, budget, current=recorded is None)


def _recorded_for(asked: answers.Request, view: View) -> Recorded | None:
    bridge = current_bridge()
    return answers.recorded_for(asked, view, bridge.store, current_budget(), bridge.remote)


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer's JSON, gzipped where that is wanted, and the key that these very bytes are kept under, if they are."""

    body: bytes
    key: Hashable | None


def _answered(asked: answers.Request, view: View, recorded: Recorded | None) -> _Answered:
    """While all is well the very bytes are kept; while it is not, the items, as each request says then what is wrong.

    Those who ask for the same at once wait for the first of them.
    """
    bridge, gzipped = current_bridge(), compression.wanted(request.environ)

    def made() -> tuple[list[Item], bool]:
        answered = answers.answer(asked, view, bridge.store, recorded, current_budget())
        found = items.items(answered, current_budget())
        return found, cache.keepable(answered, recorded) and not current_budget().ran_out

    def whole(found: Sequence[Item]) -> bytes:
        body = items.written(found, view.trouble)
        return compression.compressed(body) if gzipped else body

    def body_made() -> tuple[bytes, bool]:
        found, keep = made()
        return whole(found), keep

    key = cache.canonical(asked, view, recorded)
    if key is None:
        return _Answered(body_made()[0], None)
    if view.trouble:
        kept = (key, "items")
        return _Answered(whole(bridge.answers.once(kept, made, items.size)[0]), None)
    body, keep = bridge.answers.once((key, gzipped), body_made, len)
    return _Answered(body, (key, gzipped) if keep else None)


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
    return formats.listed([{"text": value} for value in found], current_budget())
