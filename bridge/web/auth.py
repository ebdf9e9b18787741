"""Who may ask, and from which web pages."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from flask import Flask, Response, request

from bridge.settings import Settings
from bridge.web.errors import error_response

OPEN_PATHS = frozenset({"/health", "/api/health"})


class Credentials:
    """What a request must carry; nothing where no credential is set."""

    def __init__(self, settings: Settings) -> None:
        self._accepted: dict[str, bytes] = {}
        if settings.bridge_token:
            self._accepted["bearer"] = settings.bridge_token.encode()
        if settings.bridge_basic_auth:
            self._accepted["basic"] = b64encode(settings.bridge_basic_auth.encode())

    def fit(self, environ: Mapping[str, Any]) -> bool:
        """True for a request that may be answered."""
        if not self._accepted:
            return True
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        credential = self._accepted.get(scheme.lower())
        return credential is not None and hmac.compare_digest(given.strip(" ").encode(), credential)

    @property
    def challenges(self) -> list[str]:
        """What a 401 says would be accepted."""
        realm = 'realm="Provider Health Bridge"'
        words = {"bearer": f"Bearer {realm}", "basic": f'Basic {realm}, charset="UTF-8"'}
        return [words[scheme] for scheme in self._accepted]


def register(app: Flask, settings: Settings, credentials: Credentials) -> None:
    """Ask for the credential on every route but ``/health``, before anything of the body is read."""

    @app.before_request
    def check() -> Response | None:
        if settings.cors_origins and request.method == "OPTIONS":
            return Response(status=204)
        if credentials.fit(request.environ) or request.path.rstrip("/") in OPEN_PATHS:
            return None
        return _refused(credentials)

    if settings.cors_origins:
        _allow(app, settings.cors_origins)

    answer = app.wsgi_app

    def with_common_headers(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            if not any(name == "Cache-Control" for name, _ in headers):
                headers.append(("Cache-Control", "no-store"))
            headers.append(("X-Content-Type-Options", "nosniff"))
            return start_response(status, headers, *error)

        return answer(environ, start)

    app.wsgi_app = with_common_headers  # type: ignore[method-assign]


def _refused(credentials: Credentials) -> Response:
    """A 401 with what would be accepted, which lets curl and browsers sign in; a 403 for what Grafana's front end asks.

    A 401 through Grafana's proxy makes it retry, and can log its viewers out.
    """
    what = "a wrong credential" if request.headers.get("Authorization") else "no credential"
    hint = "send BRIDGE_TOKEN as Authorization: Bearer …, or BRIDGE_BASIC_AUTH as basic auth"
    status = 403 if _asked_by_grafana() else 401
    response = error_response(status, f"the request carries {what}", hint)
    if status == 401:
        for challenge in credentials.challenges:
            response.headers.add("WWW-Authenticate", challenge)
    return response


def _asked_by_grafana() -> bool:
    """True for what Grafana's front end asks: every POST, and its connection test, a GET that says it carries JSON."""
    if request.method not in ("GET", "HEAD"):
        return True
    at_root = request.path.rstrip("/") in ("", "/api")
    return at_root and "application/json" in request.headers.get("Content-Type", "").lower()


def _allow(app: Flask, origins: Collection[str]) -> None:
    """Let pages of these origins call."""

    @app.after_request
    def allow(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin and (origin in origins or "*" in origins):
            response.headers["Access-Control-Allow-Origin"] = origin if origin in origins else "*"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Accept"
            response.headers["Access-Control-Max-Age"] = "600"
            response.vary.add("Origin")
        return response
