"""The demo gateway's HTTP side: what it publishes, served on the loopback interface unless told otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import NamedTuple

from demo import incident
from demo.metrics import Metrics
from demo.script import exposition
from demo.traffic import Router

METRICS_PATH = "/metrics"
"""The gateway's own counters and histograms (demo.incident)."""
DATA_PATH = "/prometheus/data/metrics"
"""The endpoint that older gateways have: scores and circuits (demo.script)."""


class RequestCounter:
    """How often the metrics were asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.value = 0

    def count(self) -> None:
        """Add one."""
        with self._lock:
            self.value += 1


class Gateway(NamedTuple):
    """A gateway that is being served."""

    url: str
    """Base URL, without a slash at its end."""
    requests: RequestCounter


@contextmanager
def serve(port: int = 0, clock: Callable[[], float] = time.time, *, host: str = "127.0.0.1") -> Iterator[Gateway]:
    """Serve both scripts from their first second on, until the ``with`` block ends. Port 0 takes a free one."""
    started, requests = clock(), RequestCounter()
    router, metrics, lock = Router(incident.fleet(), incident.SCRIPT), Metrics(), Lock()

    def page(path: str) -> str | None:
        now = clock()
        if path == DATA_PATH:
            return exposition(now - started, now)
        if path != METRICS_PATH:
            return None
        with lock:
            router.advance(now - started)
            return metrics(router, now)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0

        def do_GET(self) -> None:
            text = page(self.path.partition("?")[0])
            if text is None:
                self._answer(404, "application/json", '{"detail":"Not Found"}')
                return
            requests.count()
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", text)

        def _answer(self, status: int, content_type: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay quiet: the terminal belongs to the bridge."""

    with ThreadingHTTPServer((host, port), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield Gateway(f"http://{host}:{server.server_port}", requests)
        finally:
            server.shutdown()
            thread.join()
