"""The peer of ``/query``: a bare Flask route that returns ready bytes, under the bridge's own ``gunicorn.conf.py``."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response


class _Nothing:
    """Stands where ``gunicorn.conf.py`` starts and stops a bridge."""

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""


def app(body_file: str) -> Flask:
    """The application that answers with what stands in a file: gunicorn calls it, as ``benchmarks.bare:app("…")``."""
    made = Flask("bare", static_folder=None)
    made.extensions["bridge"] = _Nothing()
    body = Path(body_file).read_bytes()

    @made.post("/query")
    def query() -> Response:
        """The bytes."""
        return Response(body, mimetype="application/json")

    @made.get("/health")
    def health() -> Response:
        """It lives."""
        return Response(b"{}", mimetype="application/json")

    return made
