"""Programs that tests of the marker ``service`` start as child processes."""

from __future__ import annotations

import os
import random
import shutil
import socket
from typing import NoReturn

import pytest

_reservations: list[socket.socket] = []


def require(binary: str) -> str:
    """The path of an installed program. Without it the test skips, or fails where REQUIRE_SERVICES=1 is set."""
    path = shutil.which(binary)
    if path is None:
        missing(f"{binary} is not installed")
    return path


def missing(what: str) -> NoReturn:
    """Skip the test for want of something, or fail it where REQUIRE_SERVICES=1 is set."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}, and REQUIRE_SERVICES=1 asks for it")
    pytest.skip(what)


def free_port() -> int:
    """A port on which nothing listens, and which no other test process is given while this one lives.

    It is below those that a system hands out by itself, so that no connection takes it before it is used either.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0provider-health-bridge-port-{port}")  # freed by the system when this process ends
            with socket.create_server(("", port)):
                _reservations.append(reservation)
                return port
        except OSError:
            reservation.close()
