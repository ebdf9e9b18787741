"""What tests of the polling process ask of it, and of the gateway that it polls."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from bridge.configuration import configured
from bridge.settings import Settings
from tests.service.harness import Gateway, Service, wait_until


def polling(service: Service, count: int = 1) -> int:
    """The pid of the ``count``-th process that began to poll."""
    events = wait_until(lambda: service.events("polling")[count - 1 :], f"{count} processes have polled")
    pid: int = events[0]["pid"]
    return pid


def gone(pid: int) -> bool:
    """True for a process that has ended, also where nobody has asked how."""
    with suppress(OSError):
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    return True


def gaps(gateway: Gateway, since: float = 0.0) -> list[float]:
    """Seconds between two polls, as the gateway saw them."""
    return [later - earlier for earlier, later in pairwise(gateway.asked_since(since))]


def assert_one_polls(gateway: Gateway, since: float, polls: int = 4) -> None:
    """Once an interval (a second), and not twice, from ``since`` until there were so many polls."""
    wait_until(lambda: len(gateway.asked_since(since)) >= polls, f"{polls} polls")
    assert min(gaps(gateway, since)) > 0.5


def settings_of(gateway: Gateway, folder: Path, **more: str) -> Settings:
    environment = {"GATEWAYZ_API_URL": gateway.url, "POLL_INTERVAL": "1s", "POLL_TIMEOUT": "1s"}
    return configured({**environment, "DATA_DIR": str(folder / "data"), **more})
