"""A restart changes nothing: the same polls give the same states, events and numbers, whoever polls."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.health.windows import Window
from bridge.history.store import Store
from bridge.history.uptime import Uptimes
from bridge.model import Counters, Event, Incident, Moment, Poll, Reading, Signals, Snapshot
from bridge.policy import BreakerPolicy, Policy
from tests.captures import replay, scrapes
from tests.health.polls import says

T0 = 1_800_000_000.0
INTERVAL = 15.0
POLICY = Policy(BreakerPolicy(timeout_seconds=30, window_seconds=45))

Open = Callable[[], Store]


def told_by(memory: Memory) -> dict[str, object]:
    """Everything a memory says, in a form that can be compared: the windows by what comes of them."""
    said: dict[str, object] = {field.name: getattr(memory, field.name) for field in dataclasses.fields(memory)}
    recent = [
        {key: tuple(float(values[place]) for values in step[1:]) for place, key in enumerate(memory.recent.index.keys)}
        for step in memory.recent.steps
    ]
    busy = [{key: added for key, added in step.items() if added[1] or added[2]} for step in recent]
    return said | {
        "counters": dict(zip(memory.counters.ids, memory.counters.numbers.tolist(), strict=True)),
        "window": told_by_window(memory.window),
        "recent": busy,
    }


def told_by_window(window: Window) -> dict[str, object]:
    def by_series(values: np.ndarray) -> dict[Any, float]:
        return {one: value for one, value in zip(window.ids, values.tolist(), strict=True) if value == value}

    return {
        "times": window.times,
        "increases": by_series(window.increases(window.times[-1] - window.seconds if window.times else 0.0)),
        "since": dict(zip(window.index.providers, window.since().tolist(), strict=True)),
        "last": by_series(window.last),
        "seen": by_series(window.seen),
        "past": dict(window.past),
        "forgotten": (window.forgotten, window.forgotten_at),
    }


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens the one log of a test, as another process does."""
    return lambda: Store(tmp_path / "data", retention_seconds=7 * 86_400)


@pytest.mark.parametrize("gateway", ["gatewayz-data", "gatewayz-metrics"])
def test_a_restart_after_every_poll_of_a_real_gateway_changes_nothing(gateway: str, opened: Open) -> None:
    reader, translator = ExpositionReader(), Translator(select("auto"))
    for scrape, undisturbed in zip(scrapes(gateway), replay(gateway), strict=True):
        store, moment = opened(), Moment(scrape.at, scrape.at)
        signals = translator.translate(reader.read(scrape.body))
        memory, one, events = assess(store.memory(), signals, moment, Policy())
        assert one == undisturbed.snapshot, scrape.name
        assert tuple(events) == undisturbed.events, scrape.name
        poll = Poll(scrape.at, INTERVAL, "ok", "", 0.1, steady=scrape.at)
        store.append(poll, failing_since=None, events=events, snapshot=one, memory=memory)
        found = opened()
        latest = found.latest()
        assert latest is not None
        assert latest.snapshot == one, scrape.name
        assert told_by(found.memory()) == told_by(memory), scrape.name
        store.close()
        found.close()
    told = [event for polled in replay(gateway) for event in polled.events]
    store = opened()
    assert store.events(0, T0 * 2) == told
    store.close()


class Given(NamedTuple):
    """One poll of a made-up history, and whether the process that makes it has just been started."""

    after: float
    fails: bool
    restarted: bool
    counted: Mapping[str, tuple[int, int]]
    circuits: Mapping[str, str]


names = st.sampled_from(["a/x", "a/y", "b", "c/z"])
polls = st.lists(
    st.builds(
        Given,
        st.sampled_from([1.0, 15.0, 15.0, 15.0, 40.0, 400.0]),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
        st.dictionaries(names, st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=4),
        st.dictionaries(st.sampled_from(["d", "e/m"]), st.sampled_from(["OPEN", "CLOSED", "HALF_OPEN"]), max_size=2),
    ),
    max_size=25,
)


@contextmanager
def log() -> Iterator[Open]:
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: Store(Path(folder), retention_seconds=7 * 86_400)


class Happened(NamedTuple):
    """What came of a history."""

    events: list[Event]
    snapshots: list[Snapshot]
    incidents: list[Incident]
    uptimes: Uptimes
    memory: dict[str, object]


def happened(history: Sequence[Given], restarts: bool) -> Happened:
    """What came of a history, with its restarts or without any."""
    totals: dict[str, tuple[int, int]] = {}
    events, snapshots, at = [], [], T0
    memory = Memory()
    with log() as opened:
        store = opened()
        for one in history:
            at += one.after
            if one.restarted and restarts:
                store.close()
                store = opened()
                memory = store.memory()
            poll = Poll(
                at, INTERVAL, "refused" if one.fails else "ok", "", 0.1, steady=at, reading=Reading(at, at, "b")
            )
            if one.fails:
                store.append(poll, failing_since=at)
                continue
            for name, (served, failed) in one.counted.items():
                before = totals.get(name, (0, 0))
                restarted = served == 6  # the gateway's counters of it begin again
                totals[name] = (
                    (served + failed, failed) if restarted else (before[0] + served + failed, before[1] + failed)
                )
            memory, snapshot, told = assess(memory, signals_of(one, totals), Moment(at, at), POLICY)
            store.append(poll, failing_since=None, events=told, snapshot=snapshot, memory=memory)
            store.maintain(Moment(at, at))
            events += told
            snapshots.append(snapshot)
        assert store.events(0, T0 * 2) == events
        incidents, uptimes = store.incidents(0, T0 * 2), store.uptimes(0, at)
        store.close()
    return Happened(events, snapshots, incidents, uptimes, told_by(memory))


def signals_of(one: Given, totals: Mapping[str, tuple[int, int]]) -> Signals:
    """The gateway publishes what moved in this poll, and of the others every second: series come and go."""
    shown = {name: total for place, (name, total) in enumerate(totals.items()) if name in one.counted or place % 2}
    counted = {signal: {name: total[place] for name, total in shown.items()} for place, signal in enumerate(COUNTED)}
    signals = says(circuits=one.circuits, requests=counted["requests"], failures=counted["failures"])
    return dataclasses.replace(signals, counters=Counters(tuple(signals.counters.ids), signals.counters.numbers))


COUNTED = ("requests", "failures")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(polls)
def test_any_history_comes_to_the_same_with_and_without_restarts(history: list[Given]) -> None:
    undisturbed, restarted = happened(history, restarts=False), happened(history, restarts=True)
    assert restarted.events == undisturbed.events
    assert restarted.snapshots == undisturbed.snapshots
    assert restarted.incidents == undisturbed.incidents
    assert restarted.uptimes == undisturbed.uptimes
    if undisturbed.snapshots:
        assert restarted.memory == undisturbed.memory
