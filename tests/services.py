"""Programs that tests of the marker ``service`` start as child processes."""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def require(binary: str) -> str:
    """The path of an installed program. Without it the test skips, or fails where REQUIRE_SERVICES=1 is set."""
    path = shutil.which(binary)
    if path is None:
        missing = f"{binary} is not installed"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(f"{missing}, and REQUIRE_SERVICES=1 asks for it")
        pytest.skip(missing)
    return path


def free_port() -> int:
    """A port on the loopback interface that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
