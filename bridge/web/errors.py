"""Everything that goes wrong at the web edge: JSON that every client can show, a line for a terminal, or a page."""

from __future__ import annotations

import sqlite3

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from bridge.bridge import current_bridge
from bridge.queries.admission import BusyError
from bridge.queries.budget import TooMuchError
from bridge.queries.targets import TargetError, with_hint
from bridge.queries.timerange import TimeError
from bridge.web import accept, page, requestlog
from bridge.web.formats import json_bytes, ready_json, text_response
from bridge.web.text import printable

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    414: "too_long",
    415: "unsupported_encoding",
    422: "too_much",
    429: "busy",
    500: "internal_error",
    503: "unavailable",
}
HINTS = {
    400: "send it again, in full and as HTTP/1.1 has it",
    404: "there are /, /providers, /query, /annotations, /search, /metrics, /health and /ready; GET /help says more",
    405: "another method is wanted",
    413: "a request body has at most 1 MiB",
    414: "POST /query takes what is too long for a URL",
    415: "send it as it is, or with gzip",
    429: "ask again in a moment, or for less: a shorter range, fewer series",
    431: "a header has at most 8 KiB",
    500: "this is a mistake of the bridge's own; its log has the details",
}


class ApiError(Exception):
    """An answer that is an error: an HTTP status, what is wrong, and what would be right."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


def error_response(status: int, message: str, hint: str = "") -> Response:
    """An error as who asks can read it: by GET a page for a browser and a line of text for a terminal, else JSON."""
    if request.method not in ("GET", "HEAD"):
        return ready_json(error_body(status, message, hint), status=status)
    if accept.wants_page(request):
        response = page.response(page.error(status, message, hint, page.root_from(page.raw_path(request))), status)
    elif accept.names_json(request):
        response = ready_json(error_body(status, message, hint), status=status)
    else:
        response = text_response(printable(with_hint(message, hint)) + "\n", status=status)
    response.vary.add("Accept")
    return response


def error_body(status: int, message: str, hint: str) -> bytes:
    """``{"message", "hint", "error": {"code", "message"}}``: Simple JSON shows the first, simPod the last."""
    told = with_hint(message, hint)
    return json_bytes(
        {"message": told, "hint": hint, "error": {"code": CODES.get(status, f"http_{status}"), "message": told}}
    )


def register(app: Flask) -> None:
    """Map every exception to its answer; what has no content has no type."""

    @app.after_request
    def untyped(response: Response) -> Response:
        if request.method == "OPTIONS" and not response.content_length:
            response.headers.pop("Content-Type", None)
        return response

    @app.errorhandler(ApiError)
    def api_error(error: ApiError) -> Response:
        response = error_response(error.status, error.message, error.hint)
        if error.status == 415:
            response.headers["Accept-Encoding"] = "gzip"
        return response

    @app.errorhandler(TooMuchError)
    def too_much(error: TooMuchError) -> Response:
        return error_response(422, error.message, error.hint)

    @app.errorhandler(BusyError)
    def busy(error: BusyError) -> Response:
        response = error_response(429, f"too much is asked of the bridge at once: {error}", HINTS[429])
        response.headers["Retry-After"] = str(error.retry_seconds)
        return response

    @app.errorhandler(TargetError)
    @app.errorhandler(TimeError)
    def bad_query(error: TargetError | TimeError) -> Response:
        return error_response(400, error.message, error.hint)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        allowed = sorted(getattr(error, "valid_methods", None) or ())
        hint = f"{printable(request.path[:80])} answers {', '.join(allowed)}" if allowed else HINTS.get(status, "")
        response = error_response(status, f"{status} {error.name}", hint)
        if allowed:
            response.headers["Allow"] = ", ".join(allowed)
        return response

    @app.errorhandler(sqlite3.Error)
    def no_history(error: sqlite3.Error) -> Response:
        current_bridge().store.doubt()
        requestlog.explain(f"the history could not be read: {error}")
        return error_response(503, "the recorded history cannot be read just now", "try again; see the bridge's log")

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        requestlog.explain(f"{type(error).__name__} while answering", error)
        return error_response(500, "500 Internal Server Error", HINTS[500])
