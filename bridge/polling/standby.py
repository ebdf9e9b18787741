"""A process that stands by: forked from a worker at its birth, told to begin when there is something to do.

A worker has imported all that is needed by then, and is a single thread still, so that a fork is safe. Starting Python
anew and importing the same once more takes longer than a poll.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

BEGIN = b"."
MOST_DESCRIPTORS = 8
FIRST_DESCRIPTOR = 3
"""After standard input, output and error."""
LOOK_SECONDS = 0.01


class Standby:
    """The process, as its worker sees it: what of ``subprocess.Popen`` is needed of it."""

    def __init__(self, pid: int, orders: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._orders = orders

    @classmethod
    def fork(cls, main: Callable[[Sequence[int]], None]) -> Standby:
        """Have a process stand by that will call ``main`` with the descriptors that it is handed when it begins.

        For a process that is a single thread. It ends with this one, and inherits nothing that is open.
        """
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid:
            theirs.close()
            return cls(pid, ours)
        try:
            _stand_by(theirs.fileno(), main)
        except BaseException as error:  # noqa: BLE001 (what the worker would do next is not for this process)
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(1)
        os._exit(0)

    def begin(self, descriptors: Sequence[int]) -> None:
        """Have it begin, with these open. Raises OSError when it has ended."""
        with self._orders:
            socket.send_fds(self._orders, [BEGIN], list(descriptors))

    def poll(self) -> int | None:
        """How it ended, as ``Popen.poll`` says it; None while it lives."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = 0  # another has waited for it
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """How it ended, once it has. Raises subprocess.TimeoutExpired."""
        last = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > last:
                raise subprocess.TimeoutExpired("standby", timeout)
            time.sleep(LOOK_SECONDS)
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _stand_by(orders: int, main: Callable[[Sequence[int]], None]) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGTERM}:
        if callable(signal.getsignal(number)):  # the worker's own
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM):  # where they go to all processes: the worker says when to stop
        signal.signal(number, signal.SIG_IGN)
    os.closerange(FIRST_DESCRIPTOR, orders)
    os.closerange(orders + 1, os.sysconf("SC_OPEN_MAX"))
    gc.freeze()  # what was there before is shared with the worker as long as nobody writes to it
    own = socket.socket(fileno=orders)
    message, descriptors, _, _ = socket.recv_fds(own, len(BEGIN), MOST_DESCRIPTORS)
    if message:
        main(descriptors)
