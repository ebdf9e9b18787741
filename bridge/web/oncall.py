"""For people who are woken at night: the board at ``/`` and the tables by URL."""

from __future__ import annotations

from flask import Blueprint, Response, request

from bridge.bridge import current_bridge
from bridge.queries import answer as answers
from bridge.queries.answer import Ask, Request
from bridge.queries.series import Steps
from bridge.queries.targets import matcher, nearest
from bridge.web import board, formats, rows, text
from bridge.web.errors import ApiError

blueprint = Blueprint("oncall", __name__)


@blueprint.get("/")
def status_board() -> Response:
    """The summary as JSON for who asks for JSON (as Grafana's connection test does), else the board as text."""
    view = current_bridge().view()
    asks_json = "application/json" in (request.headers.get("Accept", "") + request.headers.get("Content-Type", ""))
    if asks_json:
        return formats.json_response(board.summary(view))
    return formats.text_response(board.board_text(view, request.host_url.rstrip("/")))


@blueprint.get("/providers")
def providers() -> Response:
    """The providers table, as JSON, or with ``format=text``, ``rows`` or ``csv``."""
    return _table("providers")


@blueprint.get("/providers/<path:name>")
def provider(name: str) -> Response:
    """Each number behind one provider's verdict. A 404 names the nearest provider."""
    view = current_bridge().view()
    known = [verdict.provider for verdict in view.verdicts()]
    if name not in known and name.rstrip("/") in known:
        name = name.rstrip("/")
    if name not in known:
        close = nearest(name, known)
        hint = f"did you mean {close!r}?" if close else "GET /providers lists them"
        raise ApiError(404, f"there is no provider {name[:80]!r}", hint)
    return _table("explain", name)


def _table(name: str, provider: str | None = None) -> Response:
    bridge = current_bridge()
    filters = () if provider is None else (matcher("provider", "=", provider),)
    asked = Request((Ask(name),), None, Steps(1, 0.0), filters)
    view = bridge.view()
    answered = answers.answer(asked, view, bridge.store, None)
    wanted = request.args.get("format")
    if wanted == "text":
        return formats.text_response(text.render(answered, view.now))
    if wanted in rows.FORMATS:
        return rows.response(wanted, answered, view, current=True)
    return formats.json_response(formats.simple_json(answered)[0])
