"""Ten times as much, and how much longer it takes: range, providers, lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from statistics import median

from benchmarks.answers import SHIFT_SECONDS, bridge_over, range_request
from benchmarks.bench import Bench
from benchmarks.harness import Row, alternately, load
from benchmarks.reading import Reading
from benchmarks.servers import Server

MOST = 12.0


def growth(bench: Bench) -> Iterator[Row]:
    """A range ten times as long; ten times as many providers, asked for and read."""
    sizes = bench.sizes
    shifts: defaultdict[tuple[int, float], Iterator[int]] = defaultdict(count)

    def took(server: Server, seconds: float) -> float:
        shifted = shifts[server.port, seconds]
        ends = [
            bench.tenfold_history.end - next(shifted) * SHIFT_SECONDS for _ in range(max(1, sizes.cold_requests // 2))
        ]
        return median(load(server.port, [range_request(end - seconds, end) for end in ends], count=len(ends)).took)

    rounds = min(3, sizes.rounds)
    long, short = sizes.range_seconds, sizes.range_seconds / 10
    with bridge_over(bench, bench.history) as one, bridge_over(bench, bench.tenfold_history) as ten:
        for server in (one, ten):
            took(server, long)
        by_range = alternately(rounds, lambda: took(one, long), lambda: took(one, short))
        by_providers = alternately(rounds, lambda: took(ten, long), lambda: took(one, long))
    hours = f"{long / 3600:g} h"
    yield _row(f"10 × range: {hours} × {sizes.providers} providers, cold", f"{short / 3600:g} h", by_range)
    work = f"10 × providers: {sizes.tenfold_providers} × {hours}, cold"
    yield _row(work, f"{sizes.providers} providers", by_providers)

    small = Reading(providers=sizes.providers, lines=sizes.lines)
    large = Reading(providers=sizes.tenfold_providers, lines=10 * sizes.lines)
    by_lines = alternately(rounds, large.next_seconds, small.next_seconds)
    work = f"10 × providers: reading {10 * sizes.lines:,} lines again"
    yield _row(work, f"{sizes.lines:,} lines", by_lines)


def _row(work: str, against: str, measured: tuple[float, float, float]) -> Row:
    ratio, ours, theirs = measured
    figures = f"{ratio:.1f} × ({ours * 1000:.1f} against {theirs * 1000:.1f} ms)"
    return Row(work, against, figures, f"≤ {MOST:g} ×", ratio <= MOST)
