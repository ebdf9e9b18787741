"""A service with a large gateway that is killed and started again: how soon it polls, and what it weighs then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.harness import Row
from benchmarks.polls import Polls, models_for_counters
from benchmarks.servers import BenchmarkError, Server, bridge, cpu_seconds, gateway_of, memory_mib, poll_spans

FIRST_SECONDS = 2.0
SERVICE_MIB = 400.0
WAIT_SECONDS = 120.0


def first(bench: Bench) -> Iterator[Row]:
    """From the process' start to its first recorded poll, on the history of an hour, and on one of a fast interval."""
    sizes = bench.sizes
    seconds_a_poll = 0.0
    for interval, count in ((15.0, sizes.hour_polls), (1.0, sizes.fast_polls)):
        folder = bench.new_folder(f"first-{interval:g}")
        began = time.monotonic()
        # A poll is written in less than 15 s, but not in less than 1 s: such a history ends when it will be written.
        ends = time.time() + (seconds_a_poll * count if interval < 15.0 else -interval)
        ended = _write(folder / "data", bench, interval, count, ends)
        seconds_a_poll = (time.monotonic() - began) / count
        yield from _restarts(bench, folder, interval, count, ended)


def _write(data_dir: Path, bench: Bench, interval: float, count: int, ends: float) -> float:
    """A history of so many polls that ends then: when its last poll was."""
    providers = bench.sizes.providers
    models = models_for_counters(bench.sizes.counters, providers)
    first_at = ends - (count - 1) * interval
    polls = Polls(data_dir, providers=providers, models=models, interval=interval, first_at=first_at)
    polls.fill(count)
    polls.close()
    return polls.last_at


def _restarts(bench: Bench, folder: Path, interval: float, count: int, ended: float) -> Iterator[Row]:
    sizes = bench.sizes
    models = models_for_counters(sizes.counters, sizes.providers)
    asked: list[float] = []
    polled: list[float] = []
    mib: list[float] = []
    cpu: list[float] = []
    # A start polls once, and at a short interval perhaps again before it is killed.
    with gateway_of(folder, providers=sizes.providers, models=models, first=count, ahead=3 * sizes.starts) as gateway:
        for number in range(sizes.starts):
            time.sleep(max(0.0, ended + interval - time.time()))  # else it would wait for its interval to pass
            began = time.time()
            metrics_dir, every = folder / f"metrics-{number}", f"{interval:g}s"
            with bridge(folder / "data", gateway.port, interval=every, ready="", metrics_dir=metrics_dir) as server:
                arrived, ended = _first_poll(server, gateway)
                pids = server.processes()
                cpu.append(sum(cpu_seconds(pid) for pid in pids))
                weights = [memory_mib(pid)[1] for pid in pids]
                server.kill()
            asked.append(arrived - began)
            polled.append(ended - began)
            mib.append(sum(weights))
    work = f"start, {sizes.counters:,} counters, {count} polls at {interval:g} s: first poll"
    figures = f"recorded {median(polled):.2f} s (gateway asked after {median(asked):.2f} s; CPU {median(cpu):.2f} s)"
    yield Row(work, "–", figures, f"≤ {FIRST_SECONDS:g} s", median(polled) <= FIRST_SECONDS)
    figures = f"{max(mib):.0f} MiB (PSS of {len(weights)})"
    yield Row("all processes then", "–", figures, f"≤ {SERVICE_MIB:g} MiB", max(mib) <= SERVICE_MIB)


def _first_poll(server: Server, gateway: Server) -> tuple[float, float]:
    """When the gateway was asked for the first poll, and when that was recorded (epoch seconds)."""
    last = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < last and server.process.poll() is None:
        if spans := poll_spans(server, gateway):
            return spans[0]
        time.sleep(0.1)
    raise BenchmarkError(f"no poll was recorded within {WAIT_SECONDS:g} s of the start, or none was good")
