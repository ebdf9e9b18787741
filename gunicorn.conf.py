"""How gunicorn serves the bridge: where it listens, how many workers, and what starts and ends with each of them."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gunicorn import glogging

# The workers add up their own metrics in files in one directory; prometheus_client looks for it when it is imported.
# In memory, if there is room: that is fast, and no disk that is full for another reason can get in the way.
_in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
if _in_memory and shutil.disk_usage(_in_memory).free < 16 * 2**20:
    _in_memory = None
_own_prefix = "bridge-metrics-"
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    _where = None if os.environ.get("TMPDIR") else _in_memory
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_own_prefix, dir=_where)
_metrics_dir = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
_metrics_dir.mkdir(parents=True, exist_ok=True)

import bridge.application  # noqa: E402, F401 (once, and not in each worker)
from bridge import logs  # noqa: E402
from bridge.configuration import configured_once  # noqa: E402
from bridge.polling import child  # noqa: E402
from bridge.server.worker import Worker  # noqa: E402
from bridge.settings import ConfigurationError  # noqa: E402
from bridge.web import worker_files  # noqa: E402

# Held by all processes that are forked from this one, and so until the last of them has ended, however that was.
_metrics_held = worker_files.hold(_metrics_dir)
worker_files.remove_left_behind(_metrics_dir.parent, _own_prefix)


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
    if _metrics_dir.name.startswith(_own_prefix):  # made here, perhaps before this file was read again (SIGHUP)
        shutil.rmtree(_metrics_dir, ignore_errors=True)


try:
    _settings = configured_once()
except ConfigurationError as error:
    _remove_metrics_dir()
    sys.exit(f"The bridge cannot start. Wrong in its environment:\n\n{error}\n")

logs.capture(_settings.log_level)

bind = _addresses(_settings.port)
worker_class = Worker
workers = _settings.web_concurrency
threads = 24  # most of them only wait: bridge.queries.admission says how many may
worker_connections = 500  # then those on which a client has been slowest are closed
asgi_loop = "asyncio"
asgi_lifespan = "off"
asgi_disconnect_grace_period = 0  # there is nothing to put in order for a client that is gone
preload_app = False
timeout = 30
graceful_timeout = 10
keepalive = 30
limit_request_line = 8190  # GET /query can carry many targets
logger_class = Logger
accesslog = None  # the bridge logs its requests itself
loglevel = _settings.log_level.lower()
control_socket_disable = True
if _in_memory:
    worker_tmp_dir = _in_memory  # heartbeats do not wait for a disk


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001
    child.stand_by()


def post_worker_init(worker: Any) -> None:
    worker.app.wsgi().extensions["bridge"].start()


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    bridge = getattr(worker.app.callable, "extensions", {}).get("bridge")
    if hasattr(bridge, "stop"):
        bridge.stop()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """What the worker counted stays counted. Who reads the counts is waited for, but not for long."""
    for _ in range(20):
        try:
            worker_files.fold(_metrics_dir, worker_files.ended(_metrics_dir))
        except BlockingIOError:
            time.sleep(0.01)
            continue
        except Exception as error:  # noqa: BLE001 (it would end the service)
            server.log.warning("The counts of ended workers are left in files of their own: %s", error)
        break


def on_exit(server: Any) -> None:  # noqa: ARG001
    _remove_metrics_dir()
