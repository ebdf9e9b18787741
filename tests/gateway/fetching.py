"""Fetches from a gateway that may be hostile, and what to expect of one."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from bridge.gateway.client import Fetched, GatewayClient
from bridge.gateway.errors import (
    GatewayError,
)
from tests.gateway.hostile import (
    Answer,
    Gateway,
    answer,
    gateway,
)

EXPOSITION = b'up{provider="openai"} 1\n' * 3
GOOD = answer(200, EXPOSITION, "Content-Type: text/plain; version=0.0.4")
TOKEN = "s3cr3t-t0k3n"
TIMEOUT = 0.3
SLACK = 0.35
CHUNKED = "Transfer-Encoding: chunked"


def fetch(url: str, *, token: str | None = None, timeout_seconds: float = 3.0, max_bytes: int = 1_000_000) -> Fetched:
    with contextlib.closing(
        GatewayClient(url, token=token, timeout_seconds=timeout_seconds, max_bytes=max_bytes)
    ) as client:
        return client.fetch()


def failure(url: str, **options: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        fetch(url, **options)
    return caught.value


def failure_of(*answers: Answer, **options: Any) -> tuple[GatewayError, Gateway]:
    with gateway(*answers) as server:
        return failure(server.url, **options), server


def assert_in_time(started: float) -> None:
    assert time.monotonic() - started < TIMEOUT + SLACK
