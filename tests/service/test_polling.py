"""The process that polls: it comes and goes with its leader, and is replaced when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from bridge.gateway.dialect_file import in_force, select
from bridge.polling.child import OLD_DIALECT, STOP, Orders
from bridge.polling.election import Lead
from bridge.settings import ConfigurationError, Settings
from tests.service.harness import PROJECT, Gateway, Service, wait_until
from tests.service.polling import assert_one_polls, gaps, gone, polling, settings_of

pytestmark = pytest.mark.service


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
    assert min(gaps(gateway)) > 0.5, "the interval is a second"
    assert polled.get("/ready").status == 200


def test_one_whose_leader_is_killed_ends_at_once_even_in_the_middle_of_a_poll(
    polled: Service, gateway: Gateway
) -> None:
    first = polling(polled)
    gateway.answer = "hang"
    asked = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) > asked, "a poll that hangs")
    os.kill(polled.leader(), signal.SIGKILL)
    wait_until(lambda: gone(first), "the leader's child has ended", 5.0)
    assert polling(polled, 2) != first


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_none_is_left_when_the_service_ends(polled: Service, sent: signal.Signals) -> None:
    child = polling(polled)
    began = time.monotonic()
    assert polled.process is not None
    os.killpg(polled.process.pid, sent)  # as Ctrl-C in a terminal does: the whole group
    assert polled.process.wait(30) == 0
    wait_until(lambda: gone(child), "the polling process has ended", 5.0)
    assert time.monotonic() - began < 10.0, "gunicorn did not have to kill anything"
    assert not polled.events("lead_lost"), "it took the end for a failure"


DIALECT = """
name = "mine"
recognised_by = ["health_score"]
[[signals]]
signal = "reported_score"
family = "health_score"
provider = "provider"
unit = "percent"
"""


class TestADialectFileThatBreaksWhileTheServiceRuns:
    @pytest.mark.parametrize("how", ["emptied", "removed"])
    def test_polls_go_on_as_it_was_last_read_and_it_is_said(
        self, service: Callable[..., Service], gateway: Gateway, tmp_path: Path, how: str
    ) -> None:
        file = tmp_path / "mine.toml"
        file.write_text(DIALECT)
        one = service(GATEWAY_DIALECT=str(file))
        first = polling(one)
        if how == "emptied":  # before the second worker has begun, on most machines
            file.write_text("name = ")
        else:
            file.unlink()
        os.kill(first, signal.SIGKILL)
        second = polling(one, 2)
        assert str(file) in one.events("dialect_not_read")[0]["message"]
        os.kill(one.leader(), signal.SIGKILL)  # the next worker reads its environment again
        assert polling(one, 3) != second
        killed = time.time()
        assert_one_polls(gateway, killed)
        wait_until(lambda: len(one.workers()) == 2, "the killed worker is replaced")
        assert not [event for event in one.events("gunicorn") if "exited with code" in event["message"]]
        assert one.values("provider_health_score")["openai"] == [97.0]
        assert OLD_DIALECT in str(one.summary())

    def test_one_that_is_mended_is_read_again_at_a_restart_of_polling(self, gateway: Gateway, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text(DIALECT)
        assert in_force(str(file)).trouble == ""
        file.write_text("name = ")
        before, trouble = in_force(str(file))
        assert "not TOML" in trouble
        assert before[0].name == "mine"
        file.write_text(DIALECT.replace("mine", "yours"))
        after, trouble = in_force(str(file))
        assert (after[0].name, trouble) == ("yours", "")

    def test_a_start_with_a_broken_one_is_refused(self, gateway: Gateway, tmp_path: Path) -> None:
        file = tmp_path / "broken.toml"
        file.write_text("name = ")
        with pytest.raises(ConfigurationError, match="GATEWAY_DIALECT"):
            settings_of(gateway, tmp_path, GATEWAY_DIALECT=str(file))


class TestOneWithoutALeader:
    """The polling process by itself; its settings come as its leader would send them."""

    @pytest.fixture
    def lead(self, tmp_path: Path) -> Lead:
        lead = Lead.take(tmp_path / "leader.lock")
        assert lead is not None
        return lead

    @pytest.fixture
    def child(self, lead: Lead) -> Iterator[subprocess.Popen[bytes]]:
        code = "import bridge.polling.child as it; it.END_SECONDS = 0.5; it.main()"
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

    def told(self, child: subprocess.Popen[bytes], settings: Settings, lead: Lead) -> IO[bytes]:
        """Give it its orders; the pipe stays open."""
        assert child.stdin is not None
        child.stdin.write(Orders(settings, lead, 1, select("auto")).sent())
        child.stdin.flush()
        return child.stdin

    def test_one_that_was_told_to_stop_in_the_middle_of_a_poll_ends_though_nobody_is_left_to_kill_it(
        self, child: subprocess.Popen[bytes], gateway: Gateway, tmp_path: Path, lead: Lead
    ) -> None:
        gateway.answer = "hang"
        stdin = self.told(child, settings_of(gateway, tmp_path, POLL_INTERVAL="30s", POLL_TIMEOUT="30s"), lead)
        wait_until(lambda: gateway.asked_at, "a poll hangs")
        stdin.write(STOP)
        stdin.close()
        assert child.wait(3) == 1
        assert Lead.take(tmp_path / "leader.lock") is not None

    def test_one_that_is_told_to_stop_together_with_its_orders_hears_both(
        self, child: subprocess.Popen[bytes], gateway: Gateway, tmp_path: Path, lead: Lead
    ) -> None:
        assert child.stdin is not None
        child.stdin.write(Orders(settings_of(gateway, tmp_path), lead, 1, select("auto")).sent() + STOP)
        child.stdin.flush()
        assert child.wait(10) == 0

    def test_one_that_ends_by_an_exception_says_which_and_does_not_abort(
        self, child: subprocess.Popen[bytes], gateway: Gateway, tmp_path: Path, lead: Lead
    ) -> None:
        stdin = self.told(child, settings_of(gateway, tmp_path), replace(lead, descriptor=999))
        assert child.wait(10) == 1
        assert child.stdout is not None
        assert child.stderr is not None
        said = (child.stdout.read() + child.stderr.read()).decode()
        assert "Bad file descriptor" in said
        assert "Fatal Python error" not in said
        stdin.close()
