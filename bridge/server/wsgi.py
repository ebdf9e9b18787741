"""A WSGI application as an ASGI one whose threads only compute.

The event loop has read a request to its end before a thread is given to it, and sends the answer after the thread has
been given back. So a thread never waits for a client. The answer is held once, however slowly it is taken: it goes to
the transport in pieces, each when the one before has left.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from bridge.application import MAX_BODY_BYTES
from bridge.server.connections import Connections
from bridge.server.protocol import CURRENT

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PIECE_BYTES = 128 * 1024
"""How much of an answer goes to the transport at once, and is held there as well as here."""
READ_BYTES = 16 * MAX_BODY_BYTES
"""How much of a body is read that is too large: to its end, so that its sender gets to read the answer."""
NO_BODY = frozenset({204, 304})


class Answer(NamedTuple):
    """What a WSGI application answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class InThreads:
    """The ASGI application. Its requests must come by ``bridge.server.protocol.Protocol``."""

    def __init__(self, application: Application, threads: int, connections: Connections) -> None:
        self._application = application
        self._connections = connections
        self._threads = ThreadPoolExecutor(threads, "answers")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as https://asgi.readthedocs.io/ has it."""
        connection = CURRENT.get()
        body = await _whole_body(receive)
        if body is None:
            return  # the client is gone
        environ = environ_of(scope, body)
        del body
        answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, environ)
        body = b"" if scope["method"] == "HEAD" or answer.status in NO_BODY else answer.body
        self._connections.send(connection, len(body) + min(len(body), PIECE_BYTES), time.monotonic())
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
        for start in range(0, last, PIECE_BYTES):
            await send({"type": "http.response.body", "body": body[start : start + PIECE_BYTES], "more_body": True})
            self._connections.sent(connection, PIECE_BYTES)
        await send({"type": "http.response.body", "body": body[last:] if last else body})
        self._connections.rest(connection, time.monotonic())

    def close(self) -> None:
        """Take no more requests."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, environ: dict[str, Any]) -> Answer:
        """The WSGI application's answer, in full. Runs in a thread."""
        begun: list[tuple[str, list[tuple[str, str]]]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], None]:
            begun.append((status, headers))
            return written.append

        said = self._application(environ, start_response)
        try:
            written += said
        finally:
            close = getattr(said, "close", None)
            if close is not None:
                close()
        status, headers = begun[-1]
        body = written[0] if len(written) == 1 else b"".join(written)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if not any(name.lower() == b"content-length" for name, _ in encoded) and int(status[:3]) not in NO_BODY:
            encoded.append((b"Content-Length", b"%d" % len(body)))
        return Answer(int(status[:3]), encoded, body)


async def _whole_body(receive: Receive) -> bytes | None:
    """A request's body; None when the client leaves before its end.

    Of one that is larger than the application takes there is a byte more than it takes, by which it sees that.
    """
    kept: list[bytes] = []
    room, read, more = MAX_BODY_BYTES + 1, 0, True
    while more and read < READ_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        read += len(piece)
        if room and piece:
            kept.append(piece[:room])
            room -= len(kept[-1])
    return kept[0] if len(kept) == 1 else b"".join(kept)


def environ_of(scope: Scope, body: bytes) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of an ASGI scope and the request's whole body."""
    path: bytes = scope["raw_path"]
    if not path.startswith(b"/"):
        path = urlsplit(path).path or path  # http://host/path, as to a proxy
    server, client = scope["server"] or ("", 0), scope["client"] or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ
