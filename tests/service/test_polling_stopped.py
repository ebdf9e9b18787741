"""The process that polls, and its leader: stopped, killed, or with what they hold taken away."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.polling import child as child_module
from bridge.polling.child import PollingError, poll_in_child
from bridge.polling.election import Lead
from tests.service.harness import Gateway, Service, wait_until
from tests.service.polling import assert_one_polls, gaps, gone, polling, settings_of

pytestmark = pytest.mark.service


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
        wait_until(lambda: gone(first), "the one without a lock has ended", 5.0)
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
        assert len(gateway.asked_since(stopped)) >= 2, "polls went on while it stood still"
        assert polling(one, 2) != first
        assert_one_polls(gateway, stopped, 8)
        assert max(gaps(gateway, stopped)) < 8.0

    def test_a_stopped_one_is_not_left_over_when_its_leader_is_killed(self, polled: Service, gateway: Gateway) -> None:
        first = polling(polled)
        os.kill(first, signal.SIGSTOP)
        os.kill(polled.leader(), signal.SIGKILL)
        killed = time.time()
        wait_until(lambda: gone(first), "the stopped one has ended", 5.0)
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


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
