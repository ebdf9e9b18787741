"""The peer of ``/query``: a bare Flask route that returns ready bytes, under the bridge's own ``gunicorn.conf.py``."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, Response


class _Nothing:
    """Stands where ``gunicorn.conf.py`` starts and stops a bridge."""

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""


app = Flask("bare", static_folder=None)
app.extensions["bridge"] = _Nothing()
BODY = Path(os.environ["BARE_BODY"]).read_bytes()  # noqa: TID251 (one file, from the benchmark to its peer)


@app.post("/query")
def query() -> Response:
    """The bytes."""
    return Response(BODY, mimetype="application/json")


@app.get("/health")
def health() -> Response:
    """It lives."""
    return Response(b"{}", mimetype="application/json")
