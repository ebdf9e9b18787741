"""The peer of range queries: a real Prometheus over the very same samples, in blocks that promtool makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from benchmarks.harness import raw_request
from benchmarks.history import METRIC, Floats, History
from benchmarks.servers import BenchmarkError, Server, free_port, serve

BLOCK_DURATION = "24h"
"""Blocks as large as compaction would make them within a day; nothing is left to compact while it is measured."""


class Series(NamedTuple):
    """A metric's samples under one set of labels."""

    metric: str
    labels: Mapping[str, str]
    times: Floats
    """Epoch seconds."""
    values: Floats
    """As many; NaN where there is no sample."""


def available() -> bool:
    """True where Debian's package ``prometheus`` is installed."""
    return all(shutil.which(program) for program in ("prometheus", "promtool"))


@contextmanager
def serving(folder: Path, history: History, seconds: float) -> Iterator[Server]:
    """A Prometheus with the last ``seconds`` of a history."""
    kept = history.times >= history.end - seconds
    data = blocks_of(
        folder,
        [
            Series(METRIC, {"provider": provider}, history.times[kept], scores[kept])
            for provider, scores in zip(history.providers, history.scores.T, strict=True)
        ],
    )
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


def blocks_of(folder: Path, series: Sequence[Series]) -> Path:
    """The folder of a Prometheus with these samples, in blocks."""
    text, data = folder / "samples.openmetrics", folder / "prometheus"
    _write(text, series)
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
    return data


def _write(path: Path, series: Sequence[Series]) -> None:
    with path.open("w") as file:
        for metric, group in groupby(series, key=lambda one: one.metric):
            file.write(f"# TYPE {metric} gauge\n")
            for _, labels, times, values in group:
                inside = ",".join(f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in labels.items())
                head = f"{metric}{{{inside}}}" if inside else metric
                file.writelines(
                    f"{head} {value!r} {at:.3f}\n"
                    for at, value in zip(times.tolist(), values.tolist(), strict=True)
                    if value == value
                )
        file.write("# EOF\n")
