"""Reading a large exposition once more, against prometheus_client's own parser; and answers while that goes on."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from statistics import median

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.answers import LATEST
from benchmarks.bench import Bench
from benchmarks.expositions import exposition, models_for
from benchmarks.harness import Row, alternately, load, percentile, raw_request
from benchmarks.servers import BenchmarkError, Server, bridge, gateway_of, poll_spans
from benchmarks.source import Hand, source_of
from bridge.model import Learnt, Signals

REQUESTS_A_SECOND = 150.0
POLLS_AHEAD = 64
P99_ROUNDS = 5
"""With these some hundred requests fall into polls, which are a second apart, and 4,500 into rest."""
P99_DELAY_SECONDS = 0.015


class Reading:
    """A gateway's expositions, read one poll after another as the bridge's poller does."""

    def __init__(self, *, providers: int, lines: int) -> None:
        self._providers, self._lines = providers, lines
        self._models = models_for(lines, providers)
        self._hand = Hand()
        self._source = source_of(self._hand)
        self._poll = 0
        self.next_seconds()

    def next_seconds(self) -> float:
        """How long the next poll's exposition takes, every value in it being new."""
        self._poll += 1
        self._hand.body = exposition(self._poll, providers=self._providers, models=self._models, lines=self._lines)
        found: list[Signals] = []
        seconds = timed(lambda: found.append(self._source.read(Learnt())))
        if found[0].rejected_lines or len(found[0].providers) != self._providers:
            raise BenchmarkError(f"read {len(found[0].providers)} providers, rejected {found[0].rejected_lines} lines")
        return seconds

    def parser_seconds(self) -> float:
        """How long prometheus_client's parser takes for the same text."""
        return parser_seconds(self._hand.body)


def timed(work: Callable[[], object]) -> float:
    """Seconds of CPU that some work takes, begun on a clean heap: it is one thread's, and neighbours do not count."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def parser_seconds(body: bytes) -> float:
    """How long prometheus_client's parser takes for an exposition."""
    text = body.decode()
    return timed(lambda: sum(len(family.samples) for family in text_string_to_metric_families(text)))


def reading(bench: Bench) -> Iterator[Row]:
    """Reading the lines again, one poll later, against the parser alone."""
    sizes = bench.sizes
    read = Reading(providers=sizes.providers, lines=sizes.lines)
    ratio, ours, theirs = alternately(sizes.readings, read.next_seconds, read.parser_seconds)
    figures = f"{ratio:.3f} × ({ours * 1000:.0f} against {theirs * 1000:.0f} ms)"
    work = f"reading {sizes.lines:,} lines again, one poll later"
    yield Row(work, "prometheus_client's parser alone", figures, "≤ 0.06 ×", ratio <= 0.06)


def p99(bench: Bench) -> Iterator[Row]:
    """p99 of ``/query`` while such polls go on, against p99 at rest: a steady, modest load on one worker."""
    sizes, folder = bench.sizes, bench.new_folder("p99")
    request = raw_request("POST", "/query", LATEST)
    size = {"providers": sizes.providers, "models": models_for(sizes.lines, sizes.providers), "lines": sizes.lines}
    busy_took: list[float] = []
    polls: list[float] = []
    (folder / "rest").mkdir()
    (folder / "busy").mkdir()

    def measure(server: Server) -> tuple[list[float], list[float]]:
        result = load(server.port, [request], seconds=sizes.steady_seconds, rate=REQUESTS_A_SECOND, connections=4)
        return result.sent, result.took

    with (
        gateway_of(folder, **size, ahead=4) as calm,
        gateway_of(folder, **size, ahead=POLLS_AHEAD) as pressing,
        bridge(folder / "rest" / "data", calm.port, workers=1, interval="1h") as rest,
        bridge(folder / "busy" / "data", pressing.port, workers=1, interval="1s") as busy,
    ):
        _wait_for_polls(busy, pressing, 3)

        def at_rest() -> float:
            with busy.paused():
                return percentile(measure(rest)[1], 0.99)

        def while_read() -> float:
            sent, took = measure(busy)
            spans = poll_spans(busy, pressing)
            polls.extend(end - begin for begin, end in spans)
            meanwhile = [
                seconds
                for at, seconds in zip(sent, took, strict=True)
                if any(begin < at + seconds and at < end for begin, end in spans)
            ]
            if not meanwhile:
                raise BenchmarkError("no request fell into a poll")
            busy_took.extend(meanwhile)
            return percentile(meanwhile, 0.99)

        _, ours, theirs = alternately(min(P99_ROUNDS, sizes.rounds), while_read, at_rest)
    figures = (
        f"{(ours - theirs) * 1000:+.1f} ms (p99 {ours * 1000:.1f} against {theirs * 1000:.1f} ms; "
        f"{len(busy_took)} requests in polls of {median(polls):.2f} s)"
    )
    work = f"p99 of /query while {sizes.lines:,} lines are polled"
    bar = f"≤ +{P99_DELAY_SECONDS * 1000:g} ms"
    yield Row(work, "p99 at rest", figures, bar, ours - theirs <= P99_DELAY_SECONDS)


def _wait_for_polls(server: Server, gateway: Server, count: int) -> None:
    last = time.monotonic() + 60.0
    while len(poll_spans(server, gateway)) < count:
        if time.monotonic() > last:
            raise BenchmarkError(f"the bridge's log does not tell of {count} polls")
        time.sleep(0.2)
