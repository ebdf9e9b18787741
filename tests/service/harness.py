"""What service tests stand on: a gateway that can be switched, and the service as it is deployed, run by gunicorn."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.services import free_port

T = TypeVar("T")

Said = bytes | str | Callable[[], bytes]
"""What a gateway answers."""

PROJECT = Path(__file__).parents[2]
GUNICORN = (sys.executable, "-m", "gunicorn", "app:app")
AS_THE_README = (sys.executable, "app.py")
START_SECONDS = 20.0


def wait_until(condition: Callable[[], T], what: str, seconds: float = 15.0, every: float = 0.05) -> T:
    """The first true value of ``condition``; fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(every)
    return value


class Gateway:
    """A gateway on a loopback port. ``answer`` is what it does when asked; it can be switched at any time.

    ``bytes`` are served as an exposition, and what a function gives is too; ``"error"`` answers 500, ``"close"`` hangs
    up and ``"hang"`` says nothing.
    """

    def __init__(self, answer: Said) -> None:
        self.answer = answer
        self.asked_at: list[float] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gateway._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Stay quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A bridge that hung up (or was killed) is no mistake of the gateway's."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked_since(self, since: float) -> list[float]:
        with self._lock:
            return [at for at in self.asked_at if at >= since]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked_at.append(time.time())
            answer = self.answer() if callable(self.answer) else self.answer
        if answer == "hang":
            self._over.wait(30)
        if answer in ("hang", "close"):
            handler.close_connection = True
            with suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
        status, body = (200, answer) if isinstance(answer, bytes) else (500, b"Internal Server Error")
        handler.send_response(status)
        handler.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(body)


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Service:
    """The bridge as it is deployed: one gunicorn, in a process group of its own."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = GUNICORN,
        project: Path = PROJECT,
    ) -> None:
        self._command, self._project = command, project
        self.port = free_port()
        self.log_file = folder / "stdout"
        self.error_file = folder / "stderr"
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "TMPDIR": str(folder),
            "DATA_DIR": str(folder / "data"),
            "PORT": str(self.port),
            "POLL_INTERVAL": "1s",
            "POLL_TIMEOUT": "1s",
            "WEB_CONCURRENCY": "2",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Begin, without waiting for anything."""
        with self.log_file.open("ab") as log, self.error_file.open("ab") as errors:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._project,
                env=self._environment,
                stdout=log,
                stderr=errors,
                start_new_session=True,
            )
        return self.process

    def start(self) -> Service:
        """Begin, and wait until it serves."""
        self.launch()
        return self.wait()

    def wait(self) -> Service:
        """Wait until it serves."""
        process = self.process
        assert process is not None

        def serves() -> bool:
            assert process.poll() is None, f"it ended with {process.returncode}: {self.error_file.read_text()}"
            with suppress(OSError):
                return self.get("/health").status == 200
            return False

        wait_until(serves, "the service answers /health", START_SECONDS)
        return self

    def kill(self) -> None:
        """``kill -9`` of every process it consists of."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    # Asking

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, headers)

    def query(self, *targets: str, **more: object) -> list[dict[str, Any]]:
        """The answer to a Simple JSON query for these targets."""
        body = {"targets": [{"target": target, "refId": target} for target in targets], **more}
        reply = self.ask("POST", "/query", body)
        assert reply.status == 200, reply.text
        answer: list[dict[str, Any]] = reply.json
        return answer

    def summary(self) -> dict[str, Any]:
        """``GET /`` as JSON."""
        summary: dict[str, Any] = self.get("/", Accept="application/json").json
        return summary

    def values(self, metric: str, **more: object) -> dict[str, list[float | None]]:
        """A provider metric's values, by provider, in the order of time."""
        return {
            series["tags"]["provider"]: [value for value, _ in series["datapoints"]]
            for series in self.query(metric, **more)
        }

    def rows(self, table: str, **more: object) -> list[dict[str, Any]]:
        """A table's rows, by column."""
        return as_rows(self.query(table, **more)[0])

    # Looking inside

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        lines = self.log_file.read_text().rpartition("\n")[0].splitlines()  # of the last one there may be half
        return [event for line in lines if (event := json.loads(line))["event"] == name]

    def leader(self) -> int:
        """Process id of the worker that polls."""
        pid: int = wait_until(lambda: self.events("leading"), "a worker leads")[-1]["pid"]
        return pid

    def workers(self) -> list[int]:
        """Process ids of gunicorn's workers."""
        assert self.process is not None
        parent = self.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return [int(pid) for pid in children.split()]

    def worker_of(self, connections: Sequence[HTTPConnection]) -> dict[int, int]:
        """Which worker holds each of these open connections: the client's port → process id."""
        of_inode = {
            str(link.readlink()): pid
            for pid in self.workers()
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if link.is_symlink()
        }
        holders = {}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                _, local, remote, *fields = line.split()
                if int(local.rpartition(":")[2], 16) == self.port:
                    holders[int(remote.rpartition(":")[2], 16)] = of_inode.get(f"socket:[{fields[6]}]")
        ports = [connection.sock.getsockname()[1] for connection in connections]
        return {port: pid for port in ports if (pid := holders.get(port)) is not None}


def ask(
    connection: HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request over an open connection. A body that is not bytes goes out as JSON."""
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    connection.request(method, path, body, sent)
    response = connection.getresponse()
    return Reply(response.status, dict(response.headers), response.read())


def as_rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A Simple JSON table's rows, by column."""
    titles = [column["text"] for column in table["columns"]]
    return [dict(zip(titles, row, strict=True)) for row in table["rows"]]


@contextmanager
def running(answer: Said) -> Iterator[Gateway]:
    """A gateway for as long as the ``with`` block lasts."""
    gateway = Gateway(answer)
    try:
        yield gateway
    finally:
        gateway.stop()


def fleet_exposition(*, openrouter: str = "closed", score: float = 100.0) -> bytes:
    """A small ``gatewayz-data`` exposition: openai, well, and openrouter, whose one model is in the given state."""
    lines = []
    for provider, its_score in (("openai", 97.0), ("openrouter", score)):
        lines += [
            f'health_score{{provider="{provider}"}} {its_score:.1f}',
            f'error_rate{{provider="{provider}"}} 0.000000',
            f'provider_availability{{provider="{provider}"}} 100.00',
            f'total_requests{{provider="{provider}"}} 100',
            f'avg_latency_ms{{provider="{provider}"}} 0.00',
        ]
    for provider, model, state in (("openai", "gpt-4o", "closed"), ("openrouter", "claude", openrouter)):
        lines += [
            f'circuit_breaker_state{{provider="{provider}",model="{model}",state="{word}"}} {int(word == state)}'
            for word in ("open", "closed", "half_open")
        ]
    return ("\n".join([*lines, "gatewayz_data_scrape_success 1"]) + "\n").encode()
