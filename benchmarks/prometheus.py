"""The peer of range queries: a real Prometheus over the very same samples, in blocks that promtool makes of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.harness import raw_request
from benchmarks.history import METRIC, History
from benchmarks.servers import BenchmarkError, Server, free_port, serve

BLOCK_DURATION = "24h"
"""Blocks as large as compaction would make them within a day; nothing is left to compact while it is measured."""


def available() -> bool:
    """True where Debian's package ``prometheus`` is installed."""
    return all(shutil.which(program) for program in ("prometheus", "promtool"))


@contextmanager
def serving(folder: Path, history: History, seconds: float) -> Iterator[Server]:
    """A Prometheus with the last ``seconds`` of a history."""
    text, data = folder / "samples.openmetrics", folder / "prometheus"
    _write(text, history, history.end - seconds)
    made = subprocess.run(
        [
            *("promtool", "tsdb", "create-blocks-from", "openmetrics"),
            *("--quiet", f"--max-block-duration={BLOCK_DURATION}", str(text), str(data)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if made.returncode:
        raise BenchmarkError(f"promtool made no blocks: {made.stderr.strip()}")
    text.unlink()
    configuration, port = folder / "prometheus.yml", free_port()
    configuration.write_text("scrape_configs: []\n")
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=1y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with serve(command, port, folder=folder, ready="/-/ready") as server:
        yield server


def query_range(start: float, end: float, step: float, *, gzip: bool = False) -> str:
    """The request for ``METRIC`` over a range (epoch seconds)."""
    return raw_request("GET", f"/api/v1/query_range?{query(start, end, step)}", gzip=gzip)


def query(start: float, end: float, step: float) -> str:
    """The arguments of that request."""
    return urlencode({"query": METRIC, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"})


def _write(path: Path, history: History, start: float) -> None:
    with path.open("w") as file:
        file.write(f"# TYPE {METRIC} gauge\n")
        for at, scores in zip(history.times.tolist(), history.scores.tolist(), strict=True):
            if at >= start:
                file.writelines(
                    f'{METRIC}{{provider="{provider}"}} {score!r} {at:.3f}\n'
                    for provider, score in zip(history.providers, scores, strict=True)
                    if score == score
                )
        file.write("# EOF\n")
