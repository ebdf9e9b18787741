"""Answers gzipped for those who take them so, as Grafana and browsers do; and requests that come so."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response
from flask.globals import request_ctx
from isal import igzip
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

MIN_BYTES = 1400
"""What fits one packet is not worth it."""
LEVEL = 1
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WBITS = 31
"""zlib's word for its largest window, in gzip's frame."""


def register(app: Flask) -> None:
    """Compress every answer that is worth it and is not compressed yet."""
    app.after_request(_compress)


def wanted(environ: Mapping[str, Any]) -> bool:
    """True when a client takes gzip."""
    said = environ.get("HTTP_ACCEPT_ENCODING", "").lower()
    return "gzip" in said and parse_accept_header(said, Accept)["gzip"] > 0


def compressed(body: bytes) -> bytes:
    """The body gzipped, where that is worth it; the same bytes give the same bytes."""
    return body if len(body) < MIN_BYTES else igzip.compress(body, LEVEL, mtime=0)


def is_compressed(body: bytes) -> bool:
    """True for what ``compressed`` did compress: no text and no JSON begins like that."""
    return body[:2] == GZIP_MAGIC


def decompressed(body: bytes, max_bytes: int) -> bytes | None:
    """A gzipped body again; None for one of more than ``max_bytes``, of which no more is made.

    Raises ValueError for what is no gzip, breaks off or goes on.
    """
    unpacking = zlib.decompressobj(GZIP_WBITS)
    try:
        whole = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(whole) > max_bytes:
        return None
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("something follows its end" if unpacking.eof else "it breaks off")
    return whole


def _compress(response: Response) -> Response:
    asked = request_ctx.request  # one look for it, where flask.request would look for each of its attributes
    if asked.method == "POST" and not wanted(asked.environ):  # nobody caches that, so there is nothing to say either
        return response
    size = response.content_length or 0  # nobody knows it of what is streamed
    if size < MIN_BYTES or response.direct_passthrough or "Content-Encoding" in response.headers:
        return response
    response.vary.add("Accept-Encoding")
    if wanted(asked.environ):
        response.set_data(igzip.compress(response.get_data(), LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response
