"""HTTP as clients speak it to the deployed service: versions, bodies, connections, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException

import pytest

from tests.service.harness import Gateway, Service, ask, fleet_exposition, running, wait_until
from tests.service.test_clients import exchange

pytestmark = pytest.mark.service

CLOSE = b"Connection: close\r\n"
QUESTION = b'{"targets":[{"target":"gateway_up"}]}'
CLIENTS = 8
"""How many ask without a pause while the service is told to end."""


@pytest.fixture(scope="module")
def its_gateway() -> Iterator[Gateway]:
    with running(fleet_exposition()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def started(its_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one poll behind it, for all tests that do not end it."""
    service = Service(tmp_path_factory.mktemp("http"), {"GATEWAYZ_API_URL": its_gateway.url})
    try:
        service.start()
        wait_until(lambda: service.get("/ready").status == 200, "there is a first poll")
        yield service
    finally:
        service.kill()


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    length = [b"Content-Length: %d" % len(body)] if body else []
    return b"\r\n".join([line, b"Host: bridge", *fields, *length, b"", body])


def test_an_answer_to_http_1_0_ends_with_the_connection(started: Service) -> None:
    answer = exchange(started.port, b"GET /health HTTP/1.0\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 200 ", answer)
    assert b"chunked" not in answer.lower()


def test_a_connection_of_http_1_0_is_kept_where_asked(started: Service) -> None:
    first = b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert exchange(started.port, first + b"GET /health HTTP/1.0\r\n\r\n").count(b" 200 OK\r\n") == 2


def test_requests_that_are_sent_at_once_are_answered_in_order(started: Service) -> None:
    sent = [
        request(b"GET /health HTTP/1.1"),
        request(b"POST /query HTTP/1.1", body=QUESTION),
        request(b"GET /nowhere HTTP/1.1", b"Accept: application/json"),
        request(b"GET /health HTTP/1.1", CLOSE.strip()),
    ]
    answer = exchange(started.port, b"".join(sent))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"404", b"200"]
    assert answer.count(b'"target":"gateway_up"') == 1


def test_head_answers_with_the_length_and_without_a_body(started: Service) -> None:
    for path in (b"/health", b"/metrics", b"/providers"):
        answer = exchange(started.port, request(b"HEAD %s HTTP/1.1" % path, CLOSE.strip()))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert int(re.search(rb"(?i)content-length: (\d+)", head)[1]) > 0  # type: ignore[index]
        assert body == b""


def test_a_client_that_waits_for_100_continue_gets_it(started: Service) -> None:
    with socket.create_connection(("127.0.0.1", started.port), timeout=10) as client:
        whole = request(b"POST /query HTTP/1.1", b"Expect: 100-continue", CLOSE.strip(), body=QUESTION)
        client.sendall(whole.removesuffix(QUESTION))
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(QUESTION)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_client_that_says_it_has_said_all_gets_its_answers(started: Service) -> None:
    with socket.create_connection(("127.0.0.1", started.port), timeout=10) as client:
        client.sendall(2 * request(b"POST /query HTTP/1.1", body=QUESTION))
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    assert answer.count(b"HTTP/1.1 200 ") == 2


def test_a_body_that_comes_in_pieces_is_put_together(started: Service) -> None:
    with socket.create_connection(("127.0.0.1", started.port), timeout=10) as client:
        for piece in (b"POST /que", b"ry HTTP/1.1\r\nHost: b\r\nTransfer-Enc", b"oding: chunked\r\n", CLOSE + b"\r\n1"):
            client.sendall(piece)
            time.sleep(0.05)
        for piece in (
            b"0\r\n",
            QUESTION[:16],
            b"\r\n%x\r\n" % len(QUESTION[16:]),
            QUESTION[16:],
            b"\r\n0\r\n",
            b"\r\n",
        ):
            client.sendall(piece)
            time.sleep(0.05)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://bridge/health HTTP/1.1", 200),
        (b"GET /he%61lth HTTP/1.1", 200),
        (b"GET /providers/open%61i?format=json HTTP/1.1", 200),
        (b"GET /providers/%C3%A4%FF HTTP/1.1", 404),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"GET //health HTTP/1.1", 200),
    ],
)
def test_a_path_is_read_in_every_form_it_comes_in(started: Service, line: bytes, status: int) -> None:
    assert exchange(started.port, request(line, CLOSE.strip())).startswith(b"HTTP/1.1 %d " % status)


def test_a_connection_is_kept_for_the_next_request(started: Service) -> None:
    connection = HTTPConnection("127.0.0.1", started.port, timeout=10)
    ports = set()
    for _ in range(3):
        assert ask(connection, "GET", "/health").status == 200
        ports.add(connection.sock.getsockname())
    connection.close()
    assert len(ports) == 1


def test_a_service_that_is_told_to_end_answers_what_it_has_accepted(service: Callable[..., Service]) -> None:
    """A client is answered in full, or finds that nobody listens; never is its connection cut."""
    started = service()
    assert started.process is not None
    cut: list[str] = []
    answered = [0] * CLIENTS
    refused = threading.Event()

    def run(number: int) -> None:
        while not refused.is_set():
            connection = HTTPConnection("127.0.0.1", started.port, timeout=30)
            try:
                connection.connect()
            except ConnectionRefusedError:
                refused.set()
                return
            try:
                assert ask(connection, "GET", "/providers").status == 200
                answered[number] += 1
            except (OSError, HTTPException) as error:
                cut.append(repr(error))
            finally:
                connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(answered) > 3, "everybody was answered some times")
    os.kill(started.process.pid, signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert cut == []
    assert started.process.wait(20) == 0


def test_a_kept_connection_is_answered_once_more_while_the_service_ends(service: Callable[..., Service]) -> None:
    started = service()
    assert started.process is not None
    connection = HTTPConnection("127.0.0.1", started.port, timeout=10)
    assert ask(connection, "GET", "/health").status == 200
    os.kill(started.process.pid, signal.SIGTERM)
    wait_until(lambda: not listens(started.port), "nobody listens any more", every=0.01)
    reply = ask(connection, "GET", "/health")
    assert reply.status == 200
    assert reply.headers["Connection"] == "close"
    connection.close()
    assert started.process.wait(20) == 0


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
