"""``/query``: latest values against a bare Flask route, whole ranges against Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median

from benchmarks import history, prometheus
from benchmarks.bench import HOUR, Bench
from benchmarks.harness import Row, Watch, alternately, load, raw_request
from benchmarks.history import METRIC, History
from benchmarks.servers import BenchmarkError, Server, bare, bridge, fetch, gateway_of

LATEST = {"targets": [{"target": METRIC, "refId": "A"}]}
POINTS = 1000
SHIFT_SECONDS = 120.0
"""More than a step, so that two shifted ranges are never the same request on any grid."""
COLD, WARM_GZIP, WARM = 0.5, 60.0, 8.0
"""Of Prometheus' time at most, uncompressed; and of its requests/s at least, compressed and uncompressed."""
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
    sizes, request, watch = bench.sizes, raw_request("POST", "/query", LATEST), Watch()

    def rate(server: Server) -> float:
        return watch.load(server, [request], seconds=sizes.load_seconds, **PARALLEL).rate

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
    figures = f"{ratio:.2f} × ({our_rate:,.0f} against {their_rate:,.0f} requests/s; {watch.costs(ours, theirs)})"
    work = f"/query, {sizes.providers} providers, latest values, warm"
    yield Row(work, "a bare Flask route, same bytes", figures, "≥ 0.8 ×", ratio >= 0.8)


def cold(bench: Bench) -> Iterator[Row]:
    """``/query`` for ranges not asked for before, one after another, against Prometheus."""
    sizes, step = bench.sizes, _step(bench)

    def compare(ours: Server, theirs: Server, gzip: bool) -> tuple[float, str]:
        watch = Watch()
        first = sizes.rounds * sizes.cold_requests if gzip else 0
        shifts = {server.port: count(first) for server in (ours, theirs)}

        def took(server: Server) -> float:
            ends = [bench.history.end - next(shifts[server.port]) * SHIFT_SECONDS for _ in range(sizes.cold_requests)]
            spans = [(end - sizes.range_seconds, end) for end in ends]
            if server is ours:
                requests = [range_request(*span, gzip=gzip) for span in spans]
            else:
                requests = [prometheus.query_range(*span, step, gzip=gzip) for span in spans]
            return median(watch.load(server, requests, count=len(requests)).took)

        ratio, our_time, their_time = alternately(sizes.rounds, lambda: took(ours), lambda: took(theirs))
        times = f"{our_time * 1000:.1f} against {their_time * 1000:.1f} ms"
        return ratio, f"{ratio:.2f} × {_how(gzip)} ({times}; {watch.costs(ours, theirs)})"

    bar = f"≤ {COLD:g} × plain"
    yield _against_prometheus(bench, "cold", compare, bar, lambda _, plain: plain <= COLD)


def warm(bench: Bench) -> Iterator[Row]:
    """The same range again and again, as fast as each server answers it, against Prometheus."""
    sizes, step = bench.sizes, _step(bench)

    def compare(ours: Server, theirs: Server, gzip: bool) -> tuple[float, str]:
        watch, end = Watch(), bench.history.end
        start = end - sizes.range_seconds
        request = {
            ours.port: range_request(start, end, gzip=gzip),
            theirs.port: prometheus.query_range(start, end, step, gzip=gzip),
        }
        load(ours.port, [request[ours.port]], count=20, **PARALLEL)

        def rate(server: Server) -> float:
            return watch.load(server, [request[server.port]], seconds=sizes.load_seconds, **PARALLEL).rate

        ratio, our_rate, their_rate = alternately(sizes.rounds, lambda: rate(ours), lambda: rate(theirs))
        rates = f"{our_rate:,.0f} against {their_rate:,.0f} requests/s"
        return ratio, f"{ratio:.1f} × {_how(gzip)} ({rates}; {watch.costs(ours, theirs)})"

    bar = f"≥ {WARM_GZIP:g} × gzip, {WARM:g} × plain"
    yield _against_prometheus(bench, "warm", compare, bar, lambda gzip, plain: gzip >= WARM_GZIP and plain >= WARM)


Compare = Callable[[Server, Server, bool], tuple[float, str]]
"""Measures the bridge and Prometheus, compressed or not: the ratio, and all of it in words."""


def _against_prometheus(
    bench: Bench, state: str, compare: Compare, bar: str, reached: Callable[[float, float], bool]
) -> Row:
    """One line beside Prometheus: compressed, as Grafana and browsers ask, and not. ``reached`` takes both ratios."""
    sizes = bench.sizes
    work = f"/query, {sizes.providers} providers × {sizes.range_seconds / HOUR:g} h at 15 s, {POINTS} points, {state}"
    against = "Prometheus query_range"
    if not prometheus.available():
        return Row(work, against, "Prometheus is not installed", bar, None)
    with bridge_over(bench, bench.history) as ours:
        theirs = bench.prometheus
        _check_same(bench, ours, theirs)
        measured = [compare(ours, theirs, gzip) for gzip in (True, False)]
    (with_gzip, _), (plain, _) = measured
    return Row(work, against, ", ".join(text for _, text in measured), bar, reached(with_gzip, plain))


def _how(gzip: bool) -> str:
    return "gzip" if gzip else "plain"


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
