"""The process that polls: the leader's child, so that no request has to wait for a poll that is being read.

It is given the leader's lock, and a pipe as its standard input, over which come its orders, and then nothing for as
long as the leader lives. Over another pipe it says that it has polled. A child that outlives its leader ends at once;
one that ends, or does not poll any more, is started again.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, NamedTuple, cast

import structlog

from bridge import clock, logs
from bridge.gateway import dialect_file
from bridge.gateway.client import GatewayClient
from bridge.gateway.dialect import Dialect
from bridge.gateway.source import GatewaySource
from bridge.history.store import Store
from bridge.model import Poll, Reading
from bridge.polling.election import Lead, LeadLost
from bridge.polling.loop import Poller
from bridge.polling.standby import Standby
from bridge.settings import Settings
from bridge.web.counts import OwnMetrics

CHILD = "from bridge.polling.child import main; main()"
STOP = b"."
"""What the leader says when the poll in flight shall be the last."""
STDIN = 0
LOOK_SECONDS = 0.25
"""How often the leader looks after its child."""
END_SECONDS = 4.0
"""How long a poll in flight may take to end when the service is stopped."""
STUCK_SECONDS = 60.0
"""How long a poll may be overdue: name resolution has no time limit of its own."""
START_SECONDS = 300.0
"""How long the first one may be, while the history is read."""
OLD_DIALECT = "a file that GATEWAY_DIALECT names cannot be used any more; what it said before goes on in use"
PR_SET_PDEATHSIG = 1
_LENGTH = struct.Struct(">Q")

log = structlog.get_logger("bridge.polling")


class PollingError(Exception):
    """The polling process ended by itself, or does not poll."""


class Orders(NamedTuple):
    """What a polling process has to know."""

    settings: Settings
    lead: Lead
    pulse: int
    """The file descriptor to write a byte to after each poll."""
    dialects: tuple[Dialect, ...]
    notices: tuple[str, ...] = ()
    """To be shown with every poll."""

    def sent(self) -> bytes:
        """As they go through the pipe: their length first, so that nothing behind them is read with them."""
        content = pickle.dumps(self)
        return _LENGTH.pack(len(content)) + content


def poller_of(
    settings: Settings,
    store: Store,
    *,
    dialects: Sequence[Dialect] | None = None,
    notices: Sequence[str] = (),
    clock: Callable[[], Reading] = clock.read,
    observe: Callable[[Poll], None] = lambda _: None,
    parsed: Callable[[float], None] = lambda _: None,
) -> Poller:
    """A poller of the gateway that the settings name.

    ``dialects`` are those that the settings name, where they were read already. ``notices`` go with every poll.
    ``observe`` is told of every poll once it is recorded, ``parsed`` how many seconds reading an exposition took.

    Raises DialectError for a dialect that cannot be used.
    """
    client = GatewayClient(
        settings.gateway_url + settings.metrics_path,
        token=settings.gateway_token,
        timeout_seconds=settings.poll_timeout_seconds,
        max_bytes=settings.max_exposition_bytes,
    )
    chosen = dialect_file.select(settings.dialect) if dialects is None else dialects
    timeout = settings.poll_timeout_seconds
    source = GatewaySource(client, chosen, timeout_seconds=timeout, notices=notices, observe=parsed)
    interval = settings.poll_interval_seconds
    return Poller(source, store, settings.policy, interval_seconds=interval, clock=clock, observe=observe)


_standby: Standby | None = None
"""The process that stands by to poll for this worker, until it does."""


def stand_by() -> None:
    """Have a process stand by to poll for this worker, which is a single thread still: it will poll the sooner."""
    global _standby  # noqa: PLW0603 (of each process its own, as its children are)
    _standby = Standby.fork(_begin)


def _begin(descriptors: Sequence[int]) -> None:
    _end_with_leader()
    stdin, lead, pulse = descriptors
    os.dup2(stdin, STDIN)
    os.close(stdin)
    _poll(lead, pulse)


def poll_in_child(settings: Settings, lead: Lead, stop: threading.Event) -> None:
    """Have a child poll until ``stop`` is set.

    Raises PollingError when it ends before, or has not polled for long, and LeadLost when another may poll as well.
    """
    dialects, trouble = dialect_file.in_force(settings.dialect)
    if trouble:
        log.error("dialect_not_read", message=f"{OLD_DIALECT}: {trouble}")
    with _Pulse(settings.poll_interval_seconds + settings.poll_timeout_seconds) as pulse:
        child, stdin = _started(lead, pulse.writer)
        try:
            with suppress(BrokenPipeError):
                stdin.write(Orders(settings, lead, pulse.writer, dialects, (OLD_DIALECT,) if trouble else ()).sent())
                stdin.flush()
            while child.poll() is None and not stop.wait(LOOK_SECONDS):
                lead.check()
                pulse.check()
            if child.returncode is not None:
                lead.check()
                raise PollingError(f"the polling process {child.pid} ended with status {child.returncode}")
        except BaseException:
            child.kill()  # not one more poll
            raise
        finally:
            _end(child, stdin)
            child.wait()


def _started(lead: Lead, pulse: int) -> tuple[subprocess.Popen[bytes] | Standby, IO[bytes]]:
    """A child that waits for its orders, and what to write them to: the one that stands by, or else a new one."""
    global _standby
    standby, _standby = _standby, None
    if standby is not None:
        reader, writer = os.pipe()
        try:
            standby.begin((reader, lead.descriptor, pulse))
            return standby, os.fdopen(writer, "wb")
        except OSError:
            os.close(writer)
            standby.kill()
        finally:
            os.close(reader)
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, pass_fds=(lead.descriptor, pulse))  # noqa: S603
    return child, cast(IO[bytes], child.stdin)


class _Pulse:
    """The pipe on which a child says that it has polled, and how long it has been silent."""

    def __init__(self, usual_seconds: float) -> None:
        """``usual_seconds`` are the most that one poll begins after another, and takes."""
        self._usual = usual_seconds
        self._patience = usual_seconds + START_SECONDS
        self._silent = 0.0
        self._looked_at = time.monotonic()

    def __enter__(self) -> _Pulse:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reader)
        os.close(self.writer)

    def check(self) -> None:
        """Raise PollingError when there was no poll for too long. To be called every ``LOOK_SECONDS``."""
        now = time.monotonic()
        # Where this process stood still as well, the child is not to blame.
        self._silent += min(now - self._looked_at, 4 * LOOK_SECONDS)
        self._looked_at = now
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
            self._silent, self._patience = 0.0, self._usual + STUCK_SECONDS
        if self._silent > self._patience:
            raise PollingError(f"the polling process has not polled for {self._silent:.0f} s, and is ended")


def _end(child: subprocess.Popen[bytes] | Standby, stdin: IO[bytes]) -> None:
    """Let the poll in flight be the last; a child that does not come to an end is killed."""
    with suppress(OSError):
        stdin.write(STOP)
        stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def main() -> None:
    """A child that was started anew: poll until told to stop, or until the leader is gone."""
    _end_with_leader()
    for number in (signal.SIGINT, signal.SIGTERM):  # where they go to all processes: the leader says when to stop
        signal.signal(number, signal.SIG_IGN)
    _poll()


def _poll(lead: int | None = None, pulse: int | None = None) -> None:
    """Poll as ordered; ``lead`` and ``pulse`` are the descriptors where they go by other numbers than the leader's."""
    gc.set_threshold(50_000, 20, 50)  # a start makes tens of thousands of series, which are no garbage
    os.nice(5)  # where processors are scarce, requests go first
    orders = _orders()
    if orders is None:
        return  # the leader died before it had said anything
    if lead is not None and pulse is not None:
        orders = orders._replace(lead=replace(orders.lead, descriptor=lead), pulse=pulse)
    stop = threading.Event()
    threading.Thread(target=_obey, args=(stop,), name="obey", daemon=True).start()
    settings = orders.settings
    logs.configure(settings.log_level)
    logs.capture(settings.log_level)
    log.info("polling", message="this process polls the gateway", pid=os.getpid())
    store = Store(settings.data_dir, retention_seconds=settings.history_retention_seconds)
    if store.damage:
        log.error("history_damaged", message=store.damage)
    metrics = OwnMetrics()
    metrics.tidy()

    def observe(poll: Poll) -> None:
        metrics.poll(poll)
        with suppress(OSError):
            os.write(orders.pulse, b".")

    chosen, notices = orders.dialects, orders.notices
    poller = poller_of(settings, store, dialects=chosen, notices=notices, observe=observe, parsed=metrics.parsed)
    with suppress(LeadLost):  # the leader finds that out as well, and says so
        poller.run(orders.lead, stop)
    store.close()


def _end_with_leader() -> None:
    """Have the kernel end this process with its leader, even one that is stopped or hangs (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _orders() -> Orders | None:
    """What the leader sends first. Not by ``sys.stdin``: a thread that waits there makes Python abort at its end."""
    size = _read(_LENGTH.size)
    content = _read(_LENGTH.unpack(size)[0]) if size else b""
    return cast(Orders, pickle.loads(content)) if content else None  # noqa: S301 (the leader's own, through a pipe)


def _read(count: int) -> bytes:
    """So many bytes of what the leader says; none when it ends before."""
    read = b""
    while len(read) < count:
        more = os.read(STDIN, count - len(read))
        if not more:
            return b""
        read += more
    return read


def _obey(stop: threading.Event) -> None:
    if os.read(STDIN, 1):
        stop.set()
        time.sleep(END_SECONDS)  # then the leader would kill it; but it may be dead itself by now
    os._exit(1)  # the leader is dead, and another one polls from now on
