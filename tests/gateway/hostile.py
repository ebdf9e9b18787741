"""Gateways that misbehave on purpose: real sockets on loopback ports, started and ended by the test."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator

Answer = bytes | Callable[[socket.socket, threading.Event], None]
"""What a gateway does once it was asked: sends bytes and keeps the connection, or anything else."""

THREAD_PREFIX = "hostile-"


class Gateway:
    """A listening gateway. Its n-th request gets the n-th answer, and the last one from then on."""

    def __init__(self, answers: tuple[Answer, ...], tls: ssl.SSLContext | None, speaks_first: bool) -> None:
        self.requests: list[str] = []
        self.connections = 0
        self._answers = answers
        self._tls = tls
        self._speaks_first = speaks_first
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.005)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/metrics"
        self._threads = [threading.Thread(target=self._listen, name=THREAD_PREFIX + "listener")]
        self._threads[0].start()

    def answers_now(self, *answers: Answer, speaks_first: bool) -> None:
        """From now on requests get these answers, the first of them what the first of these says."""
        self._answers = answers
        self._speaks_first = speaks_first

    def stop(self) -> None:
        """End every connection and thread."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection,), name=THREAD_PREFIX + "connection")
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while self._speaks_first or self._heard(connection):
                    answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                    if isinstance(answer, bytes):
                        connection.sendall(answer)
                    else:
                        answer(connection, self._over)
                    if self._speaks_first:
                        return

    def _heard(self, connection: socket.socket) -> bool:
        """Read one request and its form; False when the client hung up instead of asking."""
        head = b""
        connection.settimeout(0.005)
        while not _whole(head):
            if self._over.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
                if not received:
                    return False
                head += received
        connection.settimeout(5)
        self.requests.append(head.decode("latin-1"))
        return True


def _whole(request: bytes) -> bool:
    head, ended, form = request.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: ([0-9]+)", head, re.IGNORECASE)
    return bool(ended) and len(form) >= int(length[1] if length else 0)


@contextlib.contextmanager
def gateway(*answers: Answer, tls: ssl.SSLContext | None = None, speaks_first: bool = False) -> Iterator[Gateway]:
    """A gateway for the length of a ``with``. One that speaks first does not wait to be asked."""
    server = Gateway(answers, tls, speaks_first)
    try:
        yield server
    finally:
        server.stop()


def head(status: int, *headers: str) -> bytes:
    """A status line and headers, and the empty line after them."""
    return "\r\n".join((f"HTTP/1.1 {status} Whatever", *headers, "", "")).encode("latin-1")


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """A well-formed answer."""
    return head(status, f"Content-Length: {len(body)}", *headers) + body


def redirect(location: str, status: int = 307) -> bytes:
    """A redirect, as an answer."""
    return answer(status, b"", f"Location: {location}")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def gzip_bomb(megabytes: int) -> bytes:
    """A gzip stream of zeros: 1 MB compressed once, after a full flush, and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    start = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (megabytes - 1)


def gzipped(body: bytes) -> bytes:
    """``body`` as one gzip member."""
    return gzip.compress(body, mtime=0)


def then_close(data: bytes) -> Answer:
    """Send ``data`` and close, as a gateway does that delimits its body by closing."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        connection.close()

    return act


def then_hang(data: bytes) -> Answer:
    """Send ``data`` and then nothing more, with the connection open."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        over.wait(5)

    return act


def then_reset(data: bytes) -> Answer:
    """Send ``data``, leave it time to arrive, and reset the connection."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        over.wait(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return act


def drip(fast: bytes, slow: bytes, seconds: float = 0.02) -> Answer:
    """Send ``fast`` at once and ``slow`` one byte at a time, each well within any timeout per read."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(fast)
        for position in range(len(slow)):
            if over.wait(seconds):
                return
            connection.sendall(slow[position : position + 1])

    return act


def forever(start: bytes, again: bytes) -> Answer:
    """Send ``start``, and then ``again`` as fast as the client reads, until it hangs up."""

    def act(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(again)

    return act


def unused_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port where connecting itself hangs: its queue of connections is full, so that Linux drops the next."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        port: int = listener.getsockname()[1]
        for _ in range(3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port
