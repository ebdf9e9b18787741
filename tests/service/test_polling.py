"""The process that polls: it comes and goes with its leader, and is replaced when it dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, wait_until

pytestmark = pytest.mark.service


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


@pytest.fixture
def polled(service: Callable[..., Service], gateway: Gateway) -> Service:
    """A service that has polled."""
    one = service()
    wait_until(lambda: gateway.asked_at, "the first poll")
    return one


def test_no_worker_polls_itself(polled: Service) -> None:
    assert polling(polled) not in [*polled.workers(), polled.process.pid if polled.process else 0]


def test_one_that_dies_is_replaced_and_the_gateway_is_not_asked_twice_in_an_interval(
    polled: Service, gateway: Gateway
) -> None:
    first = polling(polled)
    before = len(gateway.asked_at)
    os.kill(first, signal.SIGKILL)
    second = polling(polled, 2)
    wait_until(lambda: len(gateway.asked_at) >= before + 2, "polls go on")
    assert second != first
    assert gone(first)
    gaps = [later - earlier for earlier, later in zip(gateway.asked_at, gateway.asked_at[1:], strict=False)]
    assert min(gaps) > 0.5, "the interval is a second"
    assert polled.get("/ready").status == 200


def test_one_whose_leader_is_killed_ends_at_once_even_in_the_middle_of_a_poll(
    polled: Service, gateway: Gateway
) -> None:
    first = polling(polled)
    gateway.answer = "hang"
    asked = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) > asked, "a poll that hangs")
    os.kill(polled.leader(), signal.SIGKILL)
    wait_until(lambda: gone(first), "the leader's child has ended", 1.0)
    assert polling(polled, 2) != first


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_none_is_left_when_the_service_ends(polled: Service, sent: signal.Signals) -> None:
    child = polling(polled)
    began = time.monotonic()
    assert polled.process is not None
    os.killpg(polled.process.pid, sent)  # as Ctrl-C in a terminal does: the whole group
    assert polled.process.wait(10) == 0
    wait_until(lambda: gone(child), "the polling process has ended", 1.0)
    assert time.monotonic() - began < 8.0
