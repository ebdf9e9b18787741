"""Answers that are ready, given before Flask is asked: what dashboards ask for again and again needs no routing.

Only what ``POST /query`` put aside under the very body of the request; everything else goes its usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from flask import Flask

from bridge.bridge import Bridge
from bridge.queries import cache
from bridge.web import compression, requests
from bridge.web.auth import Credentials
from bridge.web.requestlog import ENDPOINT

PATHS = frozenset({"/query", "/api/query"})
_KEY = "bridge.ready_key"

Environ = dict[str, Any]


def register(app: Flask, credentials: Credentials) -> None:
    """Look for a ready answer first."""
    bridge: Bridge = app.extensions["bridge"]
    answer = app.wsgi_app

    def ready_first(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # A page of another origin wants headers of its own.
        if environ["PATH_INFO"] not in PATHS or environ["REQUEST_METHOD"] != "POST" or "HTTP_ORIGIN" in environ:
            return answer(environ, start_response)
        ready = _look(environ, bridge) if credentials.fit(environ) else None
        if ready is None:
            return answer(environ, start_response)
        environ[ENDPOINT] = environ["PATH_INFO"]
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(ready)))]
        if compression.is_compressed(ready):
            headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        start_response("200 OK", headers)
        return [ready]

    app.wsgi_app = ready_first  # type: ignore[method-assign]


def key_of(environ: Environ) -> Hashable | None:
    """What the answer to a request may be put aside under; None where it may not be."""
    key: Hashable | None = environ.get(_KEY)
    return key


def _look(environ: Environ, bridge: Bridge) -> bytes | None:
    try:
        body = requests.short_body(environ)
        view = bridge.view() if body else None
    except Exception:  # noqa: BLE001 (whatever it is, it is met again, and told, on the usual way)
        return None
    if view is None or view.trouble:  # what is wrong is told anew in each answer
        return None
    key = environ[_KEY] = (cache.short(body), cache.moment(view), compression.wanted(environ))
    found: bytes | None = bridge.answers.called(key, view.now)
    return found
