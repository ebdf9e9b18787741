"""A server on the loopback interface that speaks a Prometheus API, or misbehaves as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

Points = Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    arguments: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """What is answered. ``chunks`` are sent one by one, ``pause`` seconds apart."""

    chunks: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0


def matrix(*series: tuple[Mapping[str, str], Points], **more: object) -> Reply:
    """An answer with these series: labels and points."""
    result = [{"metric": dict(labels), "values": [list(point) for point in points]} for labels, points in series]
    return success({"resultType": "matrix", "result": result}, **more)


def success(data: object, **more: object) -> Reply:
    return body(json.dumps({"status": "success", "data": data, **more}).encode())


def body(content: bytes, status: int = 200, **headers: str) -> Reply:
    return Reply([content], status, headers)


class Api:
    """``answer`` is called for every request, in a thread of its own; ``hang`` ends when the server does."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.over = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                asked = Asked(self.path, dict(parse_qsl(form, keep_blank_values=True)), dict(self.headers))
                api.asked.append(asked)
                with suppress(OSError):
                    api._send(self, api.answer(asked))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that hung up is no mistake of the server's."""

        self.server = Server(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/base"

    def questions(self, path: str) -> list[Mapping[str, str]]:
        return [asked.arguments for asked in self.asked if asked.path == f"/base/api/v1/{path}"]

    def hang(self, _: Asked) -> Reply:
        self.over.wait(20)
        return Reply(status=500)

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(sum(map(len, reply.chunks))))
        handler.end_headers()
        for chunk in reply.chunks:
            handler.wfile.write(chunk)
            handler.wfile.flush()
            self.over.wait(reply.pause)


@contextmanager
def serving(answer: Callable[[Asked], Reply]) -> Iterator[Api]:
    """The server for as long as the ``with`` block lasts."""
    api = Api(answer)
    thread = threading.Thread(target=api.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.over.set()
        api.server.shutdown()
        thread.join()
        api.server.server_close()
