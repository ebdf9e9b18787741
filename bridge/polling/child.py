"""The process that polls: the leader's child, so that no request has to wait for a poll that is being read.

It is given the leader's lock, and a pipe as its standard input, over which come the settings, and then nothing for as
long as the leader lives. A child that outlives its leader
ends at once, and a child that ends is started again.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, cast

import structlog

from bridge import clock, logs
from bridge.gateway import dialect_file
from bridge.gateway.client import GatewayClient
from bridge.gateway.source import GatewaySource
from bridge.history.store import Store
from bridge.model import Poll, Reading
from bridge.polling.election import Lead
from bridge.polling.loop import Poller
from bridge.settings import Settings
from bridge.web.counts import OwnMetrics

CHILD = "import sys; from bridge.polling.child import main; main(int(sys.argv[1]))"
STOP = b"."
"""What the leader says when the poll in flight shall be the last."""
LOOK_SECONDS = 0.25
"""How often the leader looks after its child."""
END_SECONDS = 4.0
"""How long a poll in flight may take to end when the service is stopped."""


log = structlog.get_logger("bridge.polling")


class PollingError(Exception):
    """The polling process ended by itself."""


def poller_of(
    settings: Settings,
    store: Store,
    *,
    clock: Callable[[], Reading] = clock.read,
    observe: Callable[[Poll], None] = lambda _: None,
    parsed: Callable[[float], None] = lambda _: None,
) -> Poller:
    """A poller of the gateway that the settings name.

    ``observe`` is told of every poll once it is recorded, ``parsed`` how many seconds reading an exposition took.

    Raises DialectError for a dialect that cannot be used.
    """
    client = GatewayClient(
        settings.gateway_url + settings.metrics_path,
        token=settings.gateway_token,
        timeout_seconds=settings.poll_timeout_seconds,
        max_bytes=settings.max_exposition_bytes,
    )
    source = GatewaySource(client, dialect_file.select(settings.dialect), observe=parsed)
    interval = settings.poll_interval_seconds
    return Poller(source, store, settings.policy, interval_seconds=interval, clock=clock, observe=observe)


def poll_in_child(settings: Settings, lead: Lead, stop: threading.Event) -> None:
    """Have a child poll until ``stop`` is set. Raises PollingError when it ends before."""
    command = [sys.executable, "-c", CHILD, str(lead.descriptor)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(lead.descriptor,)) as child:  # noqa: S603
        stdin = cast(IO[bytes], child.stdin)
        try:
            with suppress(BrokenPipeError):
                stdin.write(pickle.dumps(settings))
                stdin.flush()
            while child.poll() is None and not stop.wait(LOOK_SECONDS):
                pass
            if child.returncode is not None:
                raise PollingError(f"the polling process {child.pid} ended with status {child.returncode}")
        finally:
            _end(child, stdin)


def _end(child: subprocess.Popen[bytes], stdin: IO[bytes]) -> None:
    """Let the poll in flight be the last; a child that does not come to an end is killed."""
    with suppress(OSError):
        stdin.write(STOP)
        stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def main(descriptor: int) -> None:
    """The child: poll until told to stop, or until the leader is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # where they go to all processes: the leader says when to stop
        signal.signal(number, signal.SIG_IGN)
    os.nice(5)  # where processors are scarce, requests go first
    try:
        settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 (the leader's own, through a pipe)
    except (EOFError, pickle.UnpicklingError):
        return  # the leader died before it had said anything
    stop = threading.Event()
    threading.Thread(target=_obey, args=(stop,), name="obey", daemon=True).start()
    logs.configure(settings.log_level)
    logs.capture(settings.log_level)
    log.info("polling", message="this process polls the gateway", pid=os.getpid())
    store = Store(settings.data_dir, retention_seconds=settings.history_retention_seconds)
    if store.damage:
        log.error("history_damaged", message=store.damage)
    metrics = OwnMetrics()
    metrics.tidy()
    poller_of(settings, store, observe=metrics.poll, parsed=metrics.parsed).run(Lead(descriptor), stop)
    store.close()


def _obey(stop: threading.Event) -> None:
    if sys.stdin.buffer.read(1):
        stop.set()
        time.sleep(END_SECONDS)  # then the leader would kill it; but it may be dead itself by now
    os._exit(1)  # the leader is dead, and another one polls from now on
