"""For people who are woken at night: the status page, the board at ``/``, and the tables by URL."""

from __future__ import annotations

import re
import sqlite3

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.model import Event
from bridge.queries import answer as answers
from bridge.queries import tables
from bridge.queries.answer import Ask, Request
from bridge.queries.series import Steps
from bridge.queries.targets import matcher, nearest
from bridge.queries.trend import SPANS_SECONDS, Grid, Trends
from bridge.queries.view import View
from bridge.web import board, formats, page, provider_page, requestlog, rows, status_page, text
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
    return _varying(formats.text_response(board.board_text(view, _base_url(), _spell_lines(view))))


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
        trends, events = _trends(view), _recent_events(view)
    except sqlite3.Error as error:
        _history_not_read(error)
        trends, events = Trends(Grid(SPANS_SECONDS[0], view.now)), []
    return _html(status_page.fleet_page(frame, trends, events))


def _trends(view: View) -> Trends:
    bridge = current_bridge()
    return bridge.trends.trends(bridge.store, view)


def _history_not_read(error: sqlite3.Error) -> None:
    current_bridge().store.doubt()
    requestlog.explain(f"the history could not be read: {error}")


def _spell_lines(view: View) -> list[str]:
    """Blip or regression; a history that cannot be read costs the board this answer alone."""
    if view.snapshot is None:
        return []
    try:
        return status_page.spell_lines(view, _trends(view))
    except sqlite3.Error as error:
        _history_not_read(error)
        return ["not known: the recorded history cannot be read just now"]


def _provider_page(view: View, name: str, *, known: bool) -> Response:
    frame = _frame(view)
    if not known:
        return _html(provider_page.missing_page(frame, name), status=404 if view.snapshot else 503)
    bridge = current_bridge()
    return _html(provider_page.provider_page(frame, name, bridge.store, _recent_events(view, name)))


def _frame(view: View) -> page.Frame:
    bridge = current_bridge()
    interval = view.poll.interval if view.poll else bridge.settings.poll_interval_seconds
    raw_path = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path
    return page.Frame(view, page.root_from(raw_path), max(1.0, interval))


def _recent_events(view: View, provider: str | None = None) -> list[Event]:
    """The events of the last 24 h, or as many of the newest as a page shows."""
    store, events = current_bridge().store, []
    for seconds in page.LOOKED_BACK_SECONDS:
        events = store.events(view.now - seconds, view.now)
        news = sum(tables.is_news(event) and provider in (None, event.provider) for event in events)
        if news >= page.CHANGES_SHOWN:
            break
    return events


def _wants_page() -> bool:
    """True for a browser that opens a page: it names text/html, and likes nothing else better."""
    if "format" in request.args:
        return False
    quality = dict(request.accept_mimetypes)
    page_quality = quality.get("text/html", 0)
    return page_quality > 0 and page_quality >= quality.get("application/json", 0)


def _wants_json() -> bool:
    accepted = f"{request.headers.get('Accept', '')} {request.headers.get('Content-Type', '')}".lower()
    usual = ("json", "text") if "application/json" in accepted else ("text", "json")
    return rows.wanted_format(request, usual) == "json"


def _base_url() -> str:
    """The bridge's URL as the client has it; where that is not what a host looks like, as it is by default."""
    host = request.host if HOST.fullmatch(request.host) else "localhost:5050"
    return f"{request.scheme}://{host}"


def _html(body: str, *, status: int = 200) -> Response:
    """A page that may load nothing but its own style sheet and script."""
    response = Response(body, status=status, mimetype="text/html")
    response.headers["Content-Security-Policy"] = page.CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return _varying(response)


def _varying(response: Response) -> Response:
    """Of one URL there are several answers: caches shall know."""
    response.vary.add("Accept")
    return response


def _table(name: str, provider: str | None = None) -> Response:
    wanted = rows.wanted_format(request)
    bridge = current_bridge()
    filters = () if provider is None else (matcher("provider", "=", provider),)
    asked = Request((Ask(name),), None, Steps(1, 0.0), filters)
    view = bridge.view()
    answered = answers.answer(asked, view, bridge.store, None)
    if wanted == "text":
        return formats.text_response(text.render(answered, view.now))
    if wanted in rows.FORMATS:
        return rows.response(wanted, answered, view, current=True)
    return formats.json_response(formats.simple_json(answered)[0])
