"""Every request is counted and gets one log line, with the ids it goes by.

``X-Request-ID`` is the client's, where it is sane, and goes back with every answer; the trace is the one that
``traceparent`` names (https://www.w3.org/TR/trace-context/). Nothing else that a client sends is logged: the endpoint
is the route's template.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Flask, Request, has_request_context, request

from bridge import logs
from bridge.web.counts import OwnMetrics

SLOW_SECONDS = 3.0
QUIET = frozenset(f"{prefix}/{name}" for prefix in ("", "/api") for name in ("health", "ready", "metrics"))
"""Asked every few seconds by machines; logged at ``debug`` while nothing is wrong."""
NOT_READY = 503

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"

ENDPOINT = "bridge.endpoint"
"""Where a request's environment says which route answers it, if Flask was not asked."""
_REQUEST_ID = "bridge.request_id"
_TROUBLE = "bridge.trouble"
_SANE = re.compile(r"[A-Za-z0-9._~:+/=@-]{1,128}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def register(app: Flask, metrics: OwnMetrics, level: str) -> None:
    """Count and log every request of the application. To be registered last: then it sees what goes out.

    ``level`` as ``INFO``: what is below is not written.
    """
    shown = {name.lower(): number >= logging.getLevelNamesMapping()[level] for name, number in _LEVELS.items()}
    answer = app.wsgi_app

    def timed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        began = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            headers.append(("X-Request-ID", _request_id(environ)))
            tell(environ, int(status[:3]), time.perf_counter() - began)
            return start_response(status, headers, *error)

        return answer(environ, start)

    def tell(environ: dict[str, Any], status: int, seconds: float) -> None:
        endpoint = environ.get(ENDPOINT) or _rule(environ)
        method = environ["REQUEST_METHOD"]
        method = method if method in METHODS else "other"
        metrics.request(endpoint, method, status, seconds)
        said = _level(status, endpoint, seconds)
        if shown[said]:
            _write(said, environ, endpoint, method, status, seconds)

    app.wsgi_app = timed  # type: ignore[method-assign]


def _rule(environ: Mapping[str, Any]) -> str:
    """The template of the route that answers a request."""
    asked: Request | None = environ.get("werkzeug.request")
    return NO_ROUTE if asked is None or asked.url_rule is None else asked.url_rule.rule


def _write(level: str, environ: dict[str, Any], endpoint: str, method: str, status: int, seconds: float) -> None:
    trouble = environ.get(_TROUBLE)
    message, more = (f"{method} {endpoint} {status}", {}) if trouble is None else trouble
    write = logs.write_soon if level in ("debug", "info") else logs.write
    write(
        level,
        "request",
        message,
        {
            "request_id": _request_id(environ),
            "trace_id": _trace_id(environ),
            "endpoint": endpoint,
            "method": method,
            "status_code": status,
            "duration_ms": round(seconds * 1000, 3),
            **more,
        },
    )


_LEVELS = {name: number for name, number in logging.getLevelNamesMapping().items() if name != "NOTSET"}


def explain(message: str, error: BaseException | None = None) -> None:
    """Have the line of the request in hand say what went wrong, with the exception's traceback if one is given."""
    more = {} if error is None else {"exception": logs.traceback_of(error)}
    request.environ[_TROUBLE] = message, more


def current() -> Mapping[str, Any]:
    """What lines that are written while a request is answered say about it; nothing outside of one."""
    if not has_request_context():
        return {}
    rule = request.url_rule
    return {
        "request_id": _request_id(request.environ),
        "trace_id": _trace_id(request.environ),
        "endpoint": NO_ROUTE if rule is None else rule.rule,
        "method": request.method if request.method in METHODS else "other",
    }


def _level(status: int, endpoint: str, seconds: float) -> str:
    if status >= 500 and not (status == NOT_READY and endpoint in QUIET):
        return "error"
    if seconds > SLOW_SECONDS or (400 <= status < 500 and status not in (404, 405)):
        return "warning"
    return "debug" if endpoint in QUIET else "info"


def _request_id(environ: dict[str, Any]) -> str:
    """The id that came with a request, or one made up; the same whenever it is asked for."""
    known: str | None = environ.get(_REQUEST_ID)
    if known is None:
        given: str | None = environ.get("HTTP_X_REQUEST_ID")
        known = given if given and _SANE.fullmatch(given) else f"{random.getrandbits(128):032x}"
        environ[_REQUEST_ID] = known
    return known


def _trace_id(environ: Mapping[str, Any]) -> str | None:
    """The trace a request belongs to; None without a ``traceparent``, or with one that is none."""
    given = environ.get("HTTP_TRACEPARENT")
    parts = None if given is None else _TRACEPARENT.fullmatch(given)
    if parts is None:
        return None
    version, trace_id, parent_id, more = parts.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    return trace_id
