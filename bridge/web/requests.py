"""What clients send, read tolerantly where they differ and refused clearly where nothing can be made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Request as HttpRequest
from werkzeug.exceptions import HTTPException

from bridge.queries.answer import EVENTS_WITHOUT_RANGE_SECONDS, Ask, Request
from bridge.queries.forms import listed
from bridge.queries.matchers import MAX_REGEX_CHARACTERS, OPERATORS, Known, regex_characters, regex_too_long, shown
from bridge.queries.series import MOST_POINTS, Steps
from bridge.queries.targets import Matcher, TargetError, matcher
from bridge.queries.timerange import TimeRange, parse_count, parse_range, url_time
from bridge.web.asks import EXAMPLE, ask, kind_of
from bridge.web.compression import decompressed
from bridge.web.errors import HINTS, ApiError

MAX_TARGETS = 100
MAX_FILTERS = 32
YEAR_MILLISECONDS = 366 * 86_400_000
MAX_ECHO_BYTES = 4_096
"""An annotation is echoed in each of its events, so a large one would multiply."""
MAX_NAME_CHARACTERS = 200
SHORT_BODY_DIGITS = 5
UNUSUAL = ("HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING")
"""Headers of bodies that are not what comes over the wire."""
GZIP = ("gzip", "x-gzip")
_BODY = "bridge.body"
"""Where a request's environment keeps its body once it was read."""
EXAMPLE_ANNOTATION = '{"range": {"from": "now-6h", "to": "now"}, "annotation": {"query": "circuit"}}'


@dataclass(frozen=True, slots=True)
class AnnotationRequest:
    """Which annotations are asked for, and the JSON that goes back with each of them."""

    query: str
    span: TimeRange
    echo: bytes


def short_body(environ: dict[str, Any]) -> bytes:
    """A body of usual size, read at once; empty for every other: nothing is read of that, unless it breaks off."""
    length = environ.get("CONTENT_LENGTH", "")
    usual = 1 <= len(length) <= SHORT_BODY_DIGITS and length.isdecimal() and environ.keys().isdisjoint(UNUSUAL)
    if not usual:
        return b""
    body: bytes = environ["wsgi.input"].read(int(length))
    if len(body) != int(length):
        return b""
    environ[_BODY] = body
    return body


def whole_body(request: HttpRequest) -> bytes:
    """The request's body, decompressed.

    Raises ApiError 413, or its like of the framework's own, for one that is too large, 415 for an encoding other than
    gzip, and 400 for one that breaks off.
    """
    body: bytes | None = request.environ.get(_BODY)
    if body is None:
        body = request.environ[_BODY] = _decoded(request)
    return body


def _decoded(request: HttpRequest) -> bytes:
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return _any_body(request)
    if encoding not in GZIP:
        raise ApiError(415, f"the body's Content-Encoding {encoding[:40]!r} is not read", HINTS[415])
    sent = _any_body(request)
    try:
        body = decompressed(sent, request.max_content_length or 0) if sent else sent
    except ValueError as error:
        raise ApiError(400, f"the body is not gzip: {error}", HINTS[400]) from None
    if body is None:
        raise ApiError(413, "413 Request Entity Too Large", HINTS[413])
    return body


def _any_body(request: HttpRequest) -> bytes:
    try:
        body = request.get_data()
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001 (what a server raises for chunks that are none is its own affair)
        raise ApiError(400, "the body cannot be read to its end", HINTS[400]) from None
    if request.content_length is None and len(body) >= (request.max_content_length or len(body) + 1):
        raise ApiError(413, "413 Request Entity Too Large", HINTS[413])  # sent in chunks, it would end at the limit
    return body


def json_object(request: HttpRequest) -> dict[str, Any]:
    """The request's body, whatever its Content-Type says; an empty one counts as ``{}``. Raises ApiError 400."""
    body = whole_body(request)
    if not body.strip():
        return {}
    try:
        content = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}", f"send a body like {EXAMPLE}") from None
    if not isinstance(content, dict):
        raise ApiError(400, f"the body is JSON, but {kind_of(content)} and no object", f"send a body like {EXAMPLE}")
    return content


def from_body(body: Mapping[str, Any], now: float, known: Known) -> Request:
    """A Simple JSON (or simPod) query. Hidden and empty targets are skipped; simPod asks for annotations here too.

    ``known`` gives the texts that exist of a label. An ad-hoc filter that cannot be used is left out, and told. Raises
    ApiError, TargetError or TimeError, each saying what would be right.
    """
    if "targets" not in body:
        raise ApiError(400, "the body has no targets", f"send a body like {EXAMPLE}")
    targets = body["targets"]
    if not isinstance(targets, list):
        raise ApiError(400, f"targets is {kind_of(targets)}, not a list", f"send a body like {EXAMPLE}")
    _check_count(targets)
    drawn = _draws_annotations(body)
    asks = [ask(target, number, known, annotation=drawn) for number, target in enumerate(targets, start=1)]
    chosen, notices = filters(body, known)
    return Request(
        asks=tuple(one for one in asks if one is not None),
        span=_span(body.get("range"), now),
        relative=_is_relative(body.get("range")),
        steps=_steps(body.get("maxDataPoints"), body.get("intervalMs")),
        filters=tuple(chosen),
        notices=tuple(notices),
    )


def from_arguments(request: HttpRequest, now: float) -> Request:
    """The same as a GET: ``target`` (repeatable), ``from``, ``to``, ``maxDataPoints``, ``intervalMs``, ``type``."""
    arguments = request.args
    targets = [text for text in arguments.getlist("target") if text.strip()]
    if not targets:
        raise ApiError(400, "no target is given", "ask like /query?target=providers&format=text")
    _check_count(targets)
    return Request(
        asks=tuple(Ask(text, as_table=arguments.get("type") == "table") for text in targets),
        span=_url_span(request, now),
        steps=_steps(arguments.get("maxDataPoints"), arguments.get("intervalMs")),
    )


def annotation_by_url(request: HttpRequest, now: float) -> AnnotationRequest:
    """The same as ``annotation`` of a GET: ``query``, ``from``, ``to``. Raises TimeError."""
    return AnnotationRequest(request.args.get("query", ""), _url_span(request, now) or _last_day(now), b"null")


def span_by_url(request: HttpRequest, now: float) -> TimeRange | None:
    """``from`` and ``to`` of a GET; None where neither is given. Raises TimeError."""
    return _url_span(request, now)


def annotation(body: Mapping[str, Any], now: float) -> AnnotationRequest:
    """A Simple JSON annotation query. Without a range it is the last 24 hours, without a query what an empty one draws.

    Raises ApiError or TimeError.
    """
    asked = body.get("annotation")
    if asked is not None and not isinstance(asked, dict | str):
        raise ApiError(400, f"annotation is {kind_of(asked)}, not an object", f"send a body like {EXAMPLE_ANNOTATION}")
    query = asked.get("query") if isinstance(asked, dict) else None
    if query is not None and not isinstance(query, str):
        message = f"the annotation's query is {kind_of(query)}, not a text"
        raise ApiError(400, message, f"send a body like {EXAMPLE_ANNOTATION}")
    return AnnotationRequest(query or "", _span(body.get("range"), now) or _last_day(now), _echo(asked))


def _last_day(now: float) -> TimeRange:
    return TimeRange(max(0.0, now - EVENTS_WITHOUT_RANGE_SECONDS), now)


def _draws_annotations(body: Mapping[str, Any]) -> bool:
    """True for simPod's annotation queries: a query like any other, but for the annotation among its variables."""
    variables = body.get("scopedVars")
    if isinstance(variables, dict) and "__annotation" in variables:
        return True
    targets = [target for target in body["targets"] if isinstance(target, dict)]
    return bool(targets) and all(target.get("refId") == "Anno" for target in targets)


def _echo(asked: dict[str, Any] | str | None) -> bytes:
    """An annotation as it was sent, or its name alone when it is large."""
    try:
        content = orjson.dumps(asked)
    except orjson.JSONEncodeError:  # JSON may be read nested more deeply than it may be written
        content = b""
    if content and len(content) <= MAX_ECHO_BYTES:
        return content
    name = asked.get("name") if isinstance(asked, dict) else asked
    return orjson.dumps({"name": name[:MAX_NAME_CHARACTERS] if isinstance(name, str) else ""})


def _check_count(targets: Sequence[object]) -> None:
    if len(targets) > MAX_TARGETS:
        raise ApiError(
            400,
            f"{len(targets)} targets are too many: at most {MAX_TARGETS} a request",
            'ask for several providers in one target, as {provider=~"openai|groq"}',
        )


def _url_span(request: HttpRequest, now: float) -> TimeRange | None:
    start, end = url_time(request.args.get("from", "")), url_time(request.args.get("to", ""))
    return parse_range(start, end, now) if start or end else None


def _span(span: object, now: float) -> TimeRange | None:
    if span is None:
        return None
    if not isinstance(span, dict):
        raise ApiError(400, f"range is {kind_of(span)}, not an object", f"send a body like {EXAMPLE}")
    start, end = span.get("from"), span.get("to")
    return None if start in (None, "") and end in (None, "") else parse_range(start, end, now)


def _is_relative(span: object) -> bool:
    """Whether a range is, or was chosen as, one that moves on with the clock; without an end it goes up to now."""
    if not isinstance(span, dict):
        return False
    if span.get("to") in (None, ""):
        return True
    raw = span.get("raw")
    times = [its.get(end) for its in (span, raw) if isinstance(its, dict) for end in ("from", "to")]
    return any(isinstance(time, str) and "now" in time for time in times)


def _steps(max_points: object, interval_ms: object) -> Steps:
    points = parse_count(max_points, default=0, lowest=0, highest=MOST_POINTS, name="maxDataPoints")
    interval = parse_count(interval_ms, default=0, lowest=0, highest=YEAR_MILLISECONDS, name="intervalMs")
    return Steps(None if max_points in (None, "") else max(1, points), interval / 1000)


def filters(body: Mapping[str, Any], known: Known) -> tuple[list[Matcher], list[str]]:
    """Ad-hoc filters, as Simple JSON (``adhocFilters``) and simPod (``filters``) send them, and which are left out.

    Grafana offers operators that labels do not have (``<``) and any text for a regular expression, and sends a filter
    with every query of a datasource: one that is wrong must not fail them all. Raises ApiError for too many.
    """
    found: list[Matcher] = []
    left_out: list[str] = []
    characters = 0
    for name in ("adhocFilters", "filters"):
        entries = body.get(name)
        if not isinstance(entries, list):
            continue
        if len(entries) > MAX_FILTERS:
            raise ApiError(400, f"{len(entries)} {name} are too many: at most {MAX_FILTERS}", "filter by fewer labels")
        for entry in entries:
            if not (isinstance(entry, dict) and isinstance(entry.get("key"), str) and entry["key"]):
                continue
            try:
                one = _filter(entry, known)
                characters += (its := regex_characters(one.op, one.value))
                if characters > MAX_REGEX_CHARACTERS:
                    characters -= its
                    raise regex_too_long()
            except TargetError as error:
                left_out.append(f"the filter on {shown(entry['key'])} is left out: {error.message}; {error.hint}")
            else:
                found.append(one)
    return found, left_out


def _filter(entry: Mapping[str, Any], known: Known) -> Matcher:
    """One filter. Raises TargetError for one that cannot be used."""
    operator, values, value = entry.get("operator", "="), entry.get("values"), entry.get("value", "")
    if operator in ("=|", "!=|") and isinstance(values, list):
        any_of = listed(value for value in values if isinstance(value, str))
        return matcher(entry["key"], "=~" if operator == "=|" else "!~", any_of)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(operator, str) or not isinstance(value, str):
        raise TargetError("it is not made of texts", "use = != =~ or !~ and a text")
    if operator not in OPERATORS:
        raise TargetError(f"labels have no operator {shown(operator)}", "use = != =~ or !~")
    return matcher(entry["key"], operator, value, known)
