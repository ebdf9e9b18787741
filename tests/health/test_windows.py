"""Counters over time: PromQL's increase and quantiles, through resets and holes, in bounded memory."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health import windows
from bridge.health.increase import histogram_quantile
from bridge.health.windows import Window
from bridge.model import CounterId, Counters
from tests.health.polls import INTERVAL, START, Bridge, says


def counter(name: str, signal: str = "requests") -> CounterId:
    return CounterId(signal, name, "", "", f"{signal} of {name}")


A, B = counter("a"), counter("b")
A2, A3 = A._replace(series="a by another name"), A._replace(series="a as well")
Samples = Sequence[float | None]


def window(of: Samples, seconds: float = 300.0, every: float = INTERVAL) -> Window:
    """A window over one counter; None is a poll without it."""
    grown = Window(seconds)
    for number, value in enumerate(of):
        grown = after(grown, START + every * number, {} if value is None else {A: value})
    return grown


def after(window: Window, at: float, counters: Mapping[CounterId, float]) -> Window:
    """The window after one more poll."""
    return window.append(at, Counters.of(counters))[0]


def increases(of: Window) -> dict[CounterId, float]:
    """What is known of the increase of each series, over all of the window."""
    since = of.times[-1] - of.seconds if of.times else 0.0
    return {counter: rise for counter, rise in zip(of.ids, of.increases(since).tolist(), strict=True) if rise == rise}


def values(of: Window) -> list[list[float]]:
    """A row a series."""
    return np.array(of.rows).T.tolist()


def prometheus_increase(of: Samples, seconds: float, every: float = INTERVAL) -> float | None:
    """``extrapolatedRate`` of promql/functions.go (Prometheus 2.42) for ``increase``, line by line."""
    end = every * (len(of) - 1)
    start = end - seconds
    points = [(every * n, value) for n, value in enumerate(of) if value is not None and every * n >= start]
    if len(points) < 2:
        return None
    result = points[-1][1] - points[0][1]
    previous = points[0][1]
    for _, value in points[1:]:
        if value < previous:
            result += previous
        previous = value
    to_start, to_end = points[0][0] - start, end - points[-1][0]
    sampled = points[-1][0] - points[0][0]
    average = sampled / (len(points) - 1)
    if result > 0 and points[0][1] >= 0:
        to_start = min(to_start, sampled * (points[0][1] / result))
    threshold = average * 1.1
    extrapolated = sampled
    extrapolated += to_start if to_start < threshold else average / 2
    extrapolated += to_end if to_end < threshold else average / 2
    return result * (extrapolated / sampled)


class TestIncrease:
    @pytest.mark.parametrize(
        ("samples", "increase"),
        [
            pytest.param([100.0 + n for n in range(21)], 20.0, id="the whole window"),
            pytest.param([7.0] * 21, 0.0, id="nothing moved"),
            pytest.param([100.0 + n for n in range(41)], 20.0, id="what is older does not count"),
            pytest.param([*(100.0 + n for n in range(11)), *(1.0 + n for n in range(10))], 20.0, id="a reset"),
            pytest.param([9.0, 0.0, 9.0, 0.0, 9.0], 18 * 67.5 / 60, id="many resets"),
            pytest.param([1000.0, 1010.0], 10 * 22.5 / 15, id="extrapolated by half a step at the start"),
            pytest.param([2.0, 10.0], 8 * (15 + 15 * 2 / 8) / 15, id="or to where it would have been zero"),
            pytest.param([0.0, 10.0], 10.0, id="never below zero"),
            pytest.param([*(1.0 * n for n in range(1000, 1020)), None], 19 * 300 / 285, id="and to the end"),
        ],
    )
    def test_is_what_promql_says(self, samples: Samples, increase: float) -> None:
        assert increases(window(samples)) == {A: pytest.approx(increase)}
        assert prometheus_increase(samples, 300.0) == pytest.approx(increase)

    def test_one_sample_is_not_enough(self) -> None:
        assert increases(Window(300.0)) == {}
        assert increases(window([5.0])) == {}
        assert increases(window([None, 5.0, None])) == {}

    @settings(deadline=None)
    @given(
        st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=1, max_size=30),
        st.sampled_from([60.0, 150.0, 300.0]),
    )
    def test_agrees_with_prometheus_on_any_resets_and_holes(self, samples: list[int | None], seconds: float) -> None:
        [found] = [*increases(window(samples, seconds)).values()] or [None]
        expected = prometheus_increase(samples, seconds)
        assert found == (None if expected is None else pytest.approx(expected, rel=1e-12))

    @settings(deadline=None)
    @given(st.lists(st.one_of(st.none(), st.floats(0, 1e15)), min_size=2, max_size=30))
    def test_is_never_negative_nor_unreal(self, samples: list[float | None]) -> None:
        assert all(rise >= 0 and math.isfinite(rise) for rise in increases(window(samples)).values())

    def test_series_do_not_touch_each_other(self) -> None:
        both = Window(300.0)
        for number in range(21):
            both = after(both, START + 15 * number, {A: float(number), B: 1000.0 - (number == 20) * 999})
        assert increases(both) == {A: pytest.approx(20.0), B: pytest.approx(1.0)}


class TestMemory:
    def test_series_that_are_gone_are_dropped_with_their_last_sample(self) -> None:
        grown = after(Window(30.0), START, {A: 1.0, B: 1.0})
        for number in (1, 2):
            grown = after(grown, START + 15 * number, {A: 1.0})
            assert grown.ids == (A, B)
        grown = after(grown, START + 45, {A: 1.0})
        assert grown.ids == (A,)
        assert np.array(grown.rows).T.shape == (1, 3), "both ends of 30 s"

    def test_appending_leaves_the_window_before_as_it_was(self) -> None:
        before = window([1.0, 2.0])
        after(before, START + 30, {A: 3.0, B: 1.0})
        assert before.ids == (A,)
        assert values(before) == [[1.0, 2.0]]

    def test_a_gateway_that_renames_everything_in_every_poll_does_not_grow_what_is_remembered(self) -> None:
        reader, translator, bridge = ExpositionReader(), Translator(select("auto")), Bridge()
        sizes = []
        for number in range(260):
            lines = [
                f'model_inference_requests_total{{provider="p{number}",model="m{model}",status="{status}"}} 5\n'
                for model in range(5)
                for status in ("success", "error")
            ]
            bridge.poll(translator.translate(reader.read("".join(lines).encode())))
            memory = bridge.memory
            remembered = (len(memory.counters), len(memory.circuits), len(memory.derivations), len(memory.absences))
            windows = (len(memory.window.past), len(memory.window.rows), len(memory.window.ids))
            read = (len(reader._known), len(translator._plan.counter_ids))
            sizes.append((*read, *remembered, len(memory.statuses), *windows))
        assert sizes[-1][:2] == (10, 15), "reader and translator know the last exposition alone"
        assert sizes[-1] == sizes[-10], "and nothing grows once the window is full"
        assert sizes[-1][-1] <= 15 * 21, "no more than the series of requests and failures of each poll of the window"

    def test_derived_circuits_of_models_that_are_renamed_go_with_the_last_trace_of_them(self) -> None:
        bridge = Bridge()
        sizes = []
        for number in range(300):
            names = (f"p/{number}-{model}" for model in range(3))
            steady = {"p/steady": number * 5.0}
            renamed = dict.fromkeys(names, 10.0)
            bridge.poll(says(requests=renamed | steady, failures=renamed))
            sizes.append((len(bridge.memory.circuits), len(bridge.memory.derivations)))
        assert {circuit.state.name for circuit in bridge.memory.circuits.values() if circuit.state} >= {"OPEN"}
        assert sizes[-1] == sizes[-20], "circuits that opened and whose models are gone are kept for ever"


class TestManySeriesThatAreGone:
    """A gateway may name all its series anew in every poll; a window holds only so many of those that are gone."""

    @staticmethod
    def of_poll(number: int, *, renamed: int) -> dict[CounterId, float]:
        """Two series that stay, and others under new names."""
        return {A: 10.0 * number, B: float(number)} | {counter(f"{number}-{one}"): 5.0 for one in range(renamed)}

    def test_those_gone_for_longest_are_forgotten_and_the_others_are_as_exact_as_ever(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(windows, "MAX_SERIES", 20)
        capped = Window(300.0)
        for number in range(30):
            capped = after(capped, START + INTERVAL * number, self.of_poll(number, renamed=5))
        assert capped.ids[:2] == (A, B)
        assert {name.provider for name in capped.ids[2:]} == {
            *(f"{number}-{one}" for number in (27, 28, 29) for one in range(5)),
            *(f"26-{one}" for one in range(3)),
        }
        assert increases(capped) == {A: 200.0, B: 20.0}
        assert capped.forgotten == 5

    def test_those_that_are_there_are_never_forgotten_however_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(windows, "MAX_SERIES", 20)
        everyone = {counter(str(one)): float(one) for one in range(50)}
        grown = Window(300.0)
        for number in range(5):
            grown = after(grown, START + INTERVAL * number, everyone)
        assert len(increases(grown)) == 50
        assert grown.forgotten == 0
        assert after(grown, START + INTERVAL * 5, {A: 1.0}).forgotten == 31

    def test_at_short_intervals_there_are_fewer_so_that_bytes_are_bounded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(windows, "MAX_VALUES", 1_000)
        grown = Window(3600.0)
        for number in range(200):
            grown = after(grown, START + number, self.of_poll(number, renamed=1))
            assert len(grown.rows) * len(grown.ids) <= 1_000

    def test_memory_stays_under_100_mib_where_it_would_be_hundreds(self) -> None:
        tracemalloc.start()
        try:
            grown = Window(3600.0)
            for number in range(48):
                grown = after(grown, START + 75.0 * number, self.of_poll(number, renamed=3_000))
                grown.increases(grown.since()[grown.index.provider_of])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(grown.ids) == windows.MAX_SERIES
        assert peak < 100 * 2**20, f"{peak / 2**20:.0f} MiB"

    def test_it_is_told_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(windows, "MAX_SERIES", 20)
        bridge = Bridge()
        for number in range(5):
            names = [f"p/{number}-{one}" for one in range(5)]
            notices = bridge.poll(says(requests=dict.fromkeys(names, 5.0))).notices
        assert notices == (
            "the gateway keeps naming its series anew: 5 that are gone were forgotten before their time",
        )


class TestRises:
    """What a counter rose by from one poll to the next."""

    @pytest.mark.parametrize(
        ("polls", "rise"),
        [
            pytest.param([{A: 3.0}, {A: 5.0}], {A: 2.0}, id="rose"),
            pytest.param([{A: 3.0}, {A: 3.0}], {A: 0.0}, id="stood"),
            pytest.param([{A: 30.0}, {A: 5.0}], {A: 5.0}, id="reset: all of it is new"),
            pytest.param([{A: 5.0}], {}, id="first poll: its past is unknown"),
            pytest.param([{B: 1.0}, {A: 5.0, B: 1.0}], {A: 5.0, B: 0.0}, id="new among others: from zero"),
            pytest.param([{A: 5.0}, {}], {}, id="gone"),
            pytest.param([{A: 5.0, B: 1.0}, {B: 1.0}, {A: 7.0, B: 1.0}], {A: 2.0, B: 0.0}, id="missed one poll"),
            pytest.param([{A: 5.0}, {A2: 5.0}], {}, id="goes by another name"),
            pytest.param([{A: 5.0, A3: 9.0}, {A2: 1.0, A3: 2.0}], {A2: 1.0, A3: 2.0}, id="after a restart: from zero"),
        ],
    )
    def test_are_what_is_known_to_be_new(
        self, polls: Sequence[dict[CounterId, float]], rise: dict[CounterId, float]
    ) -> None:
        grown = Window(300.0)
        for number, counters in enumerate(polls):
            grown, rises = grown.append(START + 15 * number, Counters.of(counters))
        found = zip(rises.index.ids, rises.amounts.tolist(), strict=True)
        assert {counter: amount for counter, amount in found if amount == amount} == rise

    @pytest.mark.parametrize("minutes", [2, 6, 60])
    def test_a_series_that_returns_has_risen_by_what_it_has_more(self, minutes: int) -> None:
        grown = after(after(Window(300.0), START, {A: 1e5, B: 1.0}), START + 15, {A: 1e5, B: 1.0})
        for number in range(2, 2 + 4 * minutes):
            grown = after(grown, START + 15 * number, {B: 1.0})
        _, rises = grown.append(START + 15 * (4 * minutes + 2), Counters.of({A: 1e5 + 3, B: 1.0}))
        assert rises.amounts[rises.index.ids.index(A)] == 3.0
        assert rises.begins[rises.index.ids.index(A)] == START + 15, "and all that time is what it took"

    def test_once_more_series_are_gone_than_can_be_remembered_one_that_appears_adds_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(windows, "MAX_PAST", 2)
        grown = after(Window(30.0), START, {counter(str(one)): 1e6 for one in range(5)} | {B: 1.0})
        for number in range(1, 5):
            grown = after(grown, START + 15 * number, {B: 1.0})
        _, rises = grown.append(START + 75, Counters.of({counter("4"): 1e6, B: 1.0}))
        assert not rises.amounts[np.isfinite(rises.amounts)].any()


INF = math.inf


class TestHistogramQuantile:
    @pytest.mark.parametrize(
        ("quantile", "buckets", "value"),
        [
            pytest.param(0.5, {1: 0, 2: 10, INF: 10}, 1.5, id="linear within a bucket"),
            pytest.param(0.95, {1: 50, 2: 100, INF: 100}, 1.9, id="95th"),
            pytest.param(0.5, {1: 10, INF: 10}, 0.5, id="the first bucket begins at 0"),
            pytest.param(0.5, {-1: 10, 1: 10, INF: 10}, -1, id="unless its bound is not above 0"),
            pytest.param(0.5, {0: 10, INF: 10}, 0, id="a first bound of 0"),
            pytest.param(0.5, {-1: 0, 1: 10, INF: 10}, 0, id="from one side of 0 to the other"),
            pytest.param(0.95, {1: 0, 2: 0, INF: 10}, 2, id="beyond all bounds: the highest finite one"),
            pytest.param(0.99, {1: 90, 2: 95, INF: 100}, 2, id="in the last bucket"),
            pytest.param(0.5, {2: 10, 1: 0, INF: 10}, 1.5, id="in any order"),
            pytest.param(0.5, {1: 0, 2: 10, 3: 9, INF: 10}, 1.5, id="counts that fall are held up"),
            pytest.param(1.0, {1: 0, 2: 10, 3: 10, INF: 10}, 2, id="all of it"),
            pytest.param(0.5, {1: 0, 2: 0, INF: 0}, None, id="no observations"),
            pytest.param(0.5, {1: 5, 2: 10}, None, id="no +Inf"),
            pytest.param(0.5, {INF: 10}, None, id="nothing but +Inf"),
            pytest.param(0.5, {}, None, id="no buckets"),
        ],
    )
    def test_is_what_promql_says(self, quantile: float, buckets: dict[float, float], value: float | None) -> None:
        assert histogram_quantile(quantile, buckets.items()) == (None if value is None else pytest.approx(value))

    @settings(deadline=None)
    @given(st.dictionaries(st.floats(0.001, 1e6), st.integers(0, 1000), min_size=1, max_size=12), st.integers(1, 1000))
    def test_lies_within_the_bounds_and_rises_with_the_quantile(self, counts: dict[float, int], beyond: int) -> None:
        cumulative, total = {}, 0
        for bound in sorted(counts):
            total += counts[bound]
            cumulative[bound] = float(total)
        cumulative[INF] = float(total + beyond)
        values = [histogram_quantile(share, cumulative.items()) for share in (0.05, 0.5, 0.95, 0.99)]
        assert all(value is not None and 0 <= value <= max(counts) for value in values)
        assert values == sorted(values)


class TestTraffic:
    """The windows as the verdicts show them."""

    def test_rates_ratios_and_latency_are_over_five_minutes(self) -> None:
        bridge = Bridge()
        for n in range(41):
            bridge.poll(
                says(
                    requests={"groq/a": 100 + 3 * n, "groq/b": 100 + n},
                    failures={"groq/a": 10 + n, "groq/b": 0},
                    buckets={"groq": {"1": 0, "2": 100 + 2 * n, "4": 100 + 4 * n, "+Inf": 100 + 4 * n}},
                    seconds={"groq": 100 + 8 * n},
                )
            )
        assert bridge.value("groq", "provider_request_rate") == 0.267
        assert bridge.value("groq", "provider_error_rate") == pytest.approx(20 / 80)
        assert bridge.value("groq", "provider_latency_seconds") == pytest.approx(160 / 80)
        assert bridge.value("groq", "provider_latency_p95_seconds") == pytest.approx(2 + 2 * 36 / 40)
        assert bridge.snapshot.model_error_rates == {
            ("groq", "a"): 0.3333,
            ("groq", "b"): 0,
        }
        assert bridge.snapshot.fleet["fleet_error_rate"] == pytest.approx(20 / 80)
        assert bridge.snapshot.fleet["fleet_requests"] == 100 + 3 * 40 + 100 + 40

    def test_a_provider_that_never_failed_has_an_error_rate_of_zero(self) -> None:
        """Clients show no series of failures before the first."""
        bridge = Bridge()
        for n in (0, 5):
            bridge.poll(says(requests={"groq": n, "xai": n}, failures={"xai": 0}))
        assert bridge.value("groq", "provider_error_rate") == 0

    def test_the_fleets_error_rate_is_of_all_its_requests(self) -> None:
        bridge = Bridge()
        for n in (1000, 1100):
            bridge.poll(says(requests={"groq": n, "xai": 3 * n}, failures={"groq": n / 2, "xai": 0}))
        assert bridge.value("groq", "provider_error_rate") == pytest.approx(0.5)
        assert bridge.snapshot.fleet["fleet_error_rate"] == pytest.approx(0.125)

    def test_without_counting_failures_there_is_no_error_rate(self) -> None:
        bridge = Bridge()
        for n in (0, 5):
            bridge.poll(says(requests={"groq": n}))
        assert bridge.value("groq", "provider_error_rate") is None
        assert bridge.value("groq", "provider_request_rate") == 0.333
        assert bridge.snapshot.fleet["fleet_error_rate"] is None
        assert bridge.snapshot.model_error_rates == {}

    def test_more_failures_than_requests_are_an_error_rate_of_1(self) -> None:
        bridge = Bridge()
        for n in (1000, 1010):
            bridge.poll(says(requests={"groq/a": n}, failures={"groq/a": 2 * n}))
        assert bridge.value("groq", "provider_error_rate") == 1
        assert bridge.value("groq", "provider_availability") == 0
        assert bridge.snapshot.model_error_rates == {("groq", "a"): 1}

    def test_one_request_in_the_window_is_enough(self) -> None:
        bridge = Bridge()
        for n in (*[5] * 20, 6):
            buckets = {"groq": {"1": 0, "4": n, "+Inf": n}}
            bridge.poll(says(requests={"groq/a": n}, failures={"groq/a": n}, buckets=buckets, seconds={"groq": 3 * n}))
        values = bridge.verdict("groq").values
        assert values["provider_error_rate"] == 1
        assert values["provider_latency_seconds"] == pytest.approx(3)
        assert bridge.snapshot.model_error_rates == {("groq", "a"): 1}

    def test_a_provider_counted_as_a_whole_is_no_model(self) -> None:
        bridge = Bridge()
        for n in (0, 5):
            bridge.poll(says(requests={"groq": n}, failures={"groq": 0}))
        assert bridge.value("groq", "provider_error_rate") == 0
        assert bridge.snapshot.model_error_rates == {}

    def test_no_traffic_is_not_perfection(self) -> None:
        bridge = Bridge()
        for _ in range(3):
            bridge.poll(says(requests={"groq": 7}, failures={"groq": 0}, error_rate={"groq": 0}))
        assert bridge.value("groq", "provider_error_rate") is None
        assert bridge.value("groq", "provider_request_rate") == 0
        assert bridge.evidence("groq", "error rate").note == "no requests over 30 seconds"
        assert bridge.snapshot.fleet["fleet_error_rate"] is None

    def test_a_signal_the_last_poll_did_not_give_is_not_known_whatever_the_window_holds(self) -> None:
        bridge = Bridge()
        for n in range(5):
            bridge.poll(
                says(
                    requests={"groq": 10 * n},
                    failures={"groq": n},
                    buckets={"groq": {"1": 10 * n, "+Inf": 10 * n}},
                    circuits={"groq": "CLOSED"},
                )
            )
        assert bridge.value("groq", "provider_error_rate") == pytest.approx(0.1)
        bridge.poll(says(circuits={"groq": "CLOSED"}))
        for metric in ("request_rate", "error_rate", "latency_seconds", "latency_p95_seconds"):
            assert bridge.value("groq", f"provider_{metric}") is None
        assert bridge.snapshot.fleet["fleet_requests"] is None
