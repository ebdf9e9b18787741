"""Clients that take their time: they stop half-way, or send or read a byte a second, for as long as they like."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.service.harness import Service

TICK_SECONDS = 1.0
SMALL_BUFFER = 4096
"""What a slow reader's own system takes for it."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How one kind of slow client goes about it."""

    at_once: bytes
    """Sent on connecting."""
    drip: bytes = b""
    """Sent a byte a second after that, from the beginning again when it is over."""
    reads: bool = False
    """Whether it takes a byte a second of its answer; else it takes none."""


class Crowd:
    """So many slow clients of one kind. Who is hung up on comes again."""

    def __init__(self, port: int, manner: Manner, count: int) -> None:
        self._port, self._manner = port, manner
        self._over = threading.Event()
        self._clients = [self._connect() for _ in range(count)]
        self._ticks = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def leave(self) -> None:
        """Hang up, all of them."""
        self._over.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _connect(self) -> socket.socket:
        client = socket.socket()
        if self._manner.reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.settimeout(10)
        client.connect(("127.0.0.1", self._port))
        client.setblocking(False)
        with suppress(OSError):
            client.send(self._manner.at_once)
        return client

    def _run(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            for number, client in enumerate(self._clients):
                if not self._goes_on(client):
                    client.close()
                    self._clients[number] = self._connect()
            self._ticks += 1

    def _goes_on(self, client: socket.socket) -> bool:
        drip = self._manner.drip
        try:
            if drip:
                client.send(drip[self._ticks % len(drip) :][:1])
            return client.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


@contextmanager
def crowd(service: Service, manner: Manner, count: int) -> Iterator[Crowd]:
    """So many slow clients, for as long as the ``with`` block lasts."""
    clients = Crowd(service.port, manner, count)
    try:
        yield clients
    finally:
        clients.leave()


def longest_delays(
    services: Sequence[Service], questions: Sequence[Callable[[Service], object]], seconds: float
) -> list[float]:
    """The longest that each service took for an answer, asked in turn for so long."""
    longest = [0.0 for _ in services]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for question in questions:
            for number, service in enumerate(services):
                began = time.monotonic()
                question(service)
                longest[number] = max(longest[number], time.monotonic() - began)
    return longest


def hung_up_on(client: socket.socket) -> bool:
    """Whether the other side has closed a connection on which it says nothing."""
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        if not selector.select(0):
            return False
    try:
        return client.recv(65536, socket.MSG_DONTWAIT) == b""
    except OSError:
        return True
