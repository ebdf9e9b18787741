"""A load generator that costs little: raw sockets, keep-alive connections, one request at a time on each.

Runs as a process of its own (``python -m benchmarks.client``), so that it shares no interpreter with anything it
measures: a job as JSON on standard input, the outcome as JSON on standard output.
"""

from __future__ import annotations

import json
import math
import selectors
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field

BUFFER_BYTES = 4 * 2**20
STUCK_SECONDS = 30.0
MOST_RECONNECTS = 100


@dataclass(frozen=True, slots=True)
class Job:
    """What one client process does. Ends after ``count`` requests, or after ``seconds``, whichever is first."""

    port: int
    requests: list[str]
    """Whole HTTP requests, sent one after another, and then again from the first."""
    count: int
    connections: int
    begin: float
    """When to begin, on the monotonic clock that all processes share."""
    seconds: float = math.inf
    rate: float = 0.0
    """Requests a second, on a fixed schedule; 0 is as fast as the server answers."""


@dataclass(slots=True)
class Outcome:
    """What came of it. ``sent`` (epoch seconds) and ``took`` have an entry for each answer."""

    sent: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    """From when a request was due to the last byte of its answer: waiting for a free connection counts."""
    began: float = 0.0
    ended: float = 0.0
    cpu_seconds: float = 0.0
    received_bytes: int = 0
    reconnects: int = 0
    errors: int = 0
    first_error: str = ""


class Connection:
    """One keep-alive connection and the answer that is arriving on it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open()
        self.due = 0.0
        self._request = b""
        self._head = b""
        self._missing = 0
        self._tail: bytes | None = None
        """The last bytes of a chunked answer; None for one whose length is known."""

    def open(self) -> None:
        """Connect."""
        self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=STUCK_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes, due: float) -> None:
        """Ask; the answer begins anew."""
        self.due, self._request, self._head, self._missing, self._tail = due, request, b"", 0, None
        with suppress(BrokenPipeError, ConnectionResetError):  # which the wait for the answer will tell
            self.socket.sendall(request)

    def rest(self) -> None:
        """Nothing is asked and nothing expected."""
        self._request, self._head, self._missing, self._tail = b"", b"", 0, None

    def send_again(self) -> None:
        """What is asked, if anything, on a new connection."""
        self.socket.close()
        self.open()
        self.socket.sendall(self._request)

    @property
    def silent(self) -> bool:
        """True before the first byte of an answer."""
        return not self._head

    def receive(self, buffer: memoryview) -> tuple[int, bool]:
        """Take what has arrived: how many bytes, and whether the answer is whole."""
        # What is left of a body of known length is thrown away in the kernel: copying it would cost as much again.
        flags = socket.MSG_TRUNC if self._missing else 0
        size = self.socket.recv_into(buffer, len(buffer), flags)
        if not size:
            raise ConnectionError("the server closed the connection")
        if self._missing:
            self._missing -= size
            return size, self._missing <= 0
        if self._tail is not None:
            self._tail = (self._tail + bytes(buffer[max(0, size - 5) : size]))[-5:]
            return size, self._tail == b"0\r\n\r\n"
        self._head += bytes(buffer[:size])
        return size, self._read_head()

    def status_line(self) -> str:
        """How the answer begins."""
        return self._head.partition(b"\r\n")[0].decode(errors="replace")

    @property
    def ok(self) -> bool:
        """True for an answer with status 200."""
        return self._head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))

    def _read_head(self) -> bool:
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return False
        self._head = head
        for line in head.lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._missing = int(value) - len(body)
                return self._missing <= 0
            if name == b"transfer-encoding":
                self._tail = body[-5:]
                return self._tail == b"0\r\n\r\n"
        raise ConnectionError("the answer says neither Content-Length nor Transfer-Encoding")


class Client:
    """Does one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = [request.encode() for request in job.requests]
        self._connections = [Connection(job.port) for _ in range(job.connections)]
        self._free = list(self._connections)
        self._asked = 0
        self._to_epoch = 0.0
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Do it; once only."""
        outcome = self._outcome
        time.sleep(max(0.0, self._job.begin - time.monotonic()))
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            cpu, outcome.began = time.process_time(), time.monotonic()
            self._to_epoch = time.time() - outcome.began
            while (wait := self._ask()) is not None:
                ready = selector.select(wait)
                if not ready and wait == STUCK_SECONDS:
                    raise TimeoutError(f"no answer for {STUCK_SECONDS:g} s")
                for key, _ in ready:
                    connection = key.data
                    try:
                        self._take(connection)
                    except ConnectionError:
                        # Servers may hang up on a connection between two requests; clients then ask again.
                        outcome.reconnects += 1
                        if not connection.silent or outcome.reconnects > MOST_RECONNECTS:
                            raise
                        selector.unregister(connection.socket)
                        connection.send_again()
                        selector.register(connection.socket, selectors.EVENT_READ, connection)
            outcome.ended, outcome.cpu_seconds = time.monotonic(), time.process_time() - cpu
        for connection in self._connections:
            connection.socket.close()
        return outcome

    def _ask(self) -> float | None:
        """Send what is due. How long to wait then for answers, or for the next to be due; None at the end."""
        job, began = self._job, self._outcome.began
        now = time.monotonic()
        while self._asked < job.count and now < began + job.seconds:
            due = began + self._asked / job.rate if job.rate else now
            if not self._free:
                return STUCK_SECONDS
            if due > now:
                return due - now
            self._free.pop().send(self._requests[self._asked % len(self._requests)], due)
            self._asked += 1
            now = time.monotonic()
        return STUCK_SECONDS if len(self._free) < len(self._connections) else None

    def _take(self, connection: Connection) -> None:
        """Take what has arrived; note the answer once it is whole."""
        outcome = self._outcome
        size, whole = connection.receive(self._buffer)
        outcome.received_bytes += size
        if not whole:
            return
        outcome.sent.append(connection.due + self._to_epoch)
        outcome.took.append(time.monotonic() - connection.due)
        if not connection.ok:
            outcome.errors += 1
            outcome.first_error = outcome.first_error or connection.status_line()
        connection.rest()
        self._free.append(connection)


if __name__ == "__main__":
    json.dump(asdict(Client(Job(**json.load(sys.stdin))).run()), sys.stdout)
