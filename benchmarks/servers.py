"""Servers that are started, asked whether they are ready, and ended."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks import gateway

PROJECT = Path(__file__).parent.parent
START_SECONDS = 60.0
END_SECONDS = 15.0


class BenchmarkError(Exception):
    """A line cannot be measured: its text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server on 127.0.0.1, in a process group of its own."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def workers(self) -> list[int]:
        """The process ids of its children."""
        return _children(self.process.pid)

    def processes(self) -> list[int]:
        """The process ids of itself and all below it: the bridge's one that polls is a worker's child."""
        found = [self.process.pid]
        for pid in found:
            found += _children(pid)
        return found

    def kill(self) -> None:
        """End all of it at once, without a word."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def cpu_seconds(self) -> float:
        """What it and its children have used so far."""
        return sum(cpu_seconds(pid) for pid in (self.process.pid, *self.workers()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Not a step is taken meanwhile."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    @contextmanager
    def left_to(self, worker: int) -> Iterator[None]:
        """One worker alone answers meanwhile."""
        others = [pid for pid in self.workers() if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    """Those that any of its threads has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for one in lists for child in one.read_text().split()]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(
    command: Sequence[str], port: int, *, folder: Path, environ: Mapping[str, str] | None = None, ready: str = "/health"
) -> Iterator[Server]:
    """Run a server until the ``with`` block ends; it begins once ``ready`` (empty: nothing) is answered with 200."""
    # Nothing else of who runs this: a GATEWAY_TOKEN or LOG_LEVEL of theirs would be measured too.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}  # noqa: TID251
    log_path = folder / f"server-{port}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=kept | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Server(port, process, log_path)
    try:
        if ready:
            wait_for(server, ready)
        yield server
    finally:
        _end(process)


def wait_for(server: Server, path: str, seconds: float = START_SECONDS) -> None:
    """Until ``path`` is answered with 200. Raises BenchmarkError when that takes too long, or the server has ended."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if server.process.poll() is not None:
            break
        with suppress(OSError, http.client.HTTPException):
            if fetch(server.port, "GET", path)[0] == 200:
                return
        time.sleep(0.005)
    end = server.log.read_text(errors="replace")[-2000:]
    raise BenchmarkError(f"{path} was not answered within {seconds:g} s; the server's last words:\n{end}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what a master that died early left behind


@contextmanager
def bridge(
    data_dir: Path,
    gateway_port: int,
    *,
    workers: int = 2,
    interval: str = "15s",
    ready: str = "/ready",
    metrics_dir: Path | None = None,
) -> Iterator[Server]:
    """The bridge as the README starts it, listening on 127.0.0.1 alone.

    ``metrics_dir`` is for one that is killed: it would leave behind the folder that it makes for its own metrics.
    """
    port = free_port()
    environ = {
        "GATEWAYZ_API_URL": f"http://127.0.0.1:{gateway_port}",
        "GATEWAY_METRICS_PATH": gateway.PATH,
        "POLL_INTERVAL": interval,
        "DATA_DIR": str(data_dir),
        "HISTORY_RETENTION": "8d",
        "PORT": str(port),
        "WEB_CONCURRENCY": str(workers),
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
    }
    if metrics_dir is not None:
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)
    command = [sys.executable, "app.py"]
    with serve(command, port, folder=data_dir.parent, environ=environ, ready=ready) as server:
        yield server


@contextmanager
def bare(folder: Path, body: bytes, *, workers: int = 2) -> Iterator[Server]:
    """The bare Flask route that returns ``body``, under the same gunicorn configuration."""
    port, file = free_port(), folder / "bare.json"
    file.write_bytes(body)
    environ = {
        "GATEWAYZ_API_URL": "http://127.0.0.1:1",  # gunicorn.conf.py asks for it; nobody is called there
        "PORT": str(port),
        "WEB_CONCURRENCY": str(workers),
    }
    app = f"benchmarks.bare:app({str(file)!r})"
    command = [sys.executable, "-m", "gunicorn", app, "--bind", f"127.0.0.1:{port}"]
    with serve(command, port, folder=folder, environ=environ) as server:
        yield server


@contextmanager
def gateway_of(
    folder: Path, *, providers: int, models: int, lines: int = 0, first: int = 0, ahead: int = 0
) -> Iterator[Server]:
    """The made-up gateway."""
    port = free_port()
    options = {"port": port, "providers": providers, "models": models, "lines": lines, "first": first, "ahead": ahead}
    command = [sys.executable, "-m", "benchmarks.gateway", *(f"--{name}={value}" for name, value in options.items())]
    with serve(command, port, folder=folder, ready="/requests") as server:
        yield server


def fetch(port: int, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def poll_spans(server: Server, gateway: Server) -> list[tuple[float, float]]:
    """From when each poll reached the gateway to when the bridge had recorded it, by its log (epoch seconds)."""
    asked = json.loads(fetch(gateway.port, "GET", "/requests")[1])
    spans = []
    for line in server.log.read_text().splitlines():
        entry = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
        if entry.get("event") == "poll" and entry["outcome"] == "ok":
            ended = datetime.fromisoformat(entry["timestamp"]).timestamp()
            spans.append((max((at for at in asked if at < ended), default=ended), ended))
    return spans


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional set size of a process, in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return sizes["Rss"] / 1024, sizes["Pss"] / 1024
