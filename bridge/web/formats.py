"""Answers as responses: JSON, lists of names, plain text; and what there is to say of them in a header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from flask import Response

from bridge.queries.budget import AT_ONCE, Budget, cut
from bridge.queries.series import Recorded
from bridge.web.compression import is_compressed
from bridge.web.text import printable

MAX_WARNING_CHARACTERS = 500


def json_bytes(body: Any) -> bytes:
    """JSON without NaN: what is not a number is null."""
    return orjson.dumps(body)


def ready_json(body: bytes, *, status: int = 200) -> Response:
    """JSON that is written already, and maybe compressed."""
    response = Response(body, status=status, mimetype="application/json")
    if is_compressed(body):
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def json_response(body: Any, *, status: int = 200) -> Response:
    """A body as JSON."""
    return ready_json(json_bytes(body), status=status)


def text_response(text: str, *, status: int = 200) -> Response:
    """Plain text, UTF-8."""
    return Response(text, status=status, mimetype="text/plain")


def warned(response: Response, recorded: Recorded | None) -> Response:
    """The response, with a ``Warning`` header where a remote history did not answer all that was asked of it."""
    return with_warning(response, () if recorded is None else recorded.troubles)


def with_warning(response: Response, notices: Sequence[str]) -> Response:
    """The response, with what there is to say of it in a ``Warning`` header."""
    if notices:
        said = printable("; ".join(dict.fromkeys(notices))[:MAX_WARNING_CHARACTERS])
        plain = said.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        response.headers["Warning"] = f'199 - "{plain}"'
    return response


def listed(values: Sequence[Any], budget: Budget) -> Response:
    """Names as a JSON array, as many as there is room for; a ``Warning`` header says where that is not all of them."""
    given = budget.rows(len(values))
    parts: list[bytes] = []
    shown = 0
    for first in range(0, given, AT_ONCE):
        some = values[first : min(given, first + AT_ONCE)]
        part = orjson.dumps(some)[1:-1]
        if not budget.write(len(part) + 1):
            break
        parts.append(part)
        shown += len(some)
    left_out = (cut(shown, len(values), "names", "type more of the name, or narrow it by a selector"),)
    return with_warning(ready_json(b"[" + b",".join(parts) + b"]"), left_out[: shown < len(values)])
