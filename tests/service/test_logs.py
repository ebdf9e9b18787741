"""The deployed service's log: every line on its standard output is JSON, and it never stands in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.service.harness import GUNICORN, PROJECT, Gateway, Service, wait_until

pytestmark = pytest.mark.service

KEYS = [
    *("timestamp", "level", "service", "event", "message"),
    *("request_id", "trace_id", "endpoint", "method", "status_code", "duration_ms"),
]


def lines(text: str) -> list[dict[str, Any]]:
    """Every line, which must be JSON with the keys every line has, in plain ASCII."""
    assert text.isascii()
    found = [json.loads(line) for line in text.splitlines()]
    assert all(list(line)[: len(KEYS)] == KEYS for line in found)
    assert {line["service"] for line in found} <= {"provider-health-bridge"}
    return found


def exchange(port: int, request: bytes) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.settimeout(10)
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_from_start_to_end_every_line_is_json_and_nothing_else_is_said(
    service: Callable[..., Service], gateway: Gateway
) -> None:
    started = service()
    wait_until(lambda: started.get("/ready").status == 200, "there is a first poll")
    assert started.get("/", **{"X-Request-ID": "mine"}).headers["X-Request-ID"] == "mine"
    assert started.get("/nowhere/%0a%1b%5b31m?token=s3cret").headers["X-Request-ID"]
    assert started.query("provider_health_score")
    for head in (
        b"GET /?s3cret HTTP/9.9",
        b"\x1b[31m\xe2\x80\xae /s3cret s3cret",
        b"GET /?s3cret HTTP/1.1\r\nX-Id : s3cret",
    ):
        assert exchange(started.port, head + b"\r\n\r\n").startswith(b"HTTP/1.1 400")
    wait_until(lambda: len(started.events("request")) == 3, "they are told of; kill -9 would lose what is gathered")
    leader = started.leader()
    os.kill(leader, signal.SIGKILL)
    wait_until(lambda: len(started.events("leading")) == 2, "another worker leads")
    assert started.process is not None
    started.process.terminate()
    assert started.process.wait(15) == 0

    assert started.error_file.read_text() == ""
    text = started.log_file.read_text()
    assert "s3cret" not in text
    told = lines(text)
    by_event = {name: [line for line in told if line["event"] == name] for name in {line["event"] for line in told}}
    assert by_event.keys() == {"gunicorn", "leading", "polling", "dialects", "poll", "request"}
    said = [(line["level"], line["message"]) for line in by_event["gunicorn"]]
    assert any(level == "error" and str(leader) in message and "SIGKILL" in message for level, message in said)
    for message in ("Starting gunicorn", "Listening at: ", "Booting worker", "Worker exiting", "Shutting down"):
        assert any(level == "info" and one.startswith(message) for level, one in said), message
    assert sum(level == "warning" and "Invalid request from ip=" in message for level, message in said) == 3
    assert all(line["duration_ms"] > 0 and line["outcome"] == "ok" for line in by_event["poll"])
    requests = [(line["endpoint"], line["method"], line["status_code"]) for line in by_event["request"]]
    assert sorted(requests) == [("/", "GET", 200), ("/query", "POST", 200), ("none", "GET", 404)]
    assert "mine" in {line["request_id"] for line in by_event["request"]}


def test_a_client_that_hangs_up_leaves_no_traceback(service: Callable[..., Service]) -> None:
    started = service(WEB_CONCURRENCY="1", LOG_LEVEL="DEBUG")
    wait_until(lambda: started.get("/ready").status == 200, "there is a first poll")
    body = json.dumps({"targets": [{"target": "provider_health_score"}] * 90}).encode()
    head = b"POST /query HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % len(body)
    for seconds in (0.0, 0.01, 0.05):  # before it is read, while it is answered, and after
        for sent in (head + body, head + body[:9], head, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n" * 50):
            connection = socket.create_connection(("127.0.0.1", started.port))
            reset = struct.pack("ii", 1, 0)  # and not a goodbye
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            connection.sendall(sent)
            time.sleep(seconds)
            connection.close()
    for number in range(20):  # more than there are threads: those of before are through
        assert started.get("/health", **{"X-Request-ID": f"after-{number}"}).status == 200
    wait_until(lambda: "after-19" in {line["request_id"] for line in started.events("request")}, "it says so")
    text = started.log_file.read_text()
    assert "Traceback" not in text + started.error_file.read_text()
    assert not [line for line in lines(text) if line["level"] in ("error", "critical")]


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe that nobody reads, almost full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.write(writer, b"x" * 60_000)
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("stdout", ["closed", "full disk", "pipe nobody reads", "pipe without a reader"])
def test_without_anywhere_to_write_requests_are_answered_all_the_same(
    tmp_path: Path, gateway: Gateway, unread: int, stdout: str
) -> None:
    service = Service(tmp_path, {"GATEWAYZ_API_URL": gateway.url, "WEB_CONCURRENCY": "1"})
    command, target = GUNICORN, unread
    if stdout == "closed":
        command = ("sh", "-c", 'exec "$@" >&-', "sh", *GUNICORN)
    elif stdout == "full disk":
        target = os.open("/dev/full", os.O_WRONLY)
    elif stdout == "pipe without a reader":
        reader, target = os.pipe()
        os.close(reader)
    with service.error_file.open("wb") as errors:
        service.process = subprocess.Popen(
            command, cwd=PROJECT, env=service._environment, stdout=target, stderr=errors, start_new_session=True
        )
    try:
        assert wait_until(lambda: answers(service, "/ready"), "it is ready")
        assert [service.get("/nowhere").status for _ in range(300)] == [404] * 300
        assert service.values("provider_health_score").keys() == {"openai", "openrouter"}
        assert len(service.workers()) == 1
        service.process.terminate()
        assert service.process.wait(15) == 0
    finally:
        service.kill()
        if target != unread:
            os.close(target)
    assert "Traceback" not in service.error_file.read_text()


def answers(service: Service, path: str) -> bool:
    try:
        return service.get(path).status == 200
    except OSError:
        return False


SPEAKERS = """
import logging, threading, warnings
from bridge import logs
logs.capture("INFO")
warnings.warn("a warning\\nof two lines")
logging.getLogger("library").error("it says %s", "this")
logging.getLogger("library").info("GET /path?token=s3cret")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
raise ValueError("nobody\\ncaught \\x1b[31m this")
"""


def test_warnings_libraries_and_uncaught_exceptions_are_lines_too() -> None:
    run = subprocess.run([sys.executable, "-c", SPEAKERS], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (1, "")
    warning, library, thread, end = lines(run.stdout)
    assert (warning["level"], warning["event"]) == ("warning", "warning")
    assert "UserWarning: a warning\nof two lines" in warning["message"]
    assert (library["level"], library["event"], library["message"]) == ("error", "library", "it says this")
    assert "ZeroDivisionError" in thread["exception"]
    assert (end["level"], end["message"]) == ("error", "ValueError that nobody caught")
    assert end["exception"].endswith("ValueError: nobody\ncaught \x1b[31m this\n")
