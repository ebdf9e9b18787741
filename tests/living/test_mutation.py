"""The living tests see what they were made for: a service that reads the clock twice a poll, and so knows no rates."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.living.life import LivingGateway, latest_of, living, until_polled
from tests.service.harness import PROJECT, Service

pytestmark = pytest.mark.service

LOOP = Path("bridge/polling/loop.py")
ONCE = "assess(self._memory, signals, dated.moment, self._policy)"
TWICE = ONCE.replace("self._memory,", "self._memory if now.steady >= self._clock().steady else Memory(),")
"""The fault there once was: a second reading, which is later of course, is taken for a clock that was set back."""


def test_reading_the_clock_twice_a_poll_is_noticed(tmp_path: Path) -> None:
    sound, mutated = copied(tmp_path / "sound"), copied(tmp_path / "mutated")
    source = (mutated / LOOP).read_text(encoding="utf-8")
    assert source.count(ONCE) == 1, f"the line to mutate is not in {LOOP} any more: mutate what took its place"
    (mutated / LOOP).write_text(source.replace(ONCE, TWICE), encoding="utf-8")
    with (
        living("gatewayz-metrics", tmp_path / "a", sound) as well,
        living("gatewayz-metrics", tmp_path / "b", mutated) as blind,
    ):
        assert unknown_after(8.0, {"sound": well, "mutated": blind}) == {
            "sound": set(),
            "mutated": {"provider_request_rate", "provider_error_rate", "provider_latency_p95_seconds"},
        }


def copied(to: Path) -> Path:
    """A copy of what the service is started from."""
    shutil.copytree(PROJECT / "bridge", to / "bridge", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "gunicorn.conf.py"):
        shutil.copy(PROJECT / name, to)
    return to


def unknown_after(seconds: float, lives: Mapping[str, tuple[LivingGateway, Service]]) -> dict[str, set[str]]:
    """Which of three metrics of openai, which has traffic all the time, are not known then."""
    for _, service in lives.values():
        until_polled(service)
    time.sleep(seconds)
    shown = {name: latest_of(service) for name, (_, service) in lives.items()}
    metrics = ("provider_request_rate", "provider_error_rate", "provider_latency_p95_seconds")
    return {name: {m for m in metrics if values[m]["openai",] is None} for name, values in shown.items()}
