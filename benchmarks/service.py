"""The service as a whole: how it starts on a long history, what a worker weighs, and how often the gateway is asked."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks import history
from benchmarks.answers import LATEST, range_body, range_request
from benchmarks.bench import HOUR, Bench
from benchmarks.harness import Row, load, raw_request
from benchmarks.servers import BenchmarkError, Server, bridge, fetch, gateway_of, memory_mib, wait_for

READY_SECONDS = 1.0
WORKER_MIB = 90.0
SERVICE_MIB = 150.0
WORKERS_UNDER_LOAD = 4
INTERVALS = 20


def start(bench: Bench) -> Iterator[Row]:
    """From the process' start to ready on a long history; then what each worker weighs once it has answered."""
    sizes, recorded = bench.sizes, bench.history
    healthy, ready, asked = [], [], []
    rss: list[float] = []
    pss: list[float] = []
    together: list[float] = []
    size = {"providers": sizes.providers, "models": history.MODELS}
    with gateway_of(bench.folder, **size, first=history.poll_number(time.time()) + 1) as gateway:
        for _ in range(sizes.starts):
            history.poll_now(recorded)
            began = time.monotonic()
            with bridge(recorded.data_dir, gateway.port, ready="") as server:
                wait_for(server, "/health")
                healthy.append(time.monotonic() - began)
                wait_for(server, "/ready")
                ready.append(time.monotonic() - began)
                now = time.time()
                again = time.monotonic()
                status, body = fetch(server.port, "POST", "/query", range_body(now - sizes.range_seconds, now))
                asked.append(time.monotonic() - again)
                if status != 200 or len(json.loads(body)) != sizes.providers:
                    raise BenchmarkError(f"the first range is answered with {status}: {body[:200]!r}")
                weights = _weights(server, now, (sizes.range_seconds, sizes.days * 24 * HOUR))
                every = [memory_mib(pid)[1] for pid in server.processes()]
            together.append(sum(every))
            rss.append(max(weight for weight, _ in weights))
            pss.append(max(weight for _, weight in weights))
    recorded_bytes = sum(file.stat().st_size for file in recorded.data_dir.glob("history.sqlite*"))
    work = f"start with {sizes.days:g} d × {sizes.providers} providers ({recorded_bytes / 2**20:.0f} MiB on disk)"
    figures = f"ready {median(ready):.2f} s (health {median(healthy):.2f} s; first range then in {median(asked):.2f} s)"
    yield Row(work, "–", figures, f"≤ {READY_SECONDS:g} s", median(ready) <= READY_SECONDS)
    figures = f"{median(rss):.0f} MiB resident ({median(pss):.0f} proportional), the heaviest worker"
    after = f"a worker after {sizes.range_seconds / HOUR:g} h and {sizes.days:g} d were asked for"
    yield Row(after, "–", figures, f"≤ {WORKER_MIB:g} MiB", median(rss) <= WORKER_MIB)
    figures = f"{median(together):.0f} MiB (PSS of {len(every)})"
    yield Row("all processes then", "–", figures, f"≤ {SERVICE_MIB:g} MiB", median(together) <= SERVICE_MIB)


def _weights(server: Server, now: float, lengths: Sequence[float]) -> list[tuple[float, float]]:
    """Resident and proportional size of every worker, in MiB, once it has answered ranges of these lengths."""
    weights = []
    for pid in server.workers():
        with server.left_to(pid):
            for length in lengths:
                load(server.port, [range_request(now - length, now)], count=1)
            weights.append(memory_mib(pid))
    return weights


def intervals(bench: Bench) -> Iterator[Row]:
    """How often several workers under load ask the gateway in each interval."""
    sizes, folder = bench.sizes, bench.new_folder("intervals")
    count = INTERVALS if sizes.rounds > 1 else 3
    request = raw_request("POST", "/query", LATEST)
    with (
        gateway_of(folder, providers=sizes.providers, models=history.MODELS, ahead=count + 8) as gateway,
        bridge(folder / "data", gateway.port, workers=WORKERS_UNDER_LOAD, interval="1s") as server,
    ):
        result = load(server.port, [request], seconds=count + 0.5, connections=8, processes=2)
        if len(server.workers()) != WORKERS_UNDER_LOAD:
            raise BenchmarkError(f"{len(server.workers())} workers are left of {WORKERS_UNDER_LOAD}")
        asked = json.loads(fetch(gateway.port, "GET", "/requests")[1])
    passed = round(asked[-1] - asked[0]) + 1
    in_each = Counter(round(at - asked[0]) for at in asked)
    exactly_one = sum(in_each[number] == 1 for number in range(passed))
    enough = passed >= count
    figures = f"exactly 1 in {exactly_one} of {passed} intervals ({result.rate:,.0f} requests/s to the bridge)"
    work = f"gateway requests with {WORKERS_UNDER_LOAD} workers under load"
    yield Row(work, "intervals passed", figures, "1 each", exactly_one == passed and enough)
