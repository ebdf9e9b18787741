"""The catalogue: every metric declared once, and found by its name, its old name, or a name much like it."""

from __future__ import annotations

import pytest

from bridge.model import FLEET_METRICS, PROVIDER_METRICS, CircuitState, Status
from bridge.queries.catalog import CIRCUIT_WORDS, LABELS, LEVELS, METRICS, OLD_NAMES, STATUS_WORDS, TABLES, metric
from bridge.queries.targets import TargetError, parse


def test_names_are_those_of_no_other_metric_table_or_old_name() -> None:
    names = [*METRICS, *TABLES, *OLD_NAMES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", [*METRICS, *TABLES, *OLD_NAMES])
def test_every_name_can_be_written_as_a_target(name: str) -> None:
    assert parse(name).metric == name


def test_all_that_a_poll_records_can_be_asked_for() -> None:
    assert set(PROVIDER_METRICS) | set(FLEET_METRICS) <= METRICS.keys()
    assert {name for name, one in METRICS.items() if one.level == "provider"} == set(PROVIDER_METRICS)


@pytest.mark.parametrize("one", METRICS.values(), ids=METRICS.keys())
def test_every_metric_says_its_unit_its_labels_and_what_is_worst(one: object) -> None:
    assert one.level in LABELS  # type: ignore[attr-defined]
    assert one.worst in {"low", "high", "circuit", "status"}  # type: ignore[attr-defined]
    assert one.meaning  # type: ignore[attr-defined]
    assert one.unit  # type: ignore[attr-defined]


def test_the_words_for_states_are_the_nouns() -> None:
    assert {state.value: state.name for state in CircuitState} == CIRCUIT_WORDS
    assert {status.value: status.word for status in Status} == STATUS_WORDS
    assert metric("provider_status").words == STATUS_WORDS
    assert metric("provider_circuit_breaker_state").words == CIRCUIT_WORDS
    assert metric("provider_health_score").words == {}


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_old_names_mean_todays_metrics(old: str, new: str) -> None:
    assert metric(old) is metric(new)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("provider_heath_score", "provider_health_score"),
        ("Provider_Health_Score", "provider_health_score"),
        ("provider_circuitbreaker_state", "provider_circuit_breaker_state"),
        ("transition", "transitions"),
        ("avg_health_scor", "avg_health_score"),
    ],
)
def test_an_unknown_metric_is_named_with_the_nearest_one(wrong: str, right: str) -> None:
    with pytest.raises(TargetError) as error:
        metric(wrong)
    assert repr(wrong) in error.value.message
    assert repr(right) in error.value.message
    assert "/search" in error.value.hint


def test_one_that_is_like_no_other_is_named_alone() -> None:
    with pytest.raises(TargetError, match="unknown metric 'xyzzy'") as error:
        metric("xyzzy")
    assert "did you mean" not in error.value.message


def test_a_very_long_name_is_cut() -> None:
    with pytest.raises(TargetError) as error:
        metric("x" * 100_000)
    assert len(error.value.message) < 200


def test_what_looks_down_is_worse_than_what_looks_degraded() -> None:
    assert LEVELS.keys() <= METRICS.keys()
    for name, (degraded, down) in LEVELS.items():
        assert down < degraded if metric(name).worst == "low" else down > degraded
    assert metric("provider_health_score").levels == (80.0, 50.0)
    assert metric("provider_request_rate").levels is None
