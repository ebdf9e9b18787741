"""Long ranges out of a real Prometheus and a real VictoriaMetrics: the worst of every step, by their arithmetic."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bridge.history.remote import RemoteHistory
from bridge.history.store import Store
from bridge.queries.catalog import metric
from bridge.queries.series import Recorded, Steps
from bridge.queries.targets import parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.service.harness import wait_until
from tests.services import free_port, require

pytestmark = pytest.mark.service

START, END, INTERVAL = 1_700_000_000, 1_700_000_000 + 3 * 86_400, 15
BRIDGE = {"job": "bridge", "instance": "bridge:5050"}
DIPS: Mapping[str, tuple[float, Mapping[int, float]]] = {
    "provider_circuit_breaker_state": (0.0, {5_000: 1.0, 5_001: 2.0, 5_002: 2.0, 9_000: 2.0, 9_001: 2.0}),
    "provider_status": (1.0, {4_000: 0.0, 7_000: 2.0, 7_001: 0.0, 12_000: 3.0}),
    "provider_health_score": (99.5, {6_000: 12.2}),
    "provider_error_rate": (0.0, {8_000: 0.75, 8_001: 0.5}),
}
"""For each metric what it usually is, and what else at which sample."""


def lines() -> Iterator[str]:
    """Every series' samples in OpenMetrics."""
    for name, (usual, others) in DIPS.items():
        yield f"# TYPE {name} gauge\n"
        for number, at in enumerate(range(START, END, INTERVAL)):
            labels = f'provider="groq",job="{BRIDGE["job"]}",instance="{BRIDGE["instance"]}"'
            yield f"{name}{{{labels}}} {others.get(number, usual)} {at}.123\n"
        for at in range(START, END, 600):  # a gateway's own metric of the same name
            yield f'{name}{{provider="groq",job="gateway",instance="gateway:80"}} 2 {at}.5\n'
    yield "# TYPE bridge_poll_seconds_count gauge\n"
    for at in range(START, END, 600):
        yield f'bridge_poll_seconds_count{{job="{BRIDGE["job"]}",instance="{BRIDGE["instance"]}"}} {at} {at}.123\n'
    yield "# EOF\n"


@contextmanager
def answering(command: Sequence[str], folder: Path, port: int, ready_path: str) -> Iterator[HTTPConnection]:
    """A program that answers on a port, for as long as the ``with`` block lasts."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def ready() -> bool:
        with suppress(OSError), closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", ready_path)
            return connection.getresponse().status == 200
        return False

    try:
        wait_until(ready, f"{command[0]} is ready", seconds=30)
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            yield connection
    finally:
        process.kill()
        process.wait()


@contextmanager
def prometheus(folder: Path) -> Iterator[int]:
    """A Prometheus that holds the samples: its port."""
    promtool, text, blocks = require("promtool"), folder / "samples", folder / "blocks"
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    text.write_text("".join(lines()))
    made = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, blocks]
    subprocess.run(made, check=True, timeout=60)
    port = free_port()
    command = [
        require("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={blocks}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with answering(command, folder, port, "/-/ready"):
        yield port


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[int]:
    """A VictoriaMetrics that holds them."""
    port = free_port()
    command = [
        require("victoria-metrics"),
        f"-storageDataPath={folder / 'data'}",
        "-retentionPeriod=100y",
        f"-httpListenAddr=127.0.0.1:{port}",
    ]
    samples = [line.rpartition(" ") for line in lines() if not line.startswith("#")]
    body = "".join(f"{series} {round(float(at) * 1000)}\n" for series, _, at in samples)
    with answering(command, folder, port, "/health") as connection:
        connection.request("POST", "/api/v1/import/prometheus", body.encode())
        assert connection.getresponse().status == 204

        def shown() -> bool:
            connection.request("GET", "/internal/force_flush")
            connection.getresponse().read()
            connection.request("GET", f"/api/v1/query?query=bridge_poll_seconds_count&time={END - 300}")
            return b"bridge:5050" in connection.getresponse().read()

        connection.close()
        wait_until(shown, "the samples are shown", seconds=30)
        yield port


KINDS = {"prometheus": prometheus, "victoria-metrics": victoria_metrics}


@pytest.fixture(scope="module", params=KINDS)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteHistory]:
    """What holds three days of samples."""
    with KINDS[request.param](tmp_path_factory.mktemp(request.param)) as port:
        client = RemoteHistory(f"http://127.0.0.1:{port}")
        yield client
        client.close()


def points(
    remote: RemoteHistory, folder: Path, name: str, start: float, end: float, most: int
) -> list[tuple[float, float]]:
    store = Store(folder / "data", retention_seconds=86_400.0)
    recorded = Recorded(store, View(end + 1, store.latest(), 45.0), TimeRange(start, end), Steps(most), remote)
    [series] = recorded.series(metric(name), parse(name), ())
    assert not recorded.troubles
    store.close()
    return list(zip(series.times.tolist(), series.values.tolist(), strict=True))


@pytest.mark.parametrize("name", DIPS)
@pytest.mark.parametrize("most", [60, 500, 1_000])
def test_what_lasted_seconds_is_seen_in_days_at_its_time(
    remote: RemoteHistory, tmp_path: Path, name: str, most: int
) -> None:
    usual, others = DIPS[name]
    found = points(remote, tmp_path, name, START + 1000, END - 1000, most)
    assert len(found) <= most + 1
    assert {value for _, value in found} <= {usual, *others.values()}, "a value that was never observed, or a gap"
    step = (END - START) / most + 60
    severe = {"provider_circuit_breaker_state": 5_000, "provider_status": 12_000}
    worst = severe.get(name, next(iter(others)))
    at = START + worst * INTERVAL
    assert others[worst] in [value for moment, value in found if abs(moment - at) <= step]


def test_half_open_is_worse_than_closed_and_unknown_worse_than_healthy(remote: RemoteHistory, tmp_path: Path) -> None:
    circuit = points(remote, tmp_path, "provider_circuit_breaker_state", START, END - 1, 1_000)
    assert 2.0 in [value for at, value in circuit if abs(at - (START + 9_000 * INTERVAL)) <= 600]
    status = points(remote, tmp_path, "provider_status", START, END - 1, 1_000)
    assert 0.0 in [value for at, value in status if abs(at - (START + 4_000 * INTERVAL)) <= 600]
    assert 2.0 in [value for at, value in status if abs(at - (START + 7_000 * INTERVAL)) <= 600]


def test_a_short_range_is_the_very_samples(remote: RemoteHistory, tmp_path: Path) -> None:
    found = points(remote, tmp_path, "provider_error_rate", START + 119_000, START + 121_000, 11_000)
    usual, others = DIPS["provider_error_rate"]
    expected = [
        (START + number * INTERVAL + 0.123, others.get(number, usual))
        for number in range((END - START) // INTERVAL)
        if 119_000 <= number * INTERVAL + 0.123 <= 121_000
    ]
    assert [point for point in found if point[1] == point[1]] == expected


def test_it_is_quick(remote: RemoteHistory, tmp_path: Path) -> None:
    began = time.perf_counter()
    points(remote, tmp_path, "provider_circuit_breaker_state", START + 7, END - 7, 1_000)
    first = time.perf_counter() - began
    began = time.perf_counter()
    points(remote, tmp_path, "provider_circuit_breaker_state", START + 7, END - 7, 1_000)
    print(f"asked {first * 1000:.1f} ms, kept {(time.perf_counter() - began) * 1000:.1f} ms")
    assert first < 2.0
