"""``python -m benchmarks [NAME…]``: measures the bridge against its peers, a line each; all of them without a NAME.

Exit status: 0 when every line that was measured reached its bar, 1 otherwise.
"""

# ruff: noqa: T201 (what it prints is what it is for)

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import answers, disk, growth, polls, reading, restart, service
from benchmarks.bench import QUICK, Bench, Sizes
from benchmarks.harness import Row
from benchmarks.servers import BenchmarkError

LINES: Mapping[str, Callable[[Bench], Iterator[Row]]] = {
    "latest": answers.latest,
    "cold": answers.cold,
    "warm": answers.warm,
    "start": service.start,
    "intervals": service.intervals,
    "reading": reading.reading,
    "poll": polls.poll,
    "first": restart.first,
    "p99": reading.p99,
    "disk": disk.disk,
    "growth": growth.growth,
}
WIDTHS = (56, 32, 76, 10)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the result is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(LINES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that everything runs")
    chosen = parser.parse_args(arguments)
    unknown = sorted({*chosen.names} - {*LINES})
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; names are {', '.join(LINES)}")
    return run(chosen.names or list(LINES), QUICK if chosen.quick else Sizes())


def run(names: Sequence[str], sizes: Sizes) -> int:
    """Measure these lines and print them as they are done."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every ``with`` block: servers are ended
    began, reached = time.monotonic(), True
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d %H:%M %Z')}\n")
    _print("work", "against", "measured", "to reach", "result  | took")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-bench-")))
        bench = Bench(folder, sizes, stack)
        for name in names:
            since = time.monotonic()
            for row in _rows(name, bench):
                result = {True: "pass", False: "FAIL", None: "skipped"}[row.passed]
                _print(row.work, row.against, row.measured, row.bar, f"{result:7} | {time.monotonic() - since:3.0f} s")
                since = time.monotonic()
                reached = reached and row.passed is not False
    print(f"\n{'all reached' if reached else 'NOT ALL REACHED'}, in {time.monotonic() - began:.0f} s")
    return 0 if reached else 1


def _rows(name: str, bench: Bench) -> Iterator[Row]:
    try:
        yield from LINES[name](bench)
    except (BenchmarkError, OSError) as error:
        yield Row(name, "–", f"could not be measured: {error}", "", False)


def _print(*cells: str) -> None:
    padded = [cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=False)]
    print(" | ".join([*padded, *cells[len(WIDTHS) :]]).rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
