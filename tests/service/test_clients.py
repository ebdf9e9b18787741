"""Clients of the deployed service: slow ones, both IP families, and curl as people write it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.service.harness import Service, wait_until

pytestmark = pytest.mark.service

BOUNDED_SECONDS = 12.0


@pytest.fixture
def started(service: Callable[..., Service]) -> Service:
    """A service of one worker, with one poll behind it."""
    running = service(WEB_CONCURRENCY="1")
    wait_until(lambda: running.get("/ready").status == 200, "there is a first poll")
    return running


def exchange(port: int, request: bytes, family: socket.AddressFamily = socket.AF_INET) -> bytes:
    """What comes back for raw bytes until the other side hangs up."""
    with socket.socket(family) as connection:
        connection.settimeout(10)
        connection.connect(("::1" if family is socket.AF_INET6 else "127.0.0.1", port))
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


HALF_A_HEAD = b"POST /query HTTP/1.1\r\nHost: bridge\r\nContent-"
HALF_A_BODY = b'POST /query HTTP/1.1\r\nHost: bridge\r\nContent-Length: 1000\r\n\r\n{"targets":'


@pytest.mark.parametrize(
    "halves", [(HALF_A_HEAD, HALF_A_BODY), (b"", b"")], ids=["half a head or half a body", "not a word"]
)
def test_clients_that_stop_half_way_do_not_keep_others_from_an_answer(
    started: Service, halves: tuple[bytes, bytes]
) -> None:
    with ExitStack() as open_connections:
        for number in range(48):  # twice as many as there are threads
            connection = open_connections.enter_context(socket.create_connection(("127.0.0.1", started.port)))
            connection.sendall(halves[number % 2])
        time.sleep(0.5)
        began = time.monotonic()
        assert started.get("/health").status == 200
        assert time.monotonic() - began < BOUNDED_SECONDS


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_on_ipv6_and_ipv4(started: Service) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    for family in (socket.AF_INET, socket.AF_INET6):
        assert exchange(started.port, request, family).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/query", "/api/query"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_bare_curl_works_as_written(started: Service, path: str, content_type: str) -> None:
    body = b'{"targets":[{"target":"provider_health_score"}],"range":{"from":"now-5m","to":"now"}}'
    reply = started.ask("POST", path, body, {"Content-Type": content_type})
    assert reply.status == 200
    assert {series["tags"]["provider"] for series in reply.json} == {"openai", "openrouter"}
    assert all(series["datapoints"] for series in reply.json)


def test_a_body_over_a_mebibyte_is_refused_with_an_answer_the_client_gets_to_read(started: Service) -> None:
    reply = started.ask("POST", "/query", b'{"targets": ["' + b"x" * 3 * 2**20 + b'"]}')
    assert reply.status == 413
    assert "1 MiB" in reply.json["message"]


def chunked(body: bytes) -> bytes:
    """A query whose body comes in chunks, without a length."""
    head = b"POST /query HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def test_a_body_in_chunks_is_read_like_any_other(started: Service) -> None:
    answer = exchange(started.port, chunked(b'{"targets":[{"target":"gateway_up"}]}'))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"target":"gateway_up"' in answer


def assert_is_an_error(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nContent-Type: application/json" in head
    said = json.loads(body)
    assert set(said) == {"message", "hint", "error"}
    assert said["hint"]
    assert said["message"].endswith(said["hint"])
    assert said["message"].isprintable()


BROKEN_CHUNKS = (b"zz\r\n{}", b"2\r\n{}}}}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n")


def test_a_body_of_broken_chunks_is_the_clients_mistake(started: Service) -> None:
    head = b"POST /query HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    for sent in BROKEN_CHUNKS:
        assert_is_an_error(exchange(started.port, head + sent), 400)


NO_REQUESTS = (
    (b"GET /query?target=" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: b\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: b\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n", 431),
    (b"<script>\x1b[31m\xff\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"POST /query HTTP/1.1\r\nHost: b\r\nContent-Length: -1\r\n\r\n", 400),
)


def test_what_never_becomes_a_request_is_refused_in_the_same_words(started: Service) -> None:
    for sent, status in NO_REQUESTS:
        assert_is_an_error(exchange(started.port, sent), status)


def test_a_body_in_chunks_over_a_mebibyte_is_refused_and_not_cut_short(started: Service) -> None:
    body = b'{"targets":[{"target":"gateway_up"}]}' + b" " * 2**21 + b"and this is no JSON"
    assert exchange(started.port, chunked(body)).startswith(b"HTTP/1.1 413")


def test_a_request_that_is_not_http_does_not_hurt(started: Service) -> None:
    exchange(started.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n")
    assert started.get("/health").status == 200
