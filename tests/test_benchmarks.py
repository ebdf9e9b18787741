"""``make bench`` can be trusted to run: its table, its exit status, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import expositions, harness, history, prometheus
from benchmarks.client import Client, Job
from bridge.history.store import Store

PROJECT = Path(__file__).parent.parent


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environ = os.environ | {"TMPDIR": str(folder)}
    return subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def processes_of(folder: Path) -> list[str]:
    """Processes that were started for a run in ``folder``, and still are there."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if str(folder).encode() in environ.read_bytes():
                found.append(environ.with_name("cmdline").read_text())
    return found


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class TestTable:
    def test_a_line_says_what_was_measured_against_what_and_the_exit_status_follows(self, tmp_path: Path) -> None:
        done = run(tmp_path, "--quick", "reading")
        assert done.stderr == ""
        [line] = [line for line in done.stdout.splitlines() if line.startswith("reading 600 lines")]
        _work, against, measured, bar, result, _took = (cell.strip() for cell in line.split("|"))
        assert against == "prometheus_client's parser alone"
        assert re.match(r"\d+\.\d+ × \(\d+ against \d+ ms\)", measured)
        assert bar == "≤ 0.06 ×"
        assert (result, done.returncode) in {("pass", 0), ("FAIL", 1)}

    def test_a_whole_poll_is_measured_with_breakers_that_are_reported_and_with_many_that_are_derived(
        self, tmp_path: Path
    ) -> None:
        done = run(tmp_path, "--quick", "poll")
        assert done.stderr == ""
        assert re.search(r"whole poll of 600 counters, 3 breakers reported .*\| \d\.\d+ × \(", done.stdout), done.stdout
        assert re.search(r"whole poll of 600 counters, 45 breakers derived .*\| \d\.\d+ × \(", done.stdout), done.stdout

    @pytest.mark.skipif(not prometheus.available(), reason="Prometheus is not installed")
    def test_sealed_history_is_weighed_beside_a_real_block(self, tmp_path: Path) -> None:
        done = run(tmp_path, "--quick", "disk")
        assert done.stderr == ""
        found = re.search(r"([\d.]+) × \(([\d.]+) against ([\d.]+) bytes; \d+ series, ([\d,]+) samples\)", done.stdout)
        assert found is not None, done.stdout
        ratio, ours, theirs, samples = (float(figure.replace(",", "")) for figure in found.groups())
        assert ratio == pytest.approx(ours / theirs, abs=0.02)
        assert 0 < ours < 16
        assert 1 < theirs < 16, "a block has a byte for each sample at least, and two doubles at most"
        assert samples > 240 * 3 * 5, "three providers at each poll, and several metrics of each"

    @pytest.mark.service
    def test_a_killed_service_is_started_again_and_all_its_processes_are_weighed(self, tmp_path: Path) -> None:
        done = run(tmp_path, "--quick", "first")
        assert done.stderr == ""
        starts = re.findall(r"recorded (\d+\.\d\d) s \(gateway asked after (\d+\.\d\d) s; CPU", done.stdout)
        assert len(starts) == 2, done.stdout
        assert all(0.1 < float(asked) < float(recorded) for recorded, asked in starts)
        assert done.stdout.count("MiB (PSS of 5)") == 2, (
            "gunicorn, two workers, the one that polls and one that stands by"
        )
        assert processes_of(tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.service
    def test_real_servers_are_measured_and_ended(self, tmp_path: Path) -> None:
        done = run(tmp_path, "--quick", "latest")
        assert done.stderr == ""
        assert re.search(r"a bare Flask route.*\| \d+\.\d\d × .*(pass|FAIL)", done.stdout), done.stdout
        assert processes_of(tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.service
    def test_a_run_that_is_stopped_leaves_nothing_behind(self, tmp_path: Path) -> None:
        environ = os.environ | {"TMPDIR": str(tmp_path)}
        with subprocess.Popen([sys.executable, "-m", "benchmarks", "latest"], cwd=PROJECT, env=environ) as process:
            deadline = time.monotonic() + 30
            while len(processes_of(tmp_path)) < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
            process.terminate()
            assert process.wait(30) == 143
        assert processes_of(tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    def test_a_name_that_is_none_is_told(self, tmp_path: Path) -> None:
        done = run(tmp_path, "nothing")
        assert done.returncode == 2
        assert "there is no nothing; names are latest, cold, warm" in done.stderr


class TestMadeUp:
    def test_an_exposition_has_the_lines_it_should_and_every_series_once(self) -> None:
        models = expositions.models_for(600, 3)
        body = expositions.exposition(7, providers=3, models=models, lines=600)
        assert body.count(b"\n") == 600
        families = text_string_to_metric_families(body.decode())
        series = [(sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples]
        assert len(series) == len(set(series)) > 570

    def test_counters_rise_from_poll_to_poll(self) -> None:
        def counters(poll: int) -> dict[str, float]:
            lines = expositions.exposition(poll, providers=3).decode().splitlines()
            return {name: float(it) for name, _, it in (line.rpartition(" ") for line in lines) if "_total{" in name}

        before, after = counters(100), counters(101)
        assert before.keys() == after.keys()
        assert all(after[name] >= value for name, value in before.items())
        assert sum(after[name] > value for name, value in before.items()) > len(before) / 3

    def test_a_history_can_be_read_back(self, tmp_path: Path) -> None:
        written = history.write(tmp_path / "data", providers=3, seconds=900.0, polled_seconds=60.0)
        assert len(written.times) == len(written.scores) == 60
        assert np.all(np.diff(written.times) > 0)
        assert time.time() - written.end < 30
        assert len(np.unique(written.scores[:50, 0])) > 5, "scores wander"
        history.poll_now(written)
        latest = Store(written.data_dir, retention_seconds=1e9).latest()
        assert latest is not None
        assert latest.snapshot is not None
        assert latest.snapshot.at > written.end
        assert [verdict.provider for verdict in latest.snapshot.verdicts] == list(written.providers)

    def test_prometheus_gets_the_very_same_samples(self, tmp_path: Path) -> None:
        providers, times = ("a", "b"), np.array([1000.0, 1015.25])
        scores = np.array([[1.5, np.nan], [2.25, 3.0]])
        series = [
            prometheus.Series(history.METRIC, {"provider": provider}, times, values)
            for provider, values in zip(providers, scores.T, strict=True)
        ]
        prometheus._write(tmp_path / "samples", series)
        assert (tmp_path / "samples").read_text().splitlines() == [
            "# TYPE provider_health_score gauge",
            'provider_health_score{provider="a"} 1.5 1000.000',
            'provider_health_score{provider="a"} 2.25 1015.250',
            'provider_health_score{provider="b"} 3.0 1015.250',
            "# EOF",
        ]


class TestClient:
    @pytest.fixture
    def server(self) -> Iterator[ThreadingHTTPServer]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            asked: ClassVar[list[str]] = []

            def do_GET(self) -> None:
                self.asked.append(self.path)
                self.send_response(404 if self.path == "/missing" else 200)
                if self.path == "/hang-up":
                    self.close_connection = True
                if self.path == "/chunked":
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"5\r\nhello\r\n")
                    time.sleep(0.02)
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", "200000")
                    self.end_headers()
                    self.wfile.write(b"x" * 200_000)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    @pytest.mark.parametrize("path", ["/", "/chunked", "/hang-up"])
    def test_every_answer_is_taken_whole_and_timed(self, server: ThreadingHTTPServer, path: str) -> None:
        request = harness.raw_request("GET", path)
        outcome = Client(Job(server.server_port, [request], 20, 3, begin=0.0)).run()
        assert (len(outcome.took), outcome.errors) == (20, 0)
        assert server.RequestHandlerClass.asked == [path] * 20  # type: ignore[attr-defined]
        assert min(outcome.took) > (0.02 if path == "/chunked" else 0)

    def test_what_is_not_200_is_counted(self, server: ThreadingHTTPServer) -> None:
        outcome = Client(Job(server.server_port, [harness.raw_request("GET", "/missing")], 4, 2, begin=0.0)).run()
        assert (outcome.errors, outcome.first_error) == (4, "HTTP/1.1 404 Not Found")

    def test_a_rate_is_kept_and_time_ends_it(self, server: ThreadingHTTPServer) -> None:
        job = Job(server.server_port, [harness.raw_request("GET", "/")], 1000, 2, begin=0.0, seconds=0.5, rate=40.0)
        assert 15 <= len(Client(job).run().took) <= 20

    def test_a_request_of_a_chosen_size_goes_out_as_json(self) -> None:
        head, _, body = harness.raw_request("POST", "/query", {"a": 1}, gzip=True).partition("\r\n\r\n")
        assert json.loads(body) == {"a": 1}
        assert "Accept-Encoding: gzip" in head
        assert f"Content-Length: {len(body)}" in head


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles(share: float, expected: int) -> None:
    assert harness.percentile(list(range(100, 0, -1)), share) == expected


def test_two_things_are_measured_in_turn() -> None:
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    assert harness.alternately(3, lambda: measure("a", 6.0), lambda: measure("b", 2.0)) == (3.0, 6.0, 2.0)
    assert order == ["a", "b", "b", "a", "a", "b"]
