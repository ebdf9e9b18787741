"""What all HTML pages share: templates, static files, names and links that are safe whatever they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from flask import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from bridge.model import Event
from bridge.queries.tables import Column, is_news
from bridge.queries.view import View, clock, duration
from bridge.web.text import cell, printable

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NAME_CHARACTERS = 120
"""A longer name loses its middle."""
CHANGES_SHOWN = 15
DAY_SECONDS = 86_400.0
LOOKED_BACK_SECONDS = (900.0, 6 * 3600.0, DAY_SECONDS)
"""How far the last transitions are looked for: further only where there are too few."""
KINDS = {
    **dict.fromkeys(("down", "OPEN"), "down"),
    **dict.fromkeys(("degraded", "HALF_OPEN"), "degraded"),
    **dict.fromkeys(("healthy", "CLOSED", "up", "present"), "healthy"),
}
"""Shape and colour of a word, as they are called in the style sheet; all others are ``unknown``."""
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%23{colour}' d='{shape}'/%3E%3C/svg%3E"
)
ICONS = {
    "down": ICON.format(colour="d92d20", shape="M0 1h16L8 15z"),
    "degraded": ICON.format(colour="dc8a04", shape="M8 0l8 8-8 8-8-8z"),
    "healthy": ICON.format(colour="17a34a", shape="M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1z"),
    "unknown": ICON.format(
        colour="8590a2", shape="M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1zm0 4a3 3 0 1 1 0 6 3 3 0 1 1 0-6z"
    ),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file. ``digest`` is of its content and stands in its URL, so that browsers may keep it."""

    name: str
    mimetype: str
    content: bytes

    @property
    def digest(self) -> str:
        """Short, of the content."""
        return hashlib.sha256(self.content).hexdigest()[:12]


def _assets() -> dict[str, Asset]:
    folder = Path(__file__).parent / "static"
    kinds = {"status.css": "text/css", "status.js": "text/javascript"}
    return {name: Asset(name, kind, (folder / name).read_bytes()) for name, kind in kinds.items()}


ASSETS = _assets()


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page needs to know of the request and the moment."""

    view: View
    root: str
    """The way from the page to the bridge's root: empty, or ``../`` as often as it takes."""
    refresh_seconds: float

    @property
    def as_of(self) -> str:
        """When the page was made."""
        return clock(self.view.now)

    @property
    def trouble(self) -> str:
        """What a banner says; empty when all is well."""
        return self.view.trouble

    @property
    def consequence(self) -> str:
        """What trouble means for the numbers."""
        view = self.view
        if view.snapshot is None or view.age_seconds is None:
            return "There are no numbers to show yet."
        read = f"The last good poll was at {clock(view.snapshot.at)}, {duration(view.age_seconds)} ago"
        if view.stale:
            return f"{read}: too old to count as now, so every status is unknown and no number is shown."
        return f"{read}, and its numbers still count: for {duration(view.stale_after_seconds)} after a poll."

    def href(self, provider: str) -> str:
        """A link to a provider's page."""
        return f"{self.root}providers/{path_of(provider)}"


@dataclass(frozen=True, slots=True)
class Change:
    """A transition."""

    at: float
    provider: str
    model: str
    before: str
    after: str
    reason: str


def changes(read: Iterable[Event], provider: str | None = None) -> list[Change]:
    """The news among some events (oldest first), newest first: of one provider, or of all."""
    wanted = [event for event in read if is_news(event) and provider in (None, event.provider)]
    newest = wanted[: -CHANGES_SHOWN - 1 : -1]
    return [Change(it.at, it.provider, it.model, it.before, it.after, it.reason) for it in newest]


def path_of(name: str) -> str:
    """A provider's name as the end of a URL, such that no browser or proxy makes another one of it."""
    parts = name.split("/")
    if name and all(part not in ("", ".", "..") for part in parts):
        return quote(name, safe="/")
    return quote(name, safe="") + ("%2F" if name in (".", "..") else "")


def raw_path(request: Request) -> str:
    """The path as the browser has it."""
    return request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path


def root_from(raw_path: str) -> str:
    """The way back to the root from a path as the browser has it, where ``%2F`` is no slash."""
    return "../" * (raw_path.partition("?")[0].count("/") - 1)


def shown(name: str) -> str:
    """A text from outside as it can stand on a page: nothing in it is obeyed, and it is not endless."""
    if len(name) > NAME_CHARACTERS:
        name = f"{name[: NAME_CHARACTERS // 2]}…{name[-NAME_CHARACTERS // 2 :]}"
    return printable(name)


def number(value: float | None, unit: str = "") -> str:
    """A number as the board has it."""
    return cell(value, Column("", "number", unit), 0.0)


def kind(word: str) -> str:
    """What a word's shape and colour are called."""
    return KINDS.get(word, "unknown")


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(at: float, now: float) -> str:
    """A time of day, with its date where that is not today's."""
    then, today = (datetime.fromtimestamp(moment, UTC) for moment in (at, now))
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%m-%d %H:%M:%S")


def render(template: str, frame: Frame, **content: object) -> str:
    """A page."""
    return _templates.get_template(template).render(frame=frame, **content)


def error(status: int, message: str, hint: str, root: str) -> str:
    """A page that says what went wrong. It asks nothing of the bridge, which may be what is wrong."""
    return _templates.get_template("error.html").render(status=status, message=message, hint=hint, root=root)


def response(body: str, status: int = 200) -> Response:
    """A page that may load nothing but its own style sheet and script."""
    made = Response(body, status=status, mimetype="text/html")
    made.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    made.headers["Referrer-Policy"] = "no-referrer"
    made.vary.add("Accept")  # of one URL there are several answers: caches shall know
    return made


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("bridge.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update(
        printable=printable,
        shown=shown,
        number=number,
        kind=kind,
        iso=_iso,
        short=_short,
        clock=clock,
        duration=duration,
    )
    made.globals.update(assets={name: asset.digest for name, asset in ASSETS.items()}, icons=ICONS)
    return made


_templates = _environment()


def plural(count: int, noun: str) -> str:
    """``1 spell``, ``2 spells``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def worst_of(words: Sequence[str]) -> str:
    """The worst status among some; ``unknown`` when there is none."""
    return next((word for word in ("down", "degraded", "unknown", "healthy") if word in words), "unknown")
