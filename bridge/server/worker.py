"""The gunicorn worker: one event loop for all connections, and threads that compute answers."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from gunicorn.workers.gasgi import ASGIWorker

from bridge.server.connections import Connections
from bridge.server.protocol import LINGER_SECONDS, Protocol
from bridge.server.wsgi import InThreads

TICK_SECONDS = 1.0
END_TICK_SECONDS = 0.05
CALM_SECONDS = 1.0
"""How long a worker that ends waits for its threads before it stops listening."""
HELD_BYTES = 48 * 2**20
"""What unfinished requests and unsent answers may take of all workers' memory."""
SEND_BUFFER_BYTES = 256 * 1024
"""What the system may hold of an answer; by itself it takes megabytes for each client that does not read."""
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Worker(ASGIWorker):  # type: ignore[misc]
    """Serves the WSGI application by ``threads`` threads, over at most ``worker_connections`` connections."""

    alive: bool
    asgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections = Connections(self.cfg.worker_connections, HELD_BYTES // max(1, self.cfg.workers))
        self._beginning: set[asyncio.Task[Any]] = set()
        self._told_to_end = asyncio.Event()

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """There is nothing to object to: ``threads`` has a meaning here."""

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        self.wsgi = self.asgi
        self.asgi = InThreads(self.wsgi, self.cfg.threads, self.connections)

    def handle_exit_signal(self) -> None:
        """End when all is answered."""
        super().handle_exit_signal()
        self._told_to_end.set()

    def handle_quit_signal(self) -> None:
        """End at once."""
        super().handle_quit_signal()
        self._told_to_end.set()

    async def _serve(self) -> None:
        listeners = [one.sock for one in self.sockets]
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
            self.loop.add_reader(listener, self._accept, listener)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._look_after_connections()
            self._end_if_history_is_gone()
            try:
                await asyncio.wait_for(self._told_to_end.wait(), TICK_SECONDS)
            except TimeoutError:
                continue
        self.alive = False
        await self._stop_listening(listeners)
        await self._finish()
        self.asgi.close()

    async def _stop_listening(self, listeners: Sequence[socket.socket]) -> None:
        """Take all who have connected, and close. Who connects between the last look and that would be reset.

        So there is no thread meanwhile, if that can be had, for which this one would have to wait.
        """
        for listener in listeners:
            self.loop.remove_reader(listener)
        last = time.monotonic() + CALM_SECONDS
        while self.connections.answering() and time.monotonic() < last and not self._quick_shutdown:
            await asyncio.sleep(END_TICK_SECONDS / 10)
        for listener in listeners:
            while self._accept(listener):
                pass
            listener.close()

    def _accept(self, listener: socket.socket) -> bool:
        """Take one connection, and leave the next to any worker; false when there is none."""
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return False
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            self.connections.hang_up_oldest()
            return False
        client.setblocking(False)
        begin = self.loop.connect_accepted_socket(lambda: Protocol(self, self.connections), client)
        task = self.loop.create_task(begin)
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return True

    def _look_after_connections(self) -> None:
        self.connections.expire(time.monotonic())
        if self.connections.closed_for_room:
            self.log.warning(
                "%d connections were closed, to make room for others: their clients were slow",
                self.connections.closed_for_room,
            )
            self.connections.closed_for_room = 0

    def _end_if_history_is_gone(self) -> None:
        """End, for another worker to begin, when the history's file was set aside or taken away."""
        store = getattr(self.wsgi.extensions["bridge"], "store", None)
        if self.alive and store is not None and store.database.replaced():
            self.log.error("The history's file is gone, or was replaced: this worker ends, another one begins with it")
            self.alive = False
            self._told_to_end.set()

    async def _finish(self) -> None:
        """Until every request is answered, and every idle connection had ``LINGER_SECONDS`` for one more."""
        now = time.monotonic()
        linger_until, end = now + LINGER_SECONDS, now + self.cfg.graceful_timeout
        while (self.nr_conns or self._beginning) and now < end and not self._quick_shutdown:
            self.notify()
            self.connections.expire(now)
            if now > linger_until:
                for connection in self.connections.idle():
                    connection.hang_up()
            await asyncio.sleep(END_TICK_SECONDS)
            now = time.monotonic()
