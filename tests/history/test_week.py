"""What seven days of history take on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.history import write
from bridge.history.blocks import BLOCK_POLLS
from bridge.history.codec import Level, PollLayout
from bridge.history.store import Store, Unwritten
from bridge.model import Circuit, Event, Key, Moment, Poll
from tests.history.snapshots import INTERVAL, T0, circuit, memory_of, snapshot, verdict

WEEK_POLLS = 7 * 86_400 / INTERVAL
MIB = 2**20
PROVIDERS = tuple(f"provider-{number}" for number in range(30))
KEYS = tuple(Key(PROVIDERS[number % 30], f"model-{number:05}") for number in range(10_000))


def used(store: Store) -> int:
    """Bytes of the file that hold something."""
    connection = store.database.connection()
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def week_of_30_providers(folder: Path) -> float:
    """Bytes a week would take, at the rate of 8 hours whose numbers wander all the time.

    That says rather too much: the newest hours, which are not sealed yet, and what is there once, count 21 times.
    """
    hours = 8
    write(folder, providers=30, seconds=hours * 3600.0, polled_seconds=150.0)
    store = Store(folder, retention_seconds=1e9)
    try:
        return used(store) * 7 * 24 / hours
    finally:
        store.close()


def with_models(folder: Path, keys: Sequence[Key]) -> float:
    """Bytes that a week takes because of these models: their circuits, events and error rates.

    They open 1.4 times in the week (as those of the benchmarks' history do), and one in a thousand fails at any time,
    at a rate that is never the same; the others' error rate is 0. Two blocks' worth of polls are written, one block of
    them is sealed, and what is in it counts for each 240 polls of the week; all else is there once.
    """
    store = Store(folder, retention_seconds=1e9)
    polls = 2 * BLOCK_POLLS
    rates = np.zeros((polls, len(keys)))
    failing = slice(0, len(keys), 1_000)
    rates[:, failing] = np.random.default_rng(1).random(rates[:, failing].shape)
    layout = PollLayout(model=Level(tuple(keys), ("model_error_rate",)))
    earlier = [
        Unwritten(Poll(T0 + INTERVAL * n, INTERVAL, "ok", "", 0.02, steady=T0), layout, rates[n])
        for n in range(polls - 1)
    ]
    circuits: list[Circuit] = [circuit(*key, reason="reported by the gateway") for key in keys]
    last = snapshot(
        T0 + INTERVAL * (polls - 1),
        map(verdict, PROVIDERS),
        circuits,
        model_error_rates=dict(zip(keys, rates[-1].tolist(), strict=True)),
    )
    events = [
        Event(last.at, "circuit", *key, before, after, "reported by the gateway")
        for some in (keys, keys[: len(keys) * 2 // 5])
        for before, after in (("CLOSED", "OPEN"), ("OPEN", "CLOSED"))
        for key in some
    ]
    poll = Poll(last.at, INTERVAL, "ok", "", 0.02, steady=T0)
    store.append(poll, failing_since=None, events=events, snapshot=last, memory=memory_of(last), earlier=earlier)
    store.maintain(Moment(last.at, last.at))
    [(sealed, blocks)] = store.database.connection().execute(
        "SELECT sum(length(numbers)), count(DISTINCT block) FROM block_columns"
    )
    assert blocks == 1
    total = used(store) + sealed * (WEEK_POLLS / BLOCK_POLLS - 1)
    store.close()
    return float(total)


def test_seven_days_of_30_providers_take_less_than_150_mib_and_10_000_circuits_add_less_than_a_fifth(
    tmp_path: Path,
) -> None:
    week = week_of_30_providers(tmp_path / "week")
    assert week < 150 * MIB, f"{week / MIB:.0f} MiB"
    more = with_models(tmp_path / "models", KEYS) - with_models(tmp_path / "none", KEYS[:30])
    assert more < 0.2 * week, f"{more / MIB:.1f} MiB more than {week / MIB:.0f} MiB"
