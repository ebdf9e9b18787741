"""The process that polls: it comes and goes with its leader, and is replaced when it dies."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge import configured
from bridge.polling.child import STOP
from bridge.polling.election import Lead
from tests.service.harness import PROJECT, Gateway, Service, wait_until

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
    assert not polled.events("lead_lost"), "it took the end for a failure"


class TestOneWithoutALeader:
    """The polling process by itself; its settings come as its leader would send them."""

    @pytest.fixture
    def child(self, gateway: Gateway, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
        lead = Lead.take(tmp_path / "leader.lock")
        assert lead is not None
        code = f"import bridge.polling.child as it; it.END_SECONDS = 0.5; it.main({lead.descriptor})"
        with subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(lead.descriptor,),
        ) as child:
            lead.give_up()
            yield child
            child.kill()

    def test_one_that_was_told_nothing_ends_without_a_word(self, child: subprocess.Popen[bytes]) -> None:
        assert child.communicate(timeout=10) == (b"", b"")

    def test_one_that_was_told_to_stop_in_the_middle_of_a_poll_ends_though_nobody_is_left_to_kill_it(
        self, child: subprocess.Popen[bytes], gateway: Gateway, tmp_path: Path
    ) -> None:
        gateway.answer = "hang"
        environment = {"GATEWAYZ_API_URL": gateway.url, "POLL_INTERVAL": "30s", "POLL_TIMEOUT": "30s"}
        assert child.stdin is not None
        child.stdin.write(pickle.dumps(configured({**environment, "DATA_DIR": str(tmp_path / "data")})))
        child.stdin.flush()
        wait_until(lambda: gateway.asked_at, "a poll hangs")
        child.stdin.write(STOP)
        child.stdin.close()
        assert child.wait(3) == 1
        assert Lead.take(tmp_path / "leader.lock") is not None
