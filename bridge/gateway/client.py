"""One poll's HTTP: a body that is whole, of bounded size, within a bounded time; or the reason there is none.

Time and bytes are bounded where bytes come in (``bridge.transport``); the body's size is not known before it is
decompressed, so that is bounded here.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

import requests

from bridge.gateway.errors import (
    ExpositionTooLarge,
    ExpositionTruncated,
    GatewayError,
    GatewayRefused,
    GatewayUnreachable,
    NotAnExposition,
    one_line,
)
from bridge.transport import CHUNK_BYTES, Budget, TransportError, explained, open_session

MAX_REDIRECTS = 3
BACK_OFF_SECONDS = 0.2
HEADERS = {"Accept": "text/plain; version=0.0.4", "Accept-Encoding": "gzip"}
EXCERPT_CHARACTERS = 80

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING_STATUSES = frozenset({502, 503, 504})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
"""``zlib``'s own recognition of the two headers; a "deflate" body without one is not read."""
_BLANK = re.compile(rb"\s*\Z")
_PAGE_OR_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype|<html|[{\[])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole body, decompressed, and how long it took. Whether it is an exposition is for its reader to say."""

    body: bytes = field(repr=False)
    seconds: float
    """From the start of the fetch to the last byte, redirects and the retry included."""
    content_type: str
    """As the gateway declared it; nothing may rely on it."""


class GatewayClient:
    """Asks one URL, again and again, from one thread at a time.

    ``timeout_seconds`` is for a whole fetch: connecting, the TLS handshake, every byte of every answer, redirects and
    the retry. Name resolution alone cannot be interrupted: it is bounded by the system's resolver, and when it took all
    of the time the fetch ends with it. ``max_bytes`` bounds the body after decompression.
    """

    def __init__(self, url: str, *, token: str | None, timeout_seconds: float, max_bytes: int) -> None:
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            # Said here, without the token: HTTP libraries quote a header that they cannot send.
            raise ValueError("the gateway's token is empty or has characters that an HTTP header cannot carry")
        self._url = url
        self._token = token
        self._max_bytes = max_bytes
        self._budget = Budget(timeout_seconds, max_bytes)
        self._session = open_session(self._budget, HEADERS, token)

    def fetch(self) -> Fetched:
        """The body of a 200. Raises a ``GatewayError`` for anything else, and nothing but that.

        Asks a second time, after a moment and within the same time, when the connection was refused or broke, and for
        502, 503 and 504: a gateway behind a proxy answers so while it is replaced. Never after a timeout.
        """
        started = self._budget.start()
        try:
            body, content_type = self._attempt_once_or_twice()
        except BaseException:
            # What a failed fetch leaves on its connection must not be taken for the next one's answer.
            self.close()
            raise
        return Fetched(body, time.monotonic() - started, content_type)

    def close(self) -> None:
        """Drop the connection that is kept between polls. The client can still be used: it connects anew."""
        self._session.close()

    def _attempt_once_or_twice(self) -> tuple[bytes, str]:
        try:
            return self._attempt()
        except GatewayError as error:
            if not _worth_a_retry(error) or self._budget.left() <= BACK_OFF_SECONDS:
                raise
        self.close()
        time.sleep(BACK_OFF_SECONDS)
        return self._attempt()

    def _attempt(self) -> tuple[bytes, str]:
        """One answer, redirects followed: the body and its declared type."""
        try:
            url = self._url
            for _ in range(MAX_REDIRECTS + 1):
                with contextlib.closing(self._get(url)) as response:
                    if response.status_code not in _REDIRECTS:
                        self._check_status(response, url)
                        return self._body(response), self._shown(response.headers.get("Content-Type", ""))
                    url = self._redirected(url, response)
        except GatewayError:
            raise
        except Exception as error:  # noqa: BLE001  a parser fed with hostile bytes can raise anything
            raise self._told(explained(error, self._budget)) from None
        raise GatewayRefused(f"{_path(self._url)} redirects more than {MAX_REDIRECTS} times", code="redirect")

    def _get(self, url: str) -> requests.Response:
        return self._session.get(url, timeout=self._budget.remaining(), stream=True, allow_redirects=False)

    def _redirected(self, url: str, response: requests.Response) -> str:
        location = response.headers.get("Location", "")
        target = _same_gateway(url, location)
        if target is None:
            where = self._shown(location, EXCERPT_CHARACTERS) or "nowhere"
            raise GatewayRefused(
                f"{_path(url)} redirects ({response.status_code}) to {where}, which is not the gateway that was asked; "
                "not followed",
                code="redirect",
                status=response.status_code,
            )
        return target

    def _check_status(self, response: requests.Response, url: str) -> None:
        """Raise what any status but 200 means."""
        status, path = response.status_code, _path(url)
        if status == HTTPStatus.OK:
            return
        code, message = "unexpected_status", f"{path} answered {_named(status)}, not 200"
        if status in (401, 403):
            hint = "does the gateway accept GATEWAY_TOKEN?" if self._token else "GATEWAY_TOKEN is not set"
            code, message = "unauthorized", f"{path} answered {_named(status)}; {hint}"
        elif status == HTTPStatus.NOT_FOUND:
            code = "not_found"
            message = (
                f"no such endpoint: {path} answered 404; is GATEWAY_METRICS_PATH right? "
                "newer gateways only have /metrics, older ones /prometheus/data/metrics"
            )
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            # Shown and not obeyed: the poll interval is the operator's to choose.
            wait = response.headers.get("Retry-After", "")
            asked = f"; it asks to wait {wait} s" if re.fullmatch(r"[0-9]{1,6}", wait) else ""
            code, message = "rate_limited", f"{path} answered {_named(status)}{asked}"
        elif 500 <= status <= 599:
            code, message = "server_error", f"{path} answered {_named(status)}"
        raise GatewayRefused(message, code=code, status=status)

    def _body(self, response: requests.Response) -> bytes:
        """The whole body, decompressed, that at least ends as an exposition does."""
        raw = response.raw
        if (raw.length_remaining or 0) > self._max_bytes:
            raise self._too_large()
        # Decompressed here and not by urllib3, which takes a gzip stream that was cut off for a whole one.
        chunks: Iterator[bytes] = raw.stream(CHUNK_BYTES, decode_content=False)
        if self._compressed(response):
            chunks = _decompressed(chunks)
        read = io.BytesIO()
        for chunk in chunks:
            self._budget.remaining()
            if read.tell() + len(chunk) > self._max_bytes:
                raise self._too_large()
            read.write(chunk)
        body = read.getvalue()
        if _BLANK.match(body):
            raise NotAnExposition("the gateway answered 200 with an empty body", code="empty")
        if _PAGE_OR_JSON.match(body):
            excerpt = self._shown(body[:4096].decode("utf-8", "replace"), EXCERPT_CHARACTERS)
            raise NotAnExposition(f"the answer is a page or JSON, not an exposition; it begins with: {excerpt}")
        if not body.endswith(b"\n"):
            raise ExpositionTruncated(f"the body is cut off: its {len(body)} bytes do not end in a line break")
        return body

    def _compressed(self, response: requests.Response) -> bool:
        named = response.headers.get("Content-Encoding", "")
        encodings = [name for name in named.lower().replace(" ", "").split(",") if name not in ("", "identity")]
        if len(encodings) > 1 or not {"gzip", "x-gzip", "deflate"}.issuperset(encodings):
            shown = self._shown(named, EXCERPT_CHARACTERS)
            raise NotAnExposition(f"the body is encoded in a way that was not asked for: Content-Encoding {shown}")
        return bool(encodings)

    def _too_large(self) -> ExpositionTooLarge:
        return ExpositionTooLarge(f"the body is larger than {self._max_bytes} bytes (MAX_EXPOSITION_BYTES)")

    def _shown(self, text: str, limit: int = 200) -> str:
        """Text from outside, fit to be shown: a gateway may well quote the token that it was sent."""
        return one_line(text.replace(self._token, "***") if self._token else text, limit)

    def _told(self, error: TransportError) -> GatewayError:
        """Why no whole answer came, in the words of a poll."""
        said = self._shown(str(error))
        match error.code:
            case "timeout":
                return GatewayUnreachable(f"{said} (POLL_TIMEOUT)", code="timeout")
            case "too_large":
                return ExpositionTooLarge(said)
            case "truncated":
                return ExpositionTruncated(said)
            case "not_http":
                said = self._shown(str(error), EXCERPT_CHARACTERS)
                return NotAnExposition(f"the answer is not HTTP that can be read ({said})")
            case code:
                return GatewayUnreachable(said, code=code)


def _worth_a_retry(error: GatewayError) -> bool:
    if isinstance(error, GatewayRefused):
        return error.status in _PASSING_STATUSES
    return error.code in ("refused", "reset")


def _decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Undo gzip or zlib, at most ``CHUNK_BYTES`` at a time. Many gzip members make one body."""
    inflater = None
    for chunk in chunks:
        rest = chunk
        while rest:
            if inflater is None or inflater.eof:
                inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                yield inflater.decompress(rest, CHUNK_BYTES)
            except zlib.error as error:
                raise ExpositionTruncated(f"the compressed body is broken: {error}") from None
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if inflater is not None and not inflater.eof:
        raise ExpositionTruncated("the compressed body is cut off")


def _same_gateway(url: str, location: str) -> str | None:
    """Where ``location`` leads from ``url``, or ``None`` if that is another scheme, host or port.

    From http to https on the standard ports is still the same gateway. The host is taken over from ``url`` as it
    stands there, so that a location which libraries read differently cannot lead (or carry the token) elsewhere.
    """
    here = urlsplit(url)
    netloc = here.netloc
    try:
        there = urlsplit(urljoin(url, location))
        origin = _origin(there)
    except ValueError:
        return None
    if origin == ("https", here.hostname, 443) and _origin(here) == ("http", here.hostname, 80):
        netloc = netloc.removesuffix(":80")
    elif origin != _origin(here):
        return None
    return urlunsplit((there.scheme, netloc, there.path, there.query, "")) if location else None


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme)


def _path(url: str) -> str:
    """The part of a URL that can be shown: a query may hold a key."""
    return urlsplit(url).path or "/"


def _named(status: int) -> str:
    """``503 Service Unavailable``, in the standard's words and not the gateway's."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
