"""``/query``: latest values against a bare Flask route, whole ranges against Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from statistics import median

from benchmarks import history, prometheus
from benchmarks.bench import Bench
from benchmarks.harness import (
    CLIENT_BOUND,
    BenchmarkError,
    Row,
    Server,
    alternately,
    bare,
    bridge,
    fetch,
    gateway_of,
    load,
    raw_request,
)
from benchmarks.history import METRIC, History

LATEST = {"targets": [{"target": METRIC, "refId": "A"}]}
POINTS = 1000
SHIFT_SECONDS = 120.0
"""More than a step, so that two shifted ranges are never the same request on any grid."""
PARALLEL = {"processes": 2, "connections": 4}
"""Two client processes of four connections each."""


def range_body(start: float, end: float) -> dict[str, object]:
    """The request for a range (epoch seconds) in ``POINTS`` points."""
    span = {"from": round(start * 1000), "to": round(end * 1000)}
    return {"targets": [{"target": METRIC, "refId": "A"}], "range": span, "maxDataPoints": POINTS}


def range_request(start: float, end: float, *, gzip: bool = False) -> str:
    """The same as it goes over the wire."""
    return raw_request("POST", "/query", range_body(start, end), gzip=gzip)


@contextmanager
def bridge_over(bench: Bench, recorded: History, *, workers: int = 2) -> Iterator[Server]:
    """The bridge over a history, with a gateway that goes on from there."""
    first = history.poll_number(recorded.end) + 1
    size = {"providers": len(recorded.providers), "models": history.MODELS}
    with (
        gateway_of(bench.folder, **size, first=first) as gateway,
        bridge(recorded.data_dir, gateway.port, workers=workers) as server,
    ):
        yield server


def latest(bench: Bench) -> Iterator[Row]:
    """``/query`` for latest values, against a bare route with the same bytes."""
    sizes, request = bench.sizes, raw_request("POST", "/query", LATEST)
    shares: list[float] = []
    costs: dict[int, list[float]] = {}

    def rate(server: Server) -> float:
        before = server.cpu_seconds()
        result = load(server.port, [request], seconds=sizes.load_seconds, **PARALLEL)
        costs.setdefault(server.port, []).append((server.cpu_seconds() - before) / len(result.took))
        shares.append(result.client_share)
        return result.rate

    folder = bench.new_folder("latest")
    models = history.MODELS
    with (
        gateway_of(folder, providers=sizes.providers, models=models) as gateway,
        bridge(folder / "data", gateway.port) as ours,
        bare(folder, _latest_body(ours, sizes.providers)) as theirs,
    ):
        for server in (ours, theirs):
            load(server.port, [request], count=200, **PARALLEL)
        ratio, our_rate, their_rate = alternately(sizes.rounds, lambda: rate(ours), lambda: rate(theirs))
    our_cost, their_cost = (median(costs[server.port]) * 1000 for server in (ours, theirs))
    figures = (
        f"{ratio:.2f} × ({our_rate:,.0f} against {their_rate:,.0f} requests/s; "
        f"CPU {our_cost:.2f} against {their_cost:.2f} ms{_client_bound(shares)})"
    )
    work = f"/query, {sizes.providers} providers, latest values, warm"
    yield Row(work, "a bare Flask route, same bytes", figures, "≥ 0.8 ×", ratio >= 0.8)


def cold(bench: Bench) -> Iterator[Row]:
    """``/query`` for a range that nobody asked for before, against Prometheus."""
    sizes = bench.sizes
    work = f"/query, {_size(bench)}, cold"
    if not prometheus.available():
        yield _skipped(work, "≤ 0.5 ×")
        return
    step = _step(bench)
    shifts = {"ours": count(), "theirs": count()}

    def ranges(whose: str) -> list[tuple[float, float]]:
        shifted = (next(shifts[whose]) for _ in range(sizes.cold_requests))
        ends = (bench.history.end - number * SHIFT_SECONDS for number in shifted)
        return [(end - sizes.range_seconds, end) for end in ends]

    def took(server: Server, requests: Sequence[str]) -> float:
        return median(load(server.port, requests, count=len(requests)).took)

    with bridge_over(bench, bench.history) as ours:
        theirs = bench.prometheus
        _check_same(bench, ours, theirs)
        ratio, our_time, their_time = alternately(
            sizes.rounds,
            lambda: took(ours, [range_request(*span) for span in ranges("ours")]),
            lambda: took(theirs, [prometheus.query_range(*span, step) for span in ranges("theirs")]),
        )
    figures = f"{ratio:.2f} × ({our_time * 1000:.1f} against {their_time * 1000:.1f} ms)"
    yield Row(work, "Prometheus query_range", figures, "≤ 0.5 ×", ratio <= 0.5)


def warm(bench: Bench) -> Iterator[Row]:
    """The same range again and again, against Prometheus.

    Asked with ``Accept-Encoding: gzip``, as Grafana and browsers ask, where the bridge knows that as Prometheus does;
    without it too.
    """
    sizes = bench.sizes
    work = f"/query, {_size(bench)}, warm"
    if not prometheus.available():
        yield _skipped(work, "≥ 20 ×")
        return
    end, step = bench.history.end, _step(bench)
    start = end - sizes.range_seconds
    shares: list[float] = []

    def rate(server: Server, request: str) -> float:
        result = load(server.port, [request], seconds=sizes.load_seconds, **PARALLEL)
        shares.append(result.client_share)
        return result.rate

    def compare(*, gzip: bool) -> tuple[float, str]:
        ask, ask_theirs = range_request(start, end, gzip=gzip), prometheus.query_range(start, end, step, gzip=gzip)
        load(ours.port, [ask], count=20, **PARALLEL)
        found = alternately(sizes.rounds, lambda: rate(ours, ask), lambda: rate(theirs, ask_theirs))
        how = "gzip" if gzip else "plain"
        return found[0], f"{how}: {found[0]:.1f} × ({found[1]:,.0f} against {found[2]:,.0f} requests/s)"

    with bridge_over(bench, bench.history) as ours:
        theirs = bench.prometheus
        _check_same(bench, ours, theirs)
        compared = [compare(gzip=gzip) for gzip in (True, False) if not gzip or _compresses(ours, start, end)]
    figures = "; ".join(text for _, text in compared) + _client_bound(shares)
    yield Row(work, "Prometheus query_range", figures, "≥ 20 ×", compared[0][0] >= 20)


def _compresses(server: Server, start: float, end: float) -> bool:
    """True when a range is answered compressed to who asks for that."""
    requests = (range_request(start, end, gzip=gzip) for gzip in (True, False))
    compressed, plain = (load(server.port, [request], count=1).outcomes[0].received_bytes for request in requests)
    return compressed < 0.8 * plain


def _size(bench: Bench) -> str:
    sizes = bench.sizes
    return f"{sizes.providers} providers × {sizes.range_seconds / 3600:g} h at 15 s, {POINTS} points"


def _step(bench: Bench) -> float:
    return max(history.INTERVAL_SECONDS, int(bench.sizes.range_seconds / POINTS))


def _latest_body(server: Server, providers: int) -> bytes:
    status, body = fetch(server.port, "POST", "/query", LATEST)
    if status != 200 or len(json.loads(body)) != providers:
        raise BenchmarkError(f"/query for latest values answers {status}: {body[:200]!r}")
    return body


def _check_same(bench: Bench, ours: Server, theirs: Server) -> None:
    """Both answer every provider with about as many points as were asked for."""
    end = bench.history.end
    start, step = end - bench.sizes.range_seconds, _step(bench)
    our_series = json.loads(fetch(ours.port, "POST", "/query", range_body(start, end))[1])
    path = f"/api/v1/query_range?{prometheus.query(start, end, step)}"
    their_series = json.loads(fetch(theirs.port, "GET", path)[1])["data"]["result"]
    expected = min(POINTS, bench.sizes.range_seconds / history.INTERVAL_SECONDS)
    for name, points in (
        ("the bridge", [len(one["datapoints"]) for one in our_series]),
        ("Prometheus", [len(one["values"]) for one in their_series]),
    ):
        if len(points) != bench.sizes.providers or not 0.8 * expected < min(points) <= max(points) < 1.3 * expected:
            raise BenchmarkError(f"{name} answers {len(points)} series of {sorted(set(points))[:5]} points")


def _client_bound(shares: Sequence[float]) -> str:
    busiest = max(shares)
    return f"; client-bound: it took {busiest:.0%} of a core" if busiest > CLIENT_BOUND else ""


def _skipped(work: str, bar: str) -> Row:
    return Row(work, "Prometheus query_range", "Prometheus is not installed", bar, None)
