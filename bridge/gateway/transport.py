"""Sockets that keep a budget: time and bytes of a whole fetch, whatever the server does with them.

Each read gets only what is left of the time, and what has come over the wire is counted. This leans on inner parts of
urllib3 (its version is pinned): a connection's ``_new_conn`` and response class, and a pool's connection class.
"""

from __future__ import annotations

import functools
import http.client
import http.cookiejar
import io
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import requests
import urllib3
import urllib3.connection
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from bridge.gateway.errors import ExpositionTooLarge, GatewayUnreachable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ACCEPT = "text/plain; version=0.0.4"
USER_AGENT = "provider-health-bridge"
CHUNK_BYTES = 64 * 1024


def open_session(token: str | None, budget: Budget) -> Session:
    """A session whose connections keep to the budget, with the token on every request to the gateway."""
    session = Session()
    # Nothing is taken from the environment: a ~/.netrc must not replace the token, and a proxy must not receive it.
    # The gateway is reached directly, as Prometheus would reach it.
    session.trust_env = False
    session.headers.update({"Accept": ACCEPT, "Accept-Encoding": "gzip", "User-Agent": USER_AGENT})
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
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
    """What one fetch may spend, shared by the client and its connections: a time to end, and bytes off the wire."""

    def __init__(self, seconds: float, wire_bytes: int) -> None:
        self._seconds = seconds
        self._wire_bytes = wire_bytes
        self._end = 0.0
        self._received = 0

    def start(self) -> float:
        """Begin a fetch; the monotonic time it began."""
        now = time.monotonic()
        self._end = now + self._seconds
        self._received = 0
        return now

    def left(self) -> float:
        """Seconds left; negative when the time is over."""
        return self._end - time.monotonic()

    def remaining(self) -> float:
        """Seconds left, more than 0: fit for ``settimeout``. Raises when there are none."""
        left = self.left()
        if left <= 0:
            raise self.overdue()
        return left

    def overdue(self) -> GatewayUnreachable:
        """The error that says that the time is over."""
        return GatewayUnreachable(
            f"no complete answer within {self._seconds:g} s (POLL_TIMEOUT); {self._received} bytes had come",
            code="timeout",
        )

    def spend(self, count: int) -> None:
        """Count bytes received. The bound for what never becomes a body: headers, and chunk lengths below zero."""
        self._received += count
        if self._received > self._wire_bytes:
            raise ExpositionTooLarge(f"the gateway sent more than {self._wire_bytes} bytes and had not finished")


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
            raise GatewayUnreachable(f"the TLS connection broke: {error}", code="tls") from None
        except OSError as error:
            raise GatewayUnreachable(f"the connection broke: {reason_of(error)}", code="reset") from None
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

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # urllib3 does so itself
        try:
            return super().getresponse()
        except BaseException:
            # urllib3 drops an answer whose headers it rejects without closing it.
            if self._reader:
                self._reader.close()
            raise

    def _new_conn(self) -> socket.socket:
        """A connection to the first of the host's addresses that takes one.

        urllib3's own gives each address the whole time, one after the other; here they share what is left, so that one
        that does not answer leaves time for the next.
        """
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise GatewayUnreachable(f"{self.host} does not resolve: {reason_of(error)}", code="dns") from None
        failure: OSError | None = None
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            share = self._budget.remaining() / (len(addresses) - position)
            try:
                return self._connected(socket.socket(family, kind, protocol), address, share)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise self._budget.overdue()
        reason = reason_of(failure) if failure else "the name has no address"
        raise GatewayUnreachable(f"no connection to {self.host}:{self.port}: {reason}", code="refused")

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


def reason_of(error: OSError | UnicodeError) -> str:
    """What an error of the operating system says, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
