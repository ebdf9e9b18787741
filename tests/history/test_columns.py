"""The log as columns: one time axis with every poll; NaN is what is not known."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np

from bridge.history.codec import Level, PollLayout, poll_numbers
from bridge.history.columns import Columns
from bridge.history.segment import PollRow
from bridge.model import PROVIDER_METRICS, Key, ModelNumbers, Snapshot
from tests.history.snapshots import INTERVAL, T0, columns_of, poll_row, snapshot, verdict

NAN = float("nan")


def good(at: float, *, interval: float = INTERVAL, models: dict[Key, float] | None = None, **scores: float) -> PollRow:
    """A good poll at T0 + ``at`` in which these providers had these scores."""
    one = snapshot(
        T0 + at,
        [verdict(name, health_score=score) for name, score in scores.items()],
        fleet={"fleet_health_score": 50.0 + at},
        model_error_rates=models,
    )
    return row(one, interval)


def row(one: Snapshot, interval: float = INTERVAL) -> PollRow:
    layout, numbers = poll_numbers(one)
    return poll_row(one.at, interval, "ok", 0.1, layout, numbers)


def failed(at: float, *, interval: float = INTERVAL) -> PollRow:
    return poll_row(T0 + at, interval, "refused", 0.5, None, None)


def build(*polls: PollRow) -> Columns:
    return columns_of(polls)


def times(of: Columns) -> list[float]:
    return [float(at) - T0 for at in of.times]


def scores(of: Columns) -> dict[str, list[float | None]]:
    """Each provider's scores, None for NaN."""
    providers, values = of.of_providers("provider_health_score")
    return {
        provider: [None if value != value else value for value in values[:, index].tolist()]
        for index, provider in enumerate(providers)
    }


def test_no_polls_are_no_times() -> None:
    axis = build()
    assert times(axis) == []
    assert axis.of_providers("provider_status")[0] == ()
    assert axis.of_fleet("fleet_health_score").shape == (0,)


class TestAxis:
    def test_every_poll_has_its_time_and_interval_and_how_it_went(self) -> None:
        axis = build(good(0, openai=1), failed(15), good(100, interval=60, openai=2))
        assert times(axis) == [0, 15, 100]
        assert axis.intervals.tolist() == [15, 15, 60]
        assert axis.good.tolist() == [True, False, True]
        assert axis.seconds.tolist() == [0.1, 0.5, 0.1]
        assert scores(axis) == {"openai": [1, None, 2]}


class TestLayouts:
    def test_a_provider_that_comes_or_goes_is_not_known_while_it_is_not_there(self) -> None:
        axis = build(good(0, a=1), good(15, a=2, b=20), good(30, b=30), good(45, a=4, b=40))
        assert scores(axis) == {"a": [1, 2, None, 4], "b": [None, 20, 30, 40]}

    def test_a_metric_that_an_older_log_did_not_have_is_not_known_there(self) -> None:
        older = row(snapshot(T0, [verdict("a", health_score=1)]))
        layout = older.layout
        assert layout is not None
        assert older.numbers is not None
        without = PollLayout(
            layout.provider._replace(metrics=layout.provider.metrics[1:]),
            layout.fleet._replace(metrics=layout.fleet.metrics[1:]),
        )
        older = poll_row(T0, INTERVAL, "ok", 0.1, without, older.numbers[: without.size])
        axis = build(older, good(15, a=2))
        assert scores(axis) == {"a": [None, 2]}
        np.testing.assert_array_equal(axis.of_fleet("fleet_health_score"), [NAN, 65])

    def test_models_have_their_error_rates_and_nobody_elses(self) -> None:
        gpt, llama = Key("a", "gpt"), Key("b", "llama")
        axis = build(good(0, models={gpt: 0.1}), good(15, models={gpt: 0.2, llama: 0.9}), good(30))
        models, rates = axis.of_models("model_error_rate")
        assert models == (gpt, llama)
        np.testing.assert_array_equal(rates, [[0.1, NAN], [0.2, 0.9], [NAN, NAN]])

    def test_every_metric_is_read_from_its_own_place(self) -> None:
        one = snapshot(
            T0,
            [
                verdict(name, health_score=i, error_rate=i / 10, cost_usd=i * 10)
                for i, name in enumerate("abc", start=1)
            ],
            fleet={"fleet_cost_usd": 60.0, "fleet_requests": 7.0},
            model_error_rates={Key("a", "m"): 0.5},
        )
        axis = build(row(one))
        for metric, values in (
            ("provider_health_score", [1, 2, 3]),
            ("provider_error_rate", [0.1, 0.2, 0.3]),
            ("provider_cost_usd", [10, 20, 30]),
            ("provider_availability", [NAN, NAN, NAN]),
        ):
            np.testing.assert_array_equal(axis.of_providers(metric)[1], [values])
        assert axis.of_fleet("fleet_cost_usd").tolist() == [60]
        assert axis.of_fleet("fleet_requests").tolist() == [7]
        assert axis.of_models("model_error_rate")[1].tolist() == [[0.5]]


class TestStatesOfModels:
    def test_a_state_is_what_each_poll_recorded_and_not_known_where_a_poll_had_no_line(self) -> None:
        key = Key("a", "m")
        states = [{key: 0.0}, {key: 1.0}, {}, {key: 2.0}]
        polls = [
            row(replace(snapshot(T0 + 15 * n), models=ModelNumbers.from_values({"model_circuit_breaker_state": state})))
            for n, state in enumerate(states)
        ]
        keys, values = build(*polls).of_models("model_circuit_breaker_state")
        assert keys == (key,)
        np.testing.assert_array_equal(values, [[0], [1], [NAN], [2]])

    def test_a_model_of_which_a_metric_is_never_known_is_left_out(self) -> None:
        models = ModelNumbers.from_values({"model_circuit_breaker_state": {Key("a", "m"): 1.0}, "model_error_rate": {}})
        axis = build(row(replace(snapshot(T0), models=models)))
        assert axis.of_models("model_error_rate")[0] == ()
        assert axis.of_models("model_error_rate")[1].shape == (1, 0)


def test_polls_that_each_name_other_providers_take_no_more_than_their_numbers_until_a_metric_is_asked_for() -> None:
    rows = []
    for number in range(300):
        some = PollLayout(Level(tuple(f"{number}-{one}" for one in range(20)), PROVIDER_METRICS))
        rows.append(poll_row(T0 + INTERVAL * number, INTERVAL, "ok", 0.1, some, np.full(some.size, float(number))))
    tracemalloc.start()
    try:
        columns = columns_of(rows)
        kept, _ = tracemalloc.get_traced_memory()
        providers, values = columns.of_providers("provider_health_score")
    finally:
        tracemalloc.stop()
    assert kept < 5 * 2**20, f"{kept / 2**20:.0f} MiB"
    assert values.shape == (300, 6_000)
    assert np.isfinite(values).sum() == 300 * 20
    assert values[7, providers.index("7-3")] == 7.0
