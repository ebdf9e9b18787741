"""The process that polls: it comes and goes with its leader, and is replaced when it dies."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import pytest

from bridge.configuration import configured
from bridge.gateway.dialect_file import in_force, select
from bridge.polling import child as child_module
from bridge.polling.child import OLD_DIALECT, STOP, Orders, PollingError, poll_in_child
from bridge.polling.election import Lead
from bridge.settings import ConfigurationError, Settings
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


def gaps(gateway: Gateway, since: float = 0.0) -> list[float]:
    """Seconds between two polls, as the gateway saw them."""
    return [later - earlier for earlier, later in pairwise(gateway.asked_since(since))]


def assert_one_polls(gateway: Gateway, since: float, polls: int = 4) -> None:
    """Once an interval (a second), and not twice, from ``since`` until there were so many polls."""
    wait_until(lambda: len(gateway.asked_since(since)) >= polls, f"{polls} polls")
    assert min(gaps(gateway, since)) > 0.5


class TestWhoeverIsStoppedOrTakenAway:
    """One polls: not two, not none, and none that belongs to nobody."""

    @pytest.mark.parametrize("how", ["removed", "replaced"])
    def test_a_leader_whose_lock_is_gone_gives_up_before_another_begins(
        self, polled: Service, gateway: Gateway, tmp_path: Path, how: str
    ) -> None:
        first, lock = polling(polled), tmp_path / "data" / "leader.lock"
        if how == "replaced":
            other = tmp_path / "other"
            other.write_bytes(lock.read_bytes())
            other.replace(lock)
        else:
            lock.unlink()
        wait_until(lambda: gone(first), "the one without a lock has ended", 2.0)
        assert polling(polled, 2) != first
        assert_one_polls(gateway, time.time())
        assert "leader.lock" in polled.events("lead_lost")[0]["message"]

    def test_with_the_whole_folder_gone_polls_go_on_in_a_new_one(
        self, polled: Service, gateway: Gateway, tmp_path: Path
    ) -> None:
        shutil.rmtree(tmp_path / "data")
        wait_until(lambda: (tmp_path / "data" / "leader.lock").exists(), "a new folder")
        wait_until(lambda: polled.get("/ready").status == 200, "a poll in the new folder")
        time.sleep(2.0)
        assert_one_polls(gateway, time.time())

    def test_of_two_services_on_one_folder_one_polls(self, polled: Service, gateway: Gateway, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = Service(tmp_path / "other", {"GATEWAYZ_API_URL": gateway.url, "DATA_DIR": str(tmp_path / "data")})
        try:
            other.start()
            assert_one_polls(gateway, time.time())
            polled.kill()
            killed = time.time()
            assert_one_polls(gateway, killed)
        finally:
            other.kill()

    def test_a_stopped_leader_costs_no_poll_and_is_replaced(
        self, service: Callable[..., Service], gateway: Gateway
    ) -> None:
        one = service(GUNICORN_CMD_ARGS="--timeout 4")
        wait_until(lambda: gateway.asked_at, "the first poll")
        leader, first, stopped = one.leader(), polling(one), time.time()
        os.kill(leader, signal.SIGSTOP)
        wait_until(lambda: gone(leader) and gone(first), "gunicorn has ended it, and its child with it")
        assert polling(one, 2) != first
        assert_one_polls(gateway, stopped, 8)
        assert max(gaps(gateway, stopped)) < 4.0

    def test_a_stopped_one_is_not_left_over_when_its_leader_is_killed(self, polled: Service, gateway: Gateway) -> None:
        first = polling(polled)
        os.kill(first, signal.SIGSTOP)
        os.kill(polled.leader(), signal.SIGKILL)
        killed = time.time()
        wait_until(lambda: gone(first), "the stopped one has ended", 1.0)
        assert_one_polls(gateway, killed)

    def test_none_is_left_when_gunicorn_itself_is_killed(self, polled: Service, gateway: Gateway) -> None:
        assert polled.process is not None
        family = [polling(polled), *polled.workers()]
        polled.process.kill()
        wait_until(lambda: all(gone(pid) for pid in family), "all have ended")
        asked = len(gateway.asked_at)
        time.sleep(1.5)
        assert len(gateway.asked_at) == asked

    @pytest.mark.parametrize("stops", ["before its first poll", "later"])
    def test_one_that_does_not_poll_any_more_is_ended(
        self, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: str
    ) -> None:
        patience = {"START_SECONDS": 1.0, "STUCK_SECONDS": 60.0}
        if stops == "later":
            patience = {"START_SECONDS": 60.0, "STUCK_SECONDS": 0.5}
        for name, seconds in patience.items():
            monkeypatch.setattr(child_module, name, seconds)
        lead = Lead.take(tmp_path / "leader.lock")
        assert lead is not None
        if stops != "later":
            monkeypatch.setattr(child_module, "CHILD", "import time; time.sleep(60)")
        with ThreadPoolExecutor(1) as thread:
            began = time.monotonic()
            ends = thread.submit(poll_in_child, settings_of(gateway, tmp_path), lead, threading.Event())
            if stops == "later":
                wait_until(lambda: len(gateway.asked_at) >= 2, "polls")
                [pid] = children_of(os.getpid())
                os.kill(pid, signal.SIGSTOP)
                assert not ends.done()
            with pytest.raises(PollingError, match="has not polled for"):
                ends.result(10)
            assert time.monotonic() - began < 10.0
        assert children_of(os.getpid()) == []
        lead.give_up()


def settings_of(gateway: Gateway, folder: Path, **more: str) -> Settings:
    environment = {"GATEWAYZ_API_URL": gateway.url, "POLL_INTERVAL": "1s", "POLL_TIMEOUT": "1s"}
    return configured({**environment, "DATA_DIR": str(folder / "data"), **more})


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


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
        if how == "emptied":
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
