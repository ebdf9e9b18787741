"""Time, size and TLS: the limits of a fetch, each held against a real socket that breaks it on purpose."""

from __future__ import annotations

import gc
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.gateway.client import GatewayClient
from bridge.gateway.errors import (
    ExpositionTooLarge,
    GatewayUnreachable,
)
from tests.gateway.fetching import (
    CHUNKED,
    EXPOSITION,
    GOOD,
    TIMEOUT,
    TOKEN,
    assert_in_time,
    failure,
    failure_of,
    fetch,
)
from tests.gateway.hostile import (
    THREAD_PREFIX,
    Answer,
    answer,
    chunk,
    drip,
    forever,
    gateway,
    gzip_bomb,
    gzipped,
    head,
    redirect,
    silent_port,
    then_close,
    then_hang,
)

# Time


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(drip(head(200, "Content-Length: 1000"), b"x" * 1000), id="body"),
        pytest.param(drip(head(200), b"x" * 1000), id="close-delimited-body"),
        pytest.param(drip(head(200, CHUNKED), b"1\r\nx\r\n" * 200), id="chunks"),
        pytest.param(drip(b"", b"HTTP/1.1 200 OK\r\n" + b"X-Header: y\r\n" * 50), id="headers"),
        pytest.param(drip(head(200, CHUNKED, "Content-Encoding: gzip"), chunk(gzipped(EXPOSITION * 9))), id="gzip"),
        pytest.param(forever(b"", head(100)), id="endless-100-continue"),
        pytest.param(then_hang(b""), id="nothing"),
        pytest.param(then_hang(head(200, "Content-Length: 1000") + EXPOSITION), id="half-a-body"),
    ],
)
def test_the_timeout_is_over_the_whole_fetch(sent: Answer) -> None:
    with gateway(sent) as server:
        started = time.monotonic()
        # Room enough that none of these ends for its size.
        error = failure(server.url, timeout_seconds=TIMEOUT, max_bytes=10**12)
        assert_in_time(started)
    assert isinstance(error, GatewayUnreachable)
    assert error.code == "timeout"
    assert "0.3 s" in str(error)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(then_hang(b""), id="stalled"),
        pytest.param(drip(b"", b"\x16\x03\x03\x40\x00\x02" + b"\x00" * 500), id="dripping"),
    ],
)
def test_the_timeout_covers_the_tls_handshake(sent: Answer) -> None:
    with gateway(sent, speaks_first=True) as server:
        started = time.monotonic()
        error = failure(server.url.replace("http", "https"), timeout_seconds=TIMEOUT)
        assert_in_time(started)
    assert error.code == "timeout"


def test_the_timeout_covers_connecting() -> None:
    with silent_port() as port:
        started = time.monotonic()
        error = failure(f"http://127.0.0.1:{port}/metrics", timeout_seconds=TIMEOUT)
        assert_in_time(started)
    assert error.code == "timeout"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_port() as port, gateway(GOOD) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", at)) for at in (port, server.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert fetch("http://gateway.internal/metrics", timeout_seconds=TIMEOUT).body == EXPOSITION


def test_time_that_name_resolution_took_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(TIMEOUT)
        return real(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with gateway(GOOD) as server:
        assert failure(server.url, timeout_seconds=TIMEOUT).code == "timeout"
    assert server.requests == []


def test_cookies_are_not_taken_apart_which_would_take_seconds() -> None:
    cookie = "Set-Cookie: a=b" + "; a" * 20_000
    with gateway(head(200, f"Content-Length: {len(EXPOSITION)}", *[cookie] * 90) + EXPOSITION) as server:
        started = time.monotonic()
        assert fetch(server.url, max_bytes=10_000_000).body == EXPOSITION
        assert time.monotonic() - started < 1.0


def test_redirects_share_one_timeout() -> None:
    def late(connection: socket.socket, over: threading.Event) -> None:
        over.wait(TIMEOUT * 0.6)
        connection.sendall(redirect("/metrics/"))

    with gateway(late) as server:
        started = time.monotonic()
        assert failure(server.url, timeout_seconds=TIMEOUT).code == "timeout"
        assert_in_time(started)
    assert len(server.requests) == 2


def test_the_retry_shares_the_timeout_of_the_first_attempt() -> None:
    with gateway(answer(503, b""), then_hang(b"")) as server:
        started = time.monotonic()
        assert failure(server.url, timeout_seconds=TIMEOUT).code == "timeout"
        assert_in_time(started)
    assert len(server.requests) == 2


def test_a_timeout_is_not_retried() -> None:
    _, server = failure_of(then_hang(b""), GOOD, timeout_seconds=TIMEOUT)
    assert len(server.requests) == 1


def test_a_dripping_gateway_leaves_no_thread_and_no_file_behind() -> None:
    def ours() -> tuple[int, int]:
        gc.collect()
        threads = [thread for thread in threading.enumerate() if not thread.name.startswith(THREAD_PREFIX)]
        return len(threads), len(list(Path("/dev/fd").iterdir()))

    def drip_once() -> None:
        failure_of(drip(head(200, "Content-Length: 1000"), b"x" * 1000), timeout_seconds=0.15)

    drip_once()
    before, active = ours(), threading.active_count()
    for _ in range(3):
        drip_once()
    assert ours() == before
    assert threading.active_count() == active


# Size


@pytest.fixture
def peak() -> Iterator[Any]:
    """Peak memory in bytes since the fixture began."""
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()


BOMB = gzip_bomb(300)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(then_close(head(200, "Content-Encoding: gzip") + BOMB), id="gzip-bomb"),
        pytest.param(forever(head(200), b"x" * 65536), id="endless-body"),
        pytest.param(forever(head(200, CHUNKED), chunk(b"x" * 65536)), id="endless-chunks"),
        pytest.param(forever(head(200, CHUNKED) + b"-1\r\n", b"x" * 65536), id="chunk-of-negative-length"),
        pytest.param(forever(head(200, CHUNKED) + b"7fffffffffffffff\r\n", b"x" * 65536), id="chunk-without-end"),
        pytest.param(forever(head(200, CHUNKED) + b"0\r\n", b"X-Trailer: y\r\n" * 999), id="endless-trailers"),
    ],
)
def test_an_endless_or_exploding_body_is_refused_quickly_in_little_memory(sent: Answer, peak: Any) -> None:
    error, _ = failure_of(sent, max_bytes=500_000, timeout_seconds=30)
    assert error.code == "too_large", "and not that it took too long"
    assert peak() < 12_000_000


def test_a_compressed_body_counts_as_what_it_becomes() -> None:
    body = b"up 1\n" * 1000
    sent = answer(200, gzipped(body), "Content-Encoding: gzip")
    with gateway(sent) as server:
        assert fetch(server.url, max_bytes=len(body)).body == body
        error = failure(server.url, max_bytes=len(body) - 1)
    assert isinstance(error, ExpositionTooLarge)
    assert error.code == "too_large"
    assert "MAX_EXPOSITION_BYTES" in str(error)


def test_a_length_announced_as_too_large_is_refused_without_reading_and_without_a_retry() -> None:
    error, server = failure_of(then_hang(head(200, "Content-Length: 1000001")))
    assert error.code == "too_large"
    assert len(server.requests) == 1


def test_the_body_of_a_redirect_is_not_read() -> None:
    bomb = then_hang(head(307, "Location: /metrics/", "Content-Encoding: gzip") + BOMB)
    with gateway(bomb, GOOD) as server:
        assert fetch(server.url).seconds < 1


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only itself vouches for, and its key, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make a certificate")
    made = tmp_path_factory.mktemp("tls") / "gateway.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=gateway"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(made), "-out", str(made.with_suffix(".crt"))]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    made.write_text(made.read_text() + made.with_suffix(".crt").read_text())
    return made


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The gateway's side of TLS, with its certificate trusted for the length of a test."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))
    return serving(certificate)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with gateway(GOOD, tls=serving(certificate)) as server:
        error = failure(server.url, token=TOKEN)
    assert isinstance(error, GatewayUnreachable)
    assert error.code == "tls"
    assert "certificate" in str(error)
    assert server.requests == []


def test_https_where_the_gateway_speaks_http_is_a_tls_failure() -> None:
    with gateway(then_close(b"HTTP/1.1 400 Bad Request\r\n\r\n"), speaks_first=True) as server:
        assert failure(server.url.replace("http", "https")).code == "tls"


def test_over_tls_a_good_connection_serves_the_next_poll(trusted: ssl.SSLContext) -> None:
    with gateway(GOOD, tls=trusted) as server:
        client = GatewayClient(server.url, token=None, timeout_seconds=3, max_bytes=1000)
        assert [client.fetch().body for _ in range(3)] == [EXPOSITION] * 3
        client.close()
    assert server.connections == 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(drip(head(200, "Content-Length: 1000"), b"x" * 1000), id="body"),
        pytest.param(drip(b"", b"HTTP/1.1 200 OK\r\n" + b"X-Header: y\r\n" * 50), id="headers"),
        pytest.param(then_hang(b""), id="nothing"),
    ],
)
def test_over_tls_the_timeout_is_over_the_whole_fetch_too(sent: Answer, trusted: ssl.SSLContext) -> None:
    with gateway(sent, tls=trusted) as server:
        started = time.monotonic()
        assert failure(server.url, timeout_seconds=TIMEOUT).code == "timeout"
        assert_in_time(started)
