"""A gateway to be polled: the made-up exposition, one poll further at every request, and when it was asked for it.

A process of its own (``python -m benchmarks.gateway``). ``--ahead`` expositions are made before it serves, so that a
large one costs next to nothing while it is read; ``GET /requests`` gives the times of the requests.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from benchmarks.expositions import exposition

PATH = "/metrics"


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--providers", type=int, required=True)
    parser.add_argument("--models", type=int, required=True)
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first poll")
    parser.add_argument("--ahead", type=int, default=0, help="expositions to make beforehand")
    chosen = parser.parse_args()

    def make(poll: int) -> bytes:
        return exposition(poll, providers=chosen.providers, models=chosen.models, lines=chosen.lines)

    made = deque(make(chosen.first + number) for number in range(chosen.ahead))
    asked: list[float] = []
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60.0

        def do_GET(self) -> None:
            if self.path == "/requests":
                self._answer("application/json", json.dumps(asked).encode())
                return
            with lock:
                asked.append(time.time())
                body = made.popleft() if made else make(chosen.first + len(asked) - 1)
            self._answer("text/plain; version=0.0.4; charset=utf-8", body)

        def _answer(self, content_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    ThreadingHTTPServer(("127.0.0.1", chosen.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
