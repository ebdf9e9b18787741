"""gunicorn's HTTP connection on its event loop, with what it leaves to be wished for.

It overrides what gunicorn does not promise to keep (the methods whose names begin with an underscore), so it goes with
the version that ``requirements.txt`` pins; ``tests/server/test_worker.py`` holds what it counts on.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol

from bridge.server.connections import Connection, Connections, Turn
from bridge.web import errors
from bridge.web.text import printable

LINGER_SECONDS = 2.0
"""How long what a client still sends is read after the last answer: closing before would take the answer from it."""
SHOWN_CHARACTERS = 200
"""Of what was sent, in an error."""
CURRENT: ContextVar[Connection] = ContextVar("connection")
"""The connection by which the request in hand came."""


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """An HTTP connection that is accounted for, and closed without a reset."""

    _closed: bool

    def __init__(self, worker: Any, connections: Connections) -> None:
        super().__init__(worker)
        self._connections = connections
        self._connection = Connection(self._hang_up)
        self._half_closed = False
        self._lingering: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        CURRENT.set(self._connection)  # for the tasks that begin here, and theirs
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # sending goes on when all before has left
        self._connections.open(self._connection, time.monotonic())

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._connections.close(self._connection)
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """The client has sent something; after the last answer it is read and forgotten."""
        if not self._closed:
            super().data_received(data)

    def eof_received(self) -> bool:
        """The client sends nothing more; true to keep the connection, for the answer that it waits for."""
        self._half_closed = True
        if self._connection.turn in (Turn.ANSWERING, Turn.TAKING):
            self.worker.loop.call_later(LINGER_SECONDS, self._close_half_closed)
            return True
        return False

    def _close_half_closed(self) -> None:
        """For a client that said so while its answer, which had promised another, was on its way."""
        if self._connection.turn is Turn.IDLE:
            self._close_transport()
        elif self._connection.turn is not Turn.CLOSED:
            self.worker.loop.call_later(LINGER_SECONDS, self._close_half_closed)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _feed_callback_parser(self, data: bytes) -> bool:
        self._connections.receive(self._connection, len(data), time.monotonic())
        if self._connection.turn is Turn.CLOSED:
            return False
        fed: bool = super()._feed_callback_parser(data)
        return fed

    def _on_message_complete(self) -> None:
        self._connections.answer(self._connection)
        super()._on_message_complete()

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        if self._half_closed and not self._callback_parser.remaining():
            return True
        closes: bool = super()._will_close(request, response_requires_close)
        return closes

    def _is_websocket_upgrade(self, request: Any) -> bool:
        return False

    def _send_response_start(self, status: int, headers: Any, request: Any, close: bool = False) -> None:
        if request.version < (1, 1) and not close:
            headers = [*headers, (b"Connection", b"keep-alive")]
        super()._send_response_start(status, headers, request, close)

    def _send_error_response(self, status: int, message: str, extra_headers: Any = ()) -> None:
        """What gunicorn says to what is no request, or too long for one: JSON like every error, and not its text."""
        peer = self.transport.get_extra_info("peername") or ("",)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.warning("Invalid request from ip=%s: %s", peer[0], message)
        reason = HTTPStatus(status).phrase
        said = f"{status} {reason}: {printable(message)[:SHOWN_CHARACTERS]}"
        body = errors.error_body(status, said, errors.HINTS.get(status, errors.HINTS[400]))
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._safe_write(head.encode("latin-1") + body)

    def _close_transport(self) -> None:
        """Say that nothing more comes, and close once the client has closed as well, or after ``LINGER_SECONDS``."""
        if self.transport is None or self._closed:
            return
        self._closed = True
        self._resume_reading()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()
        if self._half_closed:
            self.transport.close()
        else:
            self._lingering = self.worker.loop.call_later(LINGER_SECONDS, self.transport.abort)
