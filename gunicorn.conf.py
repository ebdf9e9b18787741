"""How gunicorn serves the bridge: where it listens, how many workers, and what starts and ends with each of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from typing import Any

from gunicorn import glogging
from gunicorn.workers import gthread

# The workers add up their own metrics in files in one directory; prometheus_client looks for it when it is imported.
_metrics_dir: str | None = None
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics_dir = tempfile.mkdtemp(prefix="bridge-metrics-")

from prometheus_client.multiprocess import mark_process_dead  # noqa: E402

from bridge import configured, logs  # noqa: E402
from bridge.settings import ConfigurationError  # noqa: E402

ARRIVAL_SECONDS = 5.0
"""A request that has not arrived in full by then is given up."""
ANSWER_SECONDS = 30.0
"""A request that is not answered, or whose answer is not taken, by then is given up."""


class ThreadWorker(gthread.ThreadWorker):
    """gthread that hangs up on slow clients.

    A thread reads a request's head and body, and sends its answer, without a time limit: a handful of clients that
    stop half-way would hold every thread for as long as they like. Shutting a socket down from here ends the wait.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handled: dict[gthread.TConn, float] = {}

    def handle(self, conn: gthread.TConn) -> Any:
        self._handled[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            del self._handled[conn]

    def murder_pending(self) -> None:
        """Called at least once a second; gunicorn's own version closes connections that never said a word."""
        super().murder_pending()
        now = time.monotonic()
        for conn, since in self._handled.copy().items():
            if now - since > ARRIVAL_SECONDS:
                how = socket.SHUT_RDWR if now - since > ANSWER_SECONDS else socket.SHUT_RD
                with contextlib.suppress(OSError):
                    conn.sock.shutdown(how)


class Logger(glogging.Logger):
    """Gunicorn's own log, as lines among the bridge's."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


def _addresses(port: int) -> list[str]:
    """Every interface: IPv6 and IPv4 on one socket, on two where that is switched off, IPv4 where there is no IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            if not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                return [f"[::]:{port}"]
    except OSError:
        return [f"0.0.0.0:{port}"]
    return [f"[::]:{port}", f"0.0.0.0:{port}"]


def _remove_metrics_dir() -> None:
    if _metrics_dir:
        shutil.rmtree(_metrics_dir, ignore_errors=True)


try:
    _settings = configured(os.environ)
except ConfigurationError as error:
    _remove_metrics_dir()
    sys.exit(f"The bridge cannot start. Wrong in its environment:\n\n{error}\n")

logs.capture(_settings.log_level)

# While the leader reads a large exposition, a request wants the interpreter a dozen times: 5 ms each would add up.
sys.setswitchinterval(0.0005)

# A connection that says nothing waits for its first byte in a thread this long, then in the event loop.
gthread.DEFAULT_WORKER_DATA_TIMEOUT = 1.0

bind = _addresses(_settings.port)
worker_class = ThreadWorker
workers = _settings.web_concurrency
threads = 8
preload_app = False
timeout = 30
graceful_timeout = 10
keepalive = 30
limit_request_line = 8190  # GET /query can carry many targets
logger_class = Logger
accesslog = None  # the bridge logs its requests itself
loglevel = _settings.log_level.lower()
control_socket_disable = True
if os.access("/dev/shm", os.W_OK):  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108 (heartbeats do not wait for a disk)


def post_worker_init(worker: Any) -> None:
    worker.app.wsgi().extensions["bridge"].start()


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    bridge = getattr(worker.app.callable, "extensions", {}).get("bridge")
    if hasattr(bridge, "stop"):
        bridge.stop()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:  # noqa: ARG001
    _remove_metrics_dir()
