"""For people who are woken at night: the status page, the board at ``/``, and the tables by URL."""

from __future__ import annotations

import re
import sqlite3

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.model import Event, Incident
from bridge.queries import answer as answers
from bridge.queries import incidents as incidents_of
from bridge.queries import tables
from bridge.queries.answer import Ask, Request
from bridge.queries.series import Steps
from bridge.queries.targets import Matcher, matcher, nearest
from bridge.queries.timerange import TimeRange
from bridge.queries.trend import SPANS_SECONDS, Grid, Trends
from bridge.queries.view import View
from bridge.web import (
    accept,
    board,
    formats,
    incident_page,
    items,
    page,
    provider_page,
    requestlog,
    requests,
    rows,
    status_page,
    text,
)
from bridge.web.budgets import current_budget
from bridge.web.errors import HINTS, ApiError

HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
ASSET_LIFETIME_SECONDS = 365 * 86_400

blueprint = Blueprint("oncall", __name__)


@blueprint.get("/")
def status_board() -> Response:
    """The status page for browsers, the summary as JSON for who asks for JSON (as Grafana does), else the board.

    Raises ApiError for a format other than ``json`` and ``text``.
    """
    if _wants_page():
        return _fleet_page()
    view = current_bridge().view()
    if _wants_json():
        return _varying(formats.json_response(board.summary(view)))
    lines = _incident_lines(view)
    return _varying(formats.text_response(board.board_text(view, _base_url(), lines, current_budget())))


@blueprint.get("/providers")
def providers() -> Response:
    """The providers table: the status page for browsers, with ``format`` text, rows or CSV, else JSON.

    Raises ApiError for another format.
    """
    return _fleet_page() if _wants_page() else _varying(_table("providers"))


@blueprint.get("/providers/<name:name>")
def provider(name: str) -> Response:
    """Each number behind one provider's verdict. A 404 names the nearest provider, a 400 the formats."""
    view = current_bridge().view()
    known = {verdict.provider for verdict in view.snapshot.verdicts} if view.snapshot else set()
    if name not in known and name.rstrip("/") in known:
        name = name.rstrip("/")
    if _wants_page():
        return _provider_page(view, name, known=name in known)
    if view.snapshot is None:
        raise ApiError(503, f"nothing is known of any provider yet: {view.trouble}", "GET /ready says when there is")
    if name not in known:
        close = nearest(name, known)
        hint = f"did you mean {close!r}?" if close else "GET /providers lists them"
        raise ApiError(404, f"there is no provider {name[:80]!r}", hint)
    return _varying(_table("explain", name))


@blueprint.get("/incidents")
def incidents() -> Response:
    """The incidents of ``from`` to ``to`` (else of the last 7 days): a page, or a table as ``/providers`` is.

    Raises TimeError, and ApiError for another format.
    """
    view = current_bridge().view()
    span = requests.span_by_url(request, view.now)
    if not _wants_page():
        return _varying(_table("incidents", span=span))
    asked = _asked("incidents", (), span)
    table = answers.answer(asked, view, current_bridge().store, None, current_budget())[0].table
    return _page(incident_page.incident_page(_frame(view), table, span))


@blueprint.get("/static/<name>")
def static_file(name: str) -> Response:
    """The pages' style sheet and script. Under the URL the pages use they never change, so browsers may keep them."""
    asset = page.ASSETS.get(name)
    if asset is None:
        raise ApiError(404, "there is no such file", HINTS[404])
    response = Response(asset.content, mimetype=asset.mimetype)
    if request.args.get("v") == asset.digest:
        response.headers["Cache-Control"] = f"private, max-age={ASSET_LIFETIME_SECONDS}, immutable"
    return response


def _fleet_page() -> Response:
    """The status page; a history that cannot be read costs it the lines and the last changes alone."""
    frame = _frame(current_bridge().view())
    view = frame.view
    try:
        trends, incidents, events = _trends(view), _last_incidents(view), _recent_events(view)
    except sqlite3.Error as error:
        _history_not_read(error)
        trends, incidents, events = Trends(Grid(SPANS_SECONDS[0], view.now)), [], []
    return _page(status_page.fleet_page(frame, trends, incidents, events))


def _trends(view: View) -> Trends:
    bridge = current_bridge()
    return bridge.trends.trends(bridge.store, view)


def _history_not_read(error: sqlite3.Error) -> None:
    current_bridge().store.doubt()
    requestlog.explain(f"the history could not be read: {error}")


def _last_incidents(view: View) -> list[Incident]:
    """The incidents of the last 24 h, by the time they began."""
    return incidents_of.found(view, current_bridge().store, TimeRange(view.now - page.DAY_SECONDS, view.now))


def _incident_lines(view: View) -> list[str]:
    """Blip or regression; a history that cannot be read costs the board this answer alone."""
    if view.snapshot is None:
        return []
    try:
        return board.incident_lines(view, _last_incidents(view))
    except sqlite3.Error as error:
        _history_not_read(error)
        return ["not known: the recorded history cannot be read just now"]


def _provider_page(view: View, name: str, *, known: bool) -> Response:
    frame = _frame(view)
    if not known:
        return _page(provider_page.missing_page(frame, name), status=404 if view.snapshot else 503)
    bridge = current_bridge()
    current_budget().begin()
    its = [one for one in _last_incidents(view) if one.provider == name]
    return _page(provider_page.provider_page(frame, name, bridge.store, its, _recent_events(view, name)))


def _frame(view: View) -> page.Frame:
    bridge = current_bridge()
    interval = view.poll.interval if view.poll else bridge.settings.poll_interval_seconds
    return page.Frame(view, page.root_from(page.raw_path(request)), max(1.0, interval))


def _recent_events(view: View, provider: str | None = None) -> list[Event]:
    """The events of the last 24 h, or as many of the newest as a page shows."""
    store, events, most = current_bridge().store, [], current_budget().limits.events
    for seconds in page.LOOKED_BACK_SECONDS:
        events = store.events(store.events_reach(view.now - seconds, view.now, most), view.now)
        news = sum(tables.is_news(event) and provider in (None, event.provider) for event in events)
        if news >= page.CHANGES_SHOWN:
            break
    return events


def _wants_page() -> bool:
    return "format" not in request.args and accept.wants_page(request)


def _wants_json() -> bool:
    usual = ("json", "text") if accept.names_json(request) else ("text", "json")
    return rows.wanted_format(request, usual) == "json"


def _base_url() -> str:
    """The bridge's URL as the client has it; where that is not what a host looks like, as it is by default."""
    host = request.host if HOST.fullmatch(request.host) else "localhost:5050"
    return f"{request.scheme}://{host}"


def _page(body: str, status: int = 200) -> Response:
    """A page, within the request's budget. Raises TooMuchError where it is too large."""
    if not current_budget().write(len(body), whole=True):
        raise current_budget().refusal()
    return page.response(body, status)


def _varying(response: Response) -> Response:
    """Of one URL there are several answers: caches shall know."""
    response.vary.add("Accept")
    return response


def _asked(name: str, filters: tuple[Matcher, ...], span: TimeRange | None) -> Request:
    return Request((Ask(name),), span, Steps(1, 0.0), filters)


def _table(name: str, provider: str | None = None, span: TimeRange | None = None) -> Response:
    wanted = rows.wanted_format(request)
    bridge = current_bridge()
    filters = () if provider is None else (matcher("provider", "=", provider),)
    view = bridge.view()
    budget = current_budget()
    answered = answers.answer(_asked(name, filters, span), view, bridge.store, None, budget)
    if wanted == "text":
        return formats.text_response(text.render(answered, view, budget))
    if wanted in rows.FORMATS:
        return rows.response(wanted, answered, view, budget, current=True)
    return formats.ready_json(items.written(items.items(answered, budget), view.trouble)[1:-1])
