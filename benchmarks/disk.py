"""Sealed history on disk, against a block of Prometheus' with the very same samples."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks import prometheus
from benchmarks.bench import Bench
from benchmarks.harness import Row
from benchmarks.prometheus import Series
from benchmarks.servers import BenchmarkError
from benchmarks.source import Hand, source_of
from bridge import logs
from bridge.history.blocks import BLOCK_POLLS
from bridge.history.columns import Columns
from bridge.history.store import Store
from bridge.model import FLEET_METRICS, MODEL_METRICS, PROVIDER_METRICS, Reading
from bridge.policy import Policy
from bridge.polling.loop import Poller
from demo import incident
from demo.metrics import Metrics
from demo.script import PROVIDERS
from demo.traffic import Router, Script, Spell

INTERVAL_SECONDS = 15.0
BEGIN = 1_795_392_000.0
"""Midnight, so that Prometheus has all in one block."""


def disk(bench: Bench) -> Iterator[Row]:
    """Bytes a sample, of what the poller records of a gateway with simulated traffic."""
    against, bar = "a Prometheus block of the same samples", "≤ 1 ×"
    if not prometheus.available():
        yield Row("a sample on disk", against, "Prometheus is not installed", bar, None)
        return
    folder, polls = bench.new_folder("disk"), bench.sizes.sealed_blocks * BLOCK_POLLS
    store = _recorded(folder / "data", bench.sizes.providers, polls + BLOCK_POLLS)  # the newest are not sealed
    series = list(_series(store.columns(BEGIN, BEGIN + (polls - 0.5) * INTERVAL_SECONDS)))
    samples = sum(int(np.isfinite(values).sum()) for *_, values in series)
    store.close()
    ours = _sealed_bytes(folder, store.path, polls) / samples
    theirs = _block_bytes(folder, series) / samples
    work = f"a sample on disk, {polls} polls at {INTERVAL_SECONDS:g} s"
    figures = (
        f"{ours / theirs:.2f} × ({ours:.2f} against {theirs:.2f} bytes; {len(series)} series, {samples:,} samples)"
    )
    yield Row(work, against, figures, bar, ours <= theirs)


def _recorded(data_dir: Path, providers: int, polls: int) -> Store:
    """What the bridge records of the demo's gateway with so many of its providers."""
    logs.configure("CRITICAL")
    names = list(PROVIDERS)[:providers]
    fleet = [deployment for deployment in incident.fleet() if deployment.provider in names]
    hand, router, metrics = Hand(), Router(fleet, _script(polls)), Metrics()
    store = Store(data_dir, retention_seconds=1e9)
    poller = Poller(source_of(hand), store, Policy(), interval_seconds=INTERVAL_SECONDS)
    for number in range(polls):
        at = BEGIN + number * INTERVAL_SECONDS
        router.advance(number * INTERVAL_SECONDS)
        hand.body = metrics(router, at).encode()
        if (outcome := poller.poll_once(Reading(at, at, "bench")).outcome) != "ok":
            raise BenchmarkError(f"a poll came to {outcome}")
    return store


def _script(polls: int) -> Script:
    """Each provider fails more often, or is slower, for some minutes of every hour: never twice in the same way."""
    random = np.random.default_rng(20_261_124)
    spells = []
    for hour in range(-(-polls // BLOCK_POLLS)):
        for number, provider in enumerate(PROVIDERS):
            begin, seconds, much = hour * 3600.0 + random.uniform(0, 3000), random.uniform(60, 1200), random.random()
            failing, slower = (much, 1.0) if number % 3 == 0 else (0.0, 1.0 + 4.0 * much)
            spells.append(Spell(begin, begin + seconds, provider, failing=failing, slower=slower))
    return Script(spells)


def _series(columns: Columns) -> Iterator[Series]:
    times = columns.times
    for metric in PROVIDER_METRICS:
        providers, values = columns.of_providers(metric)
        yield from (Series(metric, {"provider": name}, times, values[:, place]) for place, name in enumerate(providers))
    for metric in MODEL_METRICS:
        models, values = columns.of_models(metric)
        yield from (Series(metric, key._asdict(), times, values[:, place]) for place, key in enumerate(models))
    for metric in FLEET_METRICS:
        yield Series(metric, {}, times, columns.of_fleet(metric))


def _sealed_bytes(folder: Path, log: Path, polls: int) -> int:
    """The size of a copy of the log that holds nothing but its blocks, their layouts, and their polls' own rows."""
    copy = folder / "sealed.sqlite"
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        [last] = connection.execute("SELECT max(last_poll) FROM blocks").fetchone()
        if last != polls:
            raise BenchmarkError(f"{last} polls are sealed instead of {polls}")
        connection.execute("DELETE FROM polls WHERE id > ?", (last,))
        connection.executescript(
            "DELETE FROM fresh; DELETE FROM counters; DELETE FROM latest; DELETE FROM events;"
            "DELETE FROM layouts WHERE id NOT IN (SELECT layout FROM blocks); VACUUM"
        )
    return copy.stat().st_size


def _block_bytes(folder: Path, series: list[Series]) -> int:
    data = prometheus.blocks_of(folder, series)
    if len(list(data.glob("*/meta.json"))) != 1:
        raise BenchmarkError("Prometheus has the samples in several blocks")
    return sum(file.stat().st_size for file in data.rglob("*") if file.is_file())
