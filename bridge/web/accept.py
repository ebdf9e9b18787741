"""What a client wants to be answered in: a page, JSON, or text for a terminal."""

from __future__ import annotations

from flask import Request


def wants_page(request: Request) -> bool:
    """True for a browser that opens a page: it names text/html, and likes JSON no better."""
    quality = dict(request.accept_mimetypes)
    page_quality = quality.get("text/html", 0)
    return page_quality > 0 and page_quality >= quality.get("application/json", 0)


def names_json(request: Request) -> bool:
    """True where JSON is named in Accept or, as Grafana's front end does, in Content-Type."""
    named = f"{request.headers.get('Accept', '')} {request.headers.get('Content-Type', '')}"
    return "application/json" in named.lower()
