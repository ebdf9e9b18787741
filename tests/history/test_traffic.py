"""Reading and writing at the same time: neither keeps the other waiting, and the journal stays short."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bridge.history.blocks import BLOCK_POLLS
from bridge.history.store import Store
from bridge.model import Event, Key
from tests.history.snapshots import T0, Recorder, snapshot, verdict

PROJECT = Path(__file__).parents[2]
MIB = 2**20
RETENTION_SECONDS = 86_400.0
INTERVAL = 60.0
"""So that there is a day's history half way, and from then on each poll prunes, and every 240th a block."""
POLLS = 3_000
PROVIDERS = 30

READER = f"""
import sys, time
from pathlib import Path
from bridge.history.store import Store
store = Store(Path(sys.argv[1]), retention_seconds={RETENTION_SECONDS})
print("ready", flush=True)
slowest = 0.0
while not Path(sys.argv[2]).exists():
    began = time.perf_counter()
    end = store.latest().poll.at
    columns = store.columns(end - {RETENTION_SECONDS}, end)
    columns.of_providers("provider_health_score"), columns.of_fleet("fleet_health_score")
    store.events(end - {RETENTION_SECONDS}, end)
    slowest = max(slowest, time.perf_counter() - began)
    connection = store.database.connection()
    connection.execute("BEGIN")  # a long answer: what it reads is held for a while
    connection.execute("SELECT count(*) FROM polls").fetchone()
    time.sleep(0.05)
    connection.execute("COMMIT")
print(slowest, flush=True)
"""


def write_polls(log: Recorder, first: int, count: int) -> float:
    """Good polls of 30 providers, each with an event; how long the slowest took to write and to maintain."""
    slowest = 0.0
    for number in range(first, first + count):
        at = T0 + INTERVAL * number
        one = snapshot(
            at,
            [verdict(f"provider-{it}", health_score=(number * 7 + it) % 101 / 1.01) for it in range(PROVIDERS)],
            model_error_rates={Key(f"provider-{it}", "model"): (number + it) % 97 / 97 for it in range(PROVIDERS)},
        )
        began = time.perf_counter()
        log.good(one, Event(at, "circuit", "provider-1", "model", "CLOSED", "OPEN", str(number)), interval=INTERVAL)
        slowest = max(slowest, time.perf_counter() - began)
    return slowest


def test_with_four_readers_that_hold_what_they_read_the_journal_stays_short_and_nobody_waits(tmp_path: Path) -> None:
    store = Store(tmp_path, retention_seconds=RETENTION_SECONDS)
    log = Recorder(store)
    write_polls(log, 0, 2 * BLOCK_POLLS)
    over = tmp_path / "over"
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path), str(over)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    journal = 0
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        slowest_write = 0.0
        for first in range(2 * BLOCK_POLLS, POLLS, 20):
            slowest_write = max(slowest_write, write_polls(log, first, 20))
            journal = max(journal, (tmp_path / "history.sqlite-wal").stat().st_size)
        over.touch()
        slowest_reads = [float(reader.communicate(timeout=20)[0]) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert journal < 16 * MIB, f"{journal / MIB:.1f} MiB"
    assert max(slowest_reads) < 1.0
    assert slowest_write < 2.0
    store.close()
