"""A minute in the life of every gateway there is a dialect for: healthy, one provider failing, well, restarted, silent.

The service runs as ``python app.py`` starts it and polls each second; what it shows is held against the gateway's own
list of calls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bridge.queries.catalog import METRICS
from demo.traffic import BOUNDS, Call, Key
from tests.living.life import (
    ENDS,
    FAILING,
    FAILS,
    FLEET,
    IDLE,
    KINDS,
    RECOVERS,
    RESTARTS,
    SILENT,
    Life,
    living,
    play,
)
from tests.living.shapes import NODES

pytestmark = pytest.mark.service

LATE = 0.4
"""Seconds from a poll's own time to the gateway's answer, give or take."""
SETTLED = 3.0
"""Seconds after a turn of the script until polls show it for certain."""
ACTIVE = {deployment.provider for deployment in FLEET} - {IDLE}
ALWAYS = {
    "provider_health_score", "provider_status", "provider_circuit_breaker_state", "provider_open_circuits",
    "provider_circuits", "provider_availability", "fleet_health_score", "fleet_open_circuits", "fleet_providers",
    "gateway_up", "gateway_data_age_seconds", "gateway_poll_seconds",
}  # fmt: skip
RATES = {"provider_request_rate", "fleet_request_rate", "fleet_requests"}
ERRORS = {"provider_error_rate", "model_error_rate", "fleet_error_rate", "model_request_rate"}
CLASSES = {"provider_rate_limited_ratio", "provider_caller_error_ratio"}
LATENCIES = {"provider_latency_seconds", "provider_latency_p95_seconds", "model_latency_p95_seconds"}
COSTS = {"provider_cost_usd", "fleet_cost_usd"}
REPORTED, BY_MODEL = {"provider_reported_health_score"}, {"model_circuit_breaker_state", "model_status"}
FEEDS = {
    "gatewayz-data": ALWAYS | RATES | REPORTED | BY_MODEL,
    "gatewayz-documented": ALWAYS | REPORTED | {"provider_error_rate", "fleet_error_rate"},
    "gatewayz-metrics": ALWAYS | RATES | ERRORS | LATENCIES | BY_MODEL,
    "circuit-breaker": ALWAYS,
    "privaterouter": ALWAYS | RATES | ERRORS | COSTS | BY_MODEL,
    "deeppin": ALWAYS | RATES | ERRORS | REPORTED | BY_MODEL,
    "litellm": ALWAYS | RATES | ERRORS | LATENCIES | COSTS | BY_MODEL,
}
COUNTING = [dialect for dialect, feeds in FEEDS.items() if feeds >= ERRORS]


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Life]]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("lives")
        yield play({dialect: stack.enter_context(living(dialect, folder / dialect)) for dialect in KINDS})


@pytest.fixture(params=KINDS)
def life(request: pytest.FixtureRequest, lives: dict[str, Life]) -> Life:
    return lives[request.param]


@pytest.fixture(params=COUNTING)
def counting(request: pytest.FixtureRequest, lives: dict[str, Life]) -> Life:
    return lives[request.param]


def test_the_service_polls_each_second_and_polls_are_good(life: Life) -> None:
    polls = [(life.second(at), up) for at, up in life.ranges["gateway_up"][()] if 0 <= life.second(at) < ENDS]
    failed = [second for second, up in polls if up != 1]
    # A gateway that has just been started may not have printed anything of its own yet.
    assert [second for second in failed if not RESTARTS <= second < RESTARTS + 1.5] == [], life.failed_polls
    assert ENDS - 5 <= len(polls) <= ENDS + 2


@pytest.mark.parametrize("metric", METRICS)
def test_what_the_gateway_feeds_has_a_value_now_and_at_every_poll_and_nothing_else_has(metric: str, life: Life) -> None:
    """While traffic flows."""
    shown = [
        (labels, life.second(at), value)
        for begin, end in ((1.5, RESTARTS), (RESTARTS + SETTLED, SILENT))
        for labels, at, value in life.during(metric, begin, end)
    ]
    shown += [
        (labels, phase, value)
        for phase in ("healthy", "failing", "recovered", "restarted")
        for labels, value in life.latest[phase][metric].items()
    ]
    if metric in CLASSES:  # known once the gateway has shown one of its failures, and none is of these classes
        assert {value for _, _, value in shown} <= {None, 0.0}
        return
    if metric not in FEEDS[life.dialect]:
        assert [one for one in shown if one[2] is not None] == []
        return
    of_the_active = [one for one in shown if METRICS[metric].level in ("fleet", "status") or one[0][0] in ACTIVE]
    assert of_the_active
    assert [one for one in of_the_active if one[2] is None and not _own_breaker(life, metric, one[0])] == []


def _own_breaker(life: Life, metric: str, labels: tuple[str, ...]) -> bool:
    """A provider's breaker, once its gateway shows it, stands for those of its models."""
    return (life.dialect, metric, labels[:1]) == ("gatewayz-metrics", "model_circuit_breaker_state", (FAILING,))


def test_nothing_is_said_of_gpu_nodes_but_that_they_are_up(lives: dict[str, Life]) -> None:
    shown = lives["privaterouter"].latest["failing"]
    for _, name in NODES:
        values = {metric: by_labels[name,] for metric, by_labels in shown.items() if (name,) in by_labels}
        known = {metric for metric, value in values.items() if value is not None}
        assert known == {"provider_status", "provider_health_score", "provider_availability"}
        assert values["provider_availability"] == 100


def test_request_rates_are_those_of_the_gateways_own_list_of_calls(life: Life) -> None:
    for (provider,), at, value in life.during("provider_request_rate", 1.5, ENDS):
        if value is not None and "provider_request_rate" in FEEDS[life.dialect]:
            _is_the_rate(life, at, value, [c for c in life.calls(at) if c.provider == provider])
    for (provider, model), at, value in life.during("model_request_rate", 1.5, ENDS):
        if value is not None:
            _is_the_rate(life, at, value, _of_model(life, at, provider, model))
    for _, at, value in life.during("fleet_request_rate", 1.5, ENDS):
        if value is not None:
            _is_the_rate(life, at, value, [c for c in life.calls(at) if c.provider != IDLE])


def _of_model(life: Life, at: float, provider: str, model: str) -> list[Call]:
    """A gateway's models may go by their provider's name and their own."""
    return [c for c in life.calls(at) if c.provider == provider and model in (c.model, f"{provider}/{c.model}")]


def _is_the_rate(life: Life, at: float, per_second_shown: float, calls: list[Call]) -> None:
    """It is what PromQL makes of so many calls, of which a restart may hide those of one poll."""
    sampled = life.known_seconds(at)
    increase = per_second_shown * sampled
    per_second = len(calls) / max(1.0, sampled)
    lost = 1.5 + _unseen(life, at, calls) + (2.0 * per_second if life.second(at) > RESTARTS - 1 else 0.0)
    late = LATE * per_second
    assert len(calls) - lost - late <= increase <= len(calls) + 1.5 + late, (life.second(at), len(calls))


def _unseen(life: Life, at: float, calls: list[Call]) -> int:
    """How many failures at most may be in the first value of a series of failures, which is in no increase."""
    return 0 if not any(call.failed for call in calls) else 8 if life.second(at) > FAILS else 2


def test_error_rates_are_those_of_the_gateways_own_list_of_calls(counting: Life) -> None:
    for (provider,), at, value in counting.during("provider_error_rate", 5, ENDS):
        _is_the_share(counting, at, value, [call for call in counting.calls(at) if call.provider == provider])
    for (provider, model), at, value in counting.during("model_error_rate", 5, ENDS):
        if provider in ACTIVE:
            _is_the_share(counting, at, value, _of_model(counting, at, provider, model))
    for _, at, value in counting.during("fleet_error_rate", 5, ENDS):
        _is_the_share(counting, at, value, counting.calls(at))


def _is_the_share(life: Life, at: float, value: float | None, calls: list[Call]) -> None:
    """Failures among the calls; what a series stood at when it came up is not in it, as in PromQL."""
    if not calls:
        assert value is None, life.second(at)
    if value is None:
        assert not calls or RESTARTS <= life.second(at) < RESTARTS + SETTLED, life.second(at)
        return
    failed = sum(call.failed for call in calls)
    unseen = _unseen(life, at, calls)
    assert (failed - unseen) / len(calls) - 0.01 <= value <= failed / len(calls) * 1.1 + 0.01, life.second(at)


@pytest.mark.parametrize("dialect", ["gatewayz-metrics", "litellm"])
def test_p95_lies_in_the_bucket_of_the_true_one_and_averages_are_true(dialect: str, lives: dict[str, Life]) -> None:
    """Where the rank lies near the edge of a bucket, its neighbour's is right too."""
    life = lives[dialect]
    for (provider,), at, value in life.during("provider_latency_p95_seconds", 5, ENDS):
        _is_the_percentile(life, at, value, [call for call in life.calls(at) if call.provider == provider])
    for (provider, model), at, value in life.during("model_latency_p95_seconds", 5, ENDS):
        _is_the_percentile(life, at, value, _of_model(life, at, provider, model))
    for (provider,), at, value in life.during("provider_latency_seconds", 5, ENDS):
        if seconds := _observed(life, [call for call in life.calls(at) if call.provider == provider]):
            assert value == pytest.approx(sum(seconds) / len(seconds), rel=0.1), (provider, life.second(at))


def _is_the_percentile(life: Life, at: float, value: float | None, calls: list[Call]) -> None:
    if seconds := _observed(life, calls):
        below, above = (bisect_left(BOUNDS, seconds[int(share * len(seconds))]) for share in (0.93, 0.97))
        assert value is not None
        assert BOUNDS[below - 1] <= value <= BOUNDS[above], (life.second(at), calls[0])


def _observed(life: Life, calls: list[Call]) -> list[float]:
    return sorted(call.seconds for call in calls if life.kind.observes_failures or not call.failed)


@pytest.mark.parametrize("dialect", ["privaterouter", "litellm"])
def test_costs_and_totals_are_what_the_counters_stand_at(dialect: str, lives: dict[str, Life]) -> None:
    life, price = lives[dialect], {(one.provider, one.model): one.usd for one in FLEET}
    for _, at, value in life.during("fleet_cost_usd", 0, ENDS):
        paid = [price[call.provider, call.model] for call in _counted(life, at) if not call.failed]
        # A gateway that has counted nothing yet may not have printed it either.
        assert value == pytest.approx(sum(paid), abs=1e-5) or (value is None and not paid)
    for _, at, value in life.during("fleet_requests", 0, ENDS):
        assert value == len(_counted(life, at)) or (value is None and not _counted(life, at))


def _counted(life: Life, at: float) -> list[Call]:
    scrape = life.scrape(at)
    return [call for call in life.gateway.router.calls[: scrape.calls] if call.at >= scrape.counts_from]


def test_reported_scores_are_the_gateways_own(life: Life) -> None:
    for (provider,), at, value in life.during("provider_reported_health_score", 0, ENDS):
        if value is not None:
            assert value == pytest.approx(life.scrape(at).scores[provider]), life.second(at)


def test_circuits_are_in_the_states_their_gateway_says(life: Life) -> None:
    metric = {"model": "model_circuit_breaker_state", "provider": "provider_circuit_breaker_state"}
    if not life.kind.breaker_of:
        pytest.skip("it has no breakers: derived ones stand in, and are looked at below")
    shown = list(life.during(metric[life.kind.breaker_of], 0, ENDS))
    for labels, at, value in shown:
        if value is not None:
            state = life.scrape(at).states.get(Key(*labels), "closed")
            assert value == life.kind.states[state], (labels, life.second(at))
    assert {1.0, 0.0} <= {value for labels, _, value in shown if labels[0] == FAILING}


def test_a_provider_that_fails_is_seen_within_ten_seconds_and_no_other_is(life: Life) -> None:
    bad = [
        (life.second(at), labels[0]) for labels, at, value in life.during("provider_status", 0, ENDS) if value in (2, 3)
    ]
    assert {provider for _, provider in bad} == {FAILING}
    assert FAILS <= bad[0][0] <= FAILS + 10
    for metric, among in (("provider_open_circuits", 0), ("provider_circuit_breaker_state", 0)):
        others = {v for (name,), _, v in life.during(metric, 0, ENDS) if name != FAILING and v is not None}
        assert others <= {among}, metric
    failing = life.latest["failing"]
    assert failing["provider_status"][FAILING,] in (2, 3)
    assert failing["provider_circuit_breaker_state"][FAILING,] == 1
    scores = {name: value for (name,), value in failing["provider_health_score"].items() if value is not None}
    assert min(scores, key=lambda name: scores[name]) == FAILING


def test_after_recovery_it_leaves_no_trace_but_in_the_counters(life: Life) -> None:
    assert life.latest["recovered"]["provider_open_circuits"][FAILING,] == 0
    assert life.latest["recovered"]["provider_status"][FAILING,] != 3
    late = [
        event
        for event in life.events
        if event["Provider"] == FAILING
        and life.second(event["Time"] / 1000) > RECOVERS + 8
        and event["Kind"] == "circuit"
    ]
    assert [event for event in late if event["To"] in ("OPEN", "HALF_OPEN")] == []


def test_a_restart_makes_no_rate_negative_or_huge_and_opens_nothing(life: Life) -> None:
    by_chance = {"provider_request_rate": 0.02, "fleet_request_rate": 0.02}
    for metric in ("provider_error_rate", "fleet_error_rate", *by_chance):
        before = {
            labels: value for labels, _, value in life.during(metric, RESTARTS - 3, RESTARTS) if value is not None
        }
        for labels, at, value in life.during(metric, RESTARTS, ENDS):
            if value is not None and labels in before:
                assert 0 <= value <= before[labels] * 2.5 + by_chance.get(metric, 0.15), (
                    metric,
                    labels,
                    life.second(at),
                )
    assert {value for _, _, value in life.during("fleet_open_circuits", RESTARTS, ENDS)} == {0}
    opened = [event for event in life.events if event["To"] == "OPEN" and life.second(event["Time"] / 1000) >= RESTARTS]
    assert opened == []


def test_silence_is_no_error_rate_and_nobody_goes_down(life: Life) -> None:
    assert [value for _, _, value in life.during("provider_status", SILENT, ENDS) if value == 3] == []
    restarted, silent = life.latest["restarted"], life.latest["silent"]
    of_its_last = 0.02 if life.dialect in COUNTING else 0.11  # some calls came after the look, and a gauge tells of 20
    for metric in ("provider_error_rate", "model_error_rate"):
        for labels, value in silent[metric].items():
            if value is not None:
                assert value == pytest.approx(restarted[metric][labels], abs=of_its_last), labels
    went_by = life.known_seconds(life.began + SILENT) / life.known_seconds(life.began + ENDS)
    for labels, value in silent["provider_request_rate"].items():
        if value is not None:
            assert value == pytest.approx(restarted["provider_request_rate"][labels] * went_by, rel=0.1)


def test_a_provider_that_is_not_used_has_a_rate_of_nothing_and_no_error_rate(counting: Life) -> None:
    idle = counting.latest["recovered"]
    assert idle["provider_request_rate"][IDLE,] == 0
    for metric in ("provider_error_rate", "provider_latency_seconds", "provider_latency_p95_seconds"):
        assert {value for (name,), value in idle[metric].items() if name == IDLE} <= {None}, metric
