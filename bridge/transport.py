"""HTTP that keeps a budget: time and bytes of a whole fetch, whatever the server does with them.

The other side, a gateway or a remote history, is taken to be slow, broken or hostile. A timeout as HTTP libraries
understand it starts again with every byte received. Here each read gets only what is left of the whole fetch's time,
and what has come over the wire is counted. No thread watches, so none can be left over. This leans on inner parts of
urllib3 (its version is pinned): a connection's ``_new_conn`` and response class, and a pool's connection class.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import requests
import urllib3
import urllib3.connection
import urllib3.exceptions
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

USER_AGENT = "provider-health-bridge"
CHUNK_BYTES = 64 * 1024
HEADER_ALLOWANCE_BYTES = 1024 * 1024


class TransportError(Exception):
    """No whole answer came. ``str()`` says why, and can quote what the other side sent, whatever its length."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """``timeout``, ``dns``, ``refused``, ``reset``, ``tls``, ``too_large``, ``truncated`` or ``not_http``."""


def open_session(budget: Budget, headers: Mapping[str, str], token: str | None) -> Session:
    """A session of one connection that keeps to the budget, with the headers and the token on every request.

    For one fetch at a time, since there is one budget.
    """
    session = Session()
    # Nothing is taken from the environment: a ~/.netrc must not replace the token, and a proxy must not receive it.
    # The other side is reached directly, as Prometheus would reach it.
    session.trust_env = False
    session.headers.update({"User-Agent": USER_AGENT, **headers})
    if token is not None:

        def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        # As ``auth`` and not as a header, which a user name in the URL would override.
        session.auth = bearer
    adapter = _BoundedAdapter(budget)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class Session(requests.Session):
    """A session that leaves redirects alone."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Nowhere. Even with ``allow_redirects=False`` a target makes requests read the answer's body, of any size."""
        return None


class Budget:
    """What one fetch may spend, shared by the client and its connection: a time to end, and bytes off the wire."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        """``max_bytes`` is what the body may have, as it is wanted; framing and headers may come on top."""
        self._seconds = seconds
        # Twice the body leaves room for framing and for what does not compress.
        self._wire_bytes = 2 * max_bytes + HEADER_ALLOWANCE_BYTES
        self._end = 0.0
        self._received = 0

    def start(self, *, waited: float = 0.0) -> float:
        """Begin a fetch that has already ``waited`` so many of its seconds; the monotonic time it began."""
        now = time.monotonic()
        self._end = now + self._seconds - waited
        self._received = 0
        return now

    def left(self) -> float:
        """Seconds left; negative when the time is over."""
        return self._end - time.monotonic()

    def remaining(self) -> float:
        """Seconds left, more than 0: fit for ``settimeout``. Raises TransportError when there are none."""
        left = self.left()
        if left <= 0:
            raise self.overdue()
        return left

    def overdue(self) -> TransportError:
        """The error that says that the time is over."""
        said = f"no complete answer within {self._seconds:g} s; {self._received} bytes had come"
        return TransportError("timeout", said)

    def spend(self, count: int) -> None:
        """Count bytes received. The bound for what never becomes a body: headers, and chunk lengths below zero."""
        self._received += count
        if self._received > self._wire_bytes:
            raise TransportError("too_large", f"more than {self._wire_bytes} bytes came, and there was no end")


class _BoundedReader(io.RawIOBase):
    """The receiving end of a connection, plain or TLS: every single read is held to what is left of the budget."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, budget: Budget) -> None:
        self._raw = raw
        self._sock = sock
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._sock.settimeout(self._budget.remaining())
        try:
            count = self._raw.readinto(buffer) or 0
        except TimeoutError:
            raise self._budget.overdue() from None
        except ssl.SSLError as error:
            raise TransportError("tls", f"the TLS connection broke: {error}") from None
        except OSError as error:
            raise TransportError("reset", f"the connection broke: {_reason_of(error)}") from None
        self._budget.spend(count)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedHTTP(urllib3.connection.HTTPConnection):
    """A connection that is made, and read from, within the budget."""

    def __init__(self, budget: Budget, **options: Any) -> None:
        super().__init__(**options)
        self._budget = budget
        self._reader: _BoundedReader | None = None
        self.response_class = self._bounded_response  # type: ignore[assignment]  # any callable does

    def _bounded_response(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **options)
        self._reader = _BoundedReader(response.fp.detach(), sock, self._budget)
        response.fp = io.BufferedReader(self._reader, CHUNK_BYTES)
        return response

    def send(self, data: Any) -> None:
        """Send within the budget as well: a form may be long, and the other side need not take it."""
        if self.sock is not None:
            self.sock.settimeout(self._budget.remaining())
        super().send(data)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # urllib3 does so itself
        try:
            response: Any = super().getresponse()
        except BaseException:
            # urllib3 drops an answer whose headers it rejects without closing it.
            if self._reader:
                self._reader.close()
            raise
        # No cookie is kept, and none is taken apart: that can take seconds, which no budget sees.
        del response._original_response.msg["Set-Cookie"]
        return cast(urllib3.HTTPResponse, response)

    def _new_conn(self) -> socket.socket:
        """A connection to the first of the host's addresses that takes one.

        urllib3's own gives each address the whole time, one after the other; here they share what is left, so that one
        that does not answer leaves time for the next.
        """
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise TransportError("dns", f"{self.host} does not resolve: {_reason_of(error)}") from None
        failure: OSError | None = None
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            share = self._budget.remaining() / (len(addresses) - position)
            try:
                return self._connected(socket.socket(family, kind, protocol), address, share)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise self._budget.overdue()
        reason = _reason_of(failure) if failure else "the name has no address"
        raise TransportError("refused", f"no connection to {self.host}:{self.port}: {reason}")

    def _connected(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(seconds)
            sock.connect(address)
            # A TLS handshake comes next; Python holds the whole of it to the socket's timeout, not each read.
            sock.settimeout(self._budget.remaining())
        except BaseException:
            sock.close()
            raise
        return sock


class _BoundedHTTPS(_BoundedHTTP, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _BoundedAdapter(HTTPAdapter):
    """Gives each pool of connections the bounded kind to make."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._budget = budget

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        kind = _BoundedHTTPS if pool.scheme == "https" else _BoundedHTTP
        pool.ConnectionCls = functools.partial(kind, self._budget)
        return pool


def explained(error: Exception, budget: Budget) -> TransportError:
    """What an exception means that was raised while a session was used. Connecting and reading say it themselves.

    To be raised ``from None``: the text of what the libraries raise can quote the whole answer, and the URL's password.
    """
    causes = list(_causes(error))

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if isinstance(error, TransportError):
        return error
    if first(TimeoutError, urllib3.exceptions.TimeoutError):
        return budget.overdue()
    if found := first(ssl.SSLError, ssl.CertificateError, urllib3.exceptions.SSLError):
        return TransportError("tls", f"no TLS connection: {found}")
    if first(ConnectionError) or any(isinstance(cause, OSError) and cause.errno for cause in causes):
        return TransportError("reset", "the connection was closed without an answer")
    if first(requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        return TransportError("dns", "the URL cannot be asked: it has no usable scheme or host")
    if first(http.client.IncompleteRead) or _ended_early(causes):
        return TransportError("truncated", "the body is cut off: it is not as long as was announced")
    found = first(http.client.HTTPException) or causes[-1]
    return TransportError("not_http", f"{type(found).__name__}: {found}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it wraps: in ``args`` (requests), ``reason`` (urllib3) and ``__cause__`` (Python).

    Not ``__context__``: it leads to whatever else was being handled, such as the first attempt's failure.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = (*cause.args, getattr(cause, "reason", None), cause.__cause__)
        waiting.extend(inner for inner in wrapped if isinstance(inner, BaseException))


def _ended_early(causes: list[BaseException]) -> bool:
    """Whether a chunked body broke off between two chunks, for which urllib3 has a sentence and no class."""
    return any(isinstance(cause, urllib3.exceptions.ProtocolError) and "prematurely" in str(cause) for cause in causes)


def _reason_of(error: OSError | UnicodeError) -> str:
    """What an error of the operating system says, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
