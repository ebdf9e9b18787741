"""The worker on a real socket, with an application that is not the bridge, and what it counts on in gunicorn."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import gunicorn
import pytest
from flask import Flask
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.sock import TCPSocket
from gunicorn.workers.gasgi import ASGIWorker

from bridge.server import connections
from bridge.server.protocol import Protocol
from bridge.server.worker import Worker
from bridge.server.wsgi import PIECE_BYTES, InThreads

LARGE = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"and a little"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers by path."""
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise ValueError("a mistake")
    if path == "/empty":
        start_response("204 NO CONTENT", [])
        return []
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/large":
        return [LARGE]
    if path == "/written":
        write(b"this is written, ")
        return iter([b"this ", b"is said"])
    if path == "/echo":
        return [environ["wsgi.input"].read()]
    return [repr(sorted((name, value) for name, value in environ.items() if name.isupper())).encode()]


@pytest.fixture
def port() -> Iterator[int]:
    """Where a worker serves the application."""
    app = Flask("none", static_folder=None)
    app.extensions["bridge"] = None
    config = Config()
    for name, value in (("threads", 2), ("worker_connections", 50), ("asgi_disconnect_grace_period", 0)):
        config.set(name, value)
    listener = TCPSocket(("127.0.0.1", 0), config, None)
    address = listener.sock.getsockname()
    worker = Worker(0, os.getppid(), [listener], app, 30, config, Logger(config))
    worker.wsgi = app
    worker.asgi = InThreads(application, 2, worker.connections)
    worker.loop = asyncio.new_event_loop()
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield address[1]
    worker.loop.call_soon_threadsafe(worker.handle_exit_signal)
    thread.join()
    worker.tmp.close()


def get(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_an_answer_of_several_pieces_arrives_whole_even_where_it_is_taken_slowly(port: int) -> None:
    assert get(port, "/large")[2] == LARGE
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := client.recv(50_000):
            received += chunk
            time.sleep(0.001)
    assert received.partition(b"\r\n\r\n")[2] == LARGE


def test_an_answer_without_a_length_gets_one(port: int) -> None:
    status, headers, body = get(port, "/written")
    assert (status, body) == (200, b"this is written, this is said")
    assert headers["content-length"] == str(len(body))
    assert "transfer-encoding" not in headers


def test_an_answer_that_has_no_body_has_no_length_either(port: int) -> None:
    status, headers, body = get(port, "/empty")
    assert (status, body) == (204, b"")
    assert "content-length" not in headers


def test_a_mistake_of_the_application_is_an_error_like_any_other(port: int) -> None:
    status, headers, body = get(port, "/broken")
    assert status == 500
    assert headers["content-type"] == "application/json"
    assert b"a mistake of the bridge's own" in body


def test_the_environment_is_what_pep_3333_says(port: int) -> None:
    status, _, body = get(port, "/a%20path/%C3%A4?x=%20&y")
    told = dict(eval(body))
    assert status == 200
    assert told["PATH_INFO"] == "/a path/ä".encode().decode("latin-1")
    assert told["QUERY_STRING"] == "x=%20&y"
    assert told["REQUEST_METHOD"] == "GET"
    assert told["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert told["SERVER_PORT"] == str(port)
    assert told["REMOTE_ADDR"] == "127.0.0.1"
    assert told["HTTP_HOST"] == f"127.0.0.1:{port}"
    assert told["SCRIPT_NAME"] == ""


def test_bodies_of_all_sizes_arrive_whole(port: int) -> None:
    for size in (0, 1, 70_000, 2**20):
        assert get(port, "/echo", "POST", b"x" * size)[2] == b"x" * size


def test_of_a_body_that_is_too_large_one_byte_more_than_is_taken_is_seen(port: int) -> None:
    assert len(get(port, "/echo", "POST", b"x" * 3 * 2**20)[2]) == 2**20 + 1


def test_who_says_nothing_is_hung_up_on_after_its_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TURN_SECONDS", 0.2)
    for said in (b"", b"GET / HT", b"POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nhalf"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(said)
            assert client.recv(100) == b""


def test_requirements_name_the_version_that_this_counts_on() -> None:
    pinned = re.search(r"(?m)^gunicorn==(\S+)$", Path("requirements.txt").read_text())
    assert pinned is not None
    assert gunicorn.__version__ == pinned[1]


PRIVATE = {
    Protocol: {
        "_feed_callback_parser",
        "_on_message_complete",
        "_will_close",
        "_is_websocket_upgrade",
        "_send_response_start",
        "_send_error_response",
        "_close_transport",
    },
    Worker: {"_serve"},
}
"""What is overridden although gunicorn does not promise to keep it."""


@pytest.mark.parametrize(("ours", "theirs"), [(Protocol, ASGIProtocol), (Worker, ASGIWorker)])
def test_what_is_overridden_is_there_to_be_overridden(ours: type, theirs: type) -> None:
    shared = vars(ours).keys() & {name for name in dir(theirs) if not name.startswith("__")}
    overridden = {name for name in shared if inspect.isfunction(vars(ours)[name])}
    assert {name for name in overridden if name.startswith("_")} == PRIVATE[ours]
    for name in overridden:
        theirs_takes, ours_takes = (inspect.signature(getattr(one, name)).parameters for one in (theirs, ours))
        assert len(theirs_takes) == len(ours_takes), name
