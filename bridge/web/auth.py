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
        self._accepted = []
        if settings.bridge_token:
            self._accepted.append(f"Bearer {settings.bridge_token}".encode())
        if settings.bridge_basic_auth:
            self._accepted.append(b"Basic " + b64encode(settings.bridge_basic_auth.encode()))

    def fit(self, environ: Mapping[str, Any]) -> bool:
        """True for a request that may be answered."""
        if not self._accepted:
            return True
        given = environ.get("HTTP_AUTHORIZATION", "").encode()
        return bool(sum(hmac.compare_digest(given, credential) for credential in self._accepted))


def register(app: Flask, settings: Settings, credentials: Credentials) -> None:
    """Ask for the credential on every route but ``/health``, before anything of the body is read."""

    @app.before_request
    def check() -> Response | None:
        if settings.cors_origins and request.method == "OPTIONS":
            return Response(status=204)
        if credentials.fit(request.environ) or request.path.rstrip("/") in OPEN_PATHS:
            return None
        given = request.headers.get("Authorization", "").encode()
        return _refused(given, with_password=settings.bridge_basic_auth is not None)

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


def _refused(given: bytes, *, with_password: bool) -> Response:
    """A browser that asks for a page gets the 401 that lets it sign in, where a password would do; others a 403.

    A 401 through Grafana's proxy makes it retry, and can log its viewers out.
    """
    what = "a wrong credential" if given else "no credential"
    hint = "send BRIDGE_TOKEN as Authorization: Bearer …, or BRIDGE_BASIC_AUTH as basic auth"
    page = with_password and request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    response = error_response(401 if page else 403, f"the request carries {what}", hint)
    if page:
        response.headers["WWW-Authenticate"] = 'Basic realm="Provider Health Bridge", charset="UTF-8"'
    return response


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
