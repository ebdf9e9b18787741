"""A request for several targets: each gets its series, its table, or its error, and all are of one moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.history.store import Store
from bridge.model import CircuitState, Event, Key
from bridge.queries import budget as budget_module
from bridge.queries.answer import Answer, Ask, Request, answer, recorded_for
from bridge.queries.budget import Budget, Limits
from bridge.queries.payloads import Choice
from bridge.queries.series import Steps
from bridge.queries.targets import TargetError, matcher
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import T0, Recorder, circuit, snapshot, verdict

STEPS = Steps(1000, 0.0)


@pytest.fixture
def log(store: Store) -> Recorder:
    """Two providers, of whom one has an open circuit."""
    log = Recorder(store)
    one = snapshot(
        T0,
        [verdict("openai", health_score=99.0), verdict("groq", health_score=10.0)],
        [circuit("groq", "llama", CircuitState.OPEN), circuit("openai", "gpt")],
    )
    log.good(one, Event(T0, "circuit", "groq", "llama", "CLOSED", "OPEN", "failures"))
    return log


@pytest.fixture
def ask(store: Store, log: Recorder) -> Callable[..., list[Answer]]:
    """Asks for targets at T0 + 5."""

    def answered(
        *asks: str | Ask, span: TimeRange | None = None, now: float = T0 + 5, filters: object = ()
    ) -> list[Answer]:
        wanted = [Ask(one) if isinstance(one, str) else one for one in asks]
        view = View(now, store.latest(), 45.0)
        request = Request(tuple(wanted), span, STEPS, filters)  # type: ignore[arg-type]
        budget = Budget()
        return answer(request, view, store, recorded_for(request, view, store, budget), budget)

    return answered


def test_every_target_gets_its_answer_in_order(ask: Callable[..., list[Answer]]) -> None:
    series, table, as_table = ask("provider_health_score", "providers", Ask("provider_status", as_table=True))
    assert [one.name for one in series.series] == [
        'provider_health_score{provider="groq"}',
        'provider_health_score{provider="openai"}',
    ]
    assert table.table is not None
    assert table.table.name == "providers"
    assert as_table.table is not None
    assert len(as_table.table.rows) == 2


def test_no_targets_get_no_answers(ask: Callable[..., list[Answer]]) -> None:
    assert ask() == []


def test_one_bad_target_of_several_gets_its_error_alone(ask: Callable[..., list[Answer]]) -> None:
    bad, good = ask("no_such_metric", "gateway_up")
    assert bad.error is not None
    assert (bad.series, bad.table) == ((), None)
    assert good.error is None
    assert len(good.series) == 1


def test_when_all_are_bad_the_first_error_is_raised(ask: Callable[..., list[Answer]]) -> None:
    with pytest.raises(TargetError, match="no_such_metric"):
        ask("no_such_metric", "provider_status{")


def test_a_legend_of_the_target_goes_before_one_beside_it(ask: Callable[..., list[Answer]]) -> None:
    chosen = Choice(legend="beside")
    [own, beside] = ask(Ask("gateway_up as own", choice=chosen), Ask("gateway_up", choice=chosen))
    assert [own.series[0].name, beside.series[0].name] == ["own", "beside"]


@pytest.mark.parametrize("table", ["providers", "circuits", "explain", "transitions"])
def test_tables_are_narrowed_by_matchers_and_filters(ask: Callable[..., list[Answer]], table: str) -> None:
    for target, filters in ((f'{table}{{provider="groq"}}', []), (table, [matcher("provider", "=", "groq")])):
        [one] = ask(target, filters=filters)
        assert one.table is not None
        place = [column.title for column in one.table.columns].index("Provider")
        assert {row[place] for row in one.table.rows} <= {"groq"}
    [one] = ask(f'{table}{{provider="nobody"}}')
    assert one.table is not None
    assert not one.table.rows


def test_transitions_without_a_range_are_those_of_the_last_day(ask: Callable[..., list[Answer]]) -> None:
    for now, count in ((T0 + 5, 1), (T0 + 86_400, 1), (T0 + 86_401, 0)):
        [one] = ask("transitions", now=now)
        assert one.table is not None
        assert len(one.table.rows) == count


def test_transitions_of_a_range_are_those_in_it(ask: Callable[..., list[Answer]]) -> None:
    for start, count in ((T0, 1), (T0 + 1, 0)):
        [one] = ask("transitions", span=TimeRange(start, T0 + 10))
        assert one.table is not None
        assert len(one.table.rows) == count


def test_a_table_too_long_to_send_is_cut_and_says_so(
    ask: Callable[..., list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_module, "LIMITS", Limits(rows=1))
    [one] = ask("providers")
    assert one.table is not None
    assert len(one.table.rows) == 1
    assert "first 1 of 2 rows" in one.notices[0]


def test_the_log_is_read_once_for_all_targets_of_a_request(
    ask: Callable[..., list[Answer]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, columns = [], store.columns
    monkeypatch.setattr(
        Store, "columns", lambda _, start, end, now: read.append((start, end)) or columns(start, end, now)
    )
    ask("provider_health_score", "provider_status", "gateway_up", span=TimeRange(T0 - 10, T0 + 10))
    assert read == [(T0 - 10, T0 + 5)]


class TestWorst:
    """The few series that are worst at the range's end, by the catalog's own direction."""

    @pytest.mark.parametrize(
        ("metric_name", "values", "order"),
        [
            ("provider_health_score", {"a": 90.0, "b": 20.0, "c": None, "d": 20.0}, ["b", "d", "a", "c"]),
            ("provider_error_rate", {"a": 0.1, "b": None, "c": 0.9, "d": 0.0}, ["c", "a", "d", "b"]),
            ("provider_status", {"a": 0.0, "b": 1.0, "c": 3.0, "d": 2.0}, ["c", "d", "b", "a"]),
            ("provider_circuit_breaker_state", {"a": 2.0, "b": 1.0, "c": 0.0, "d": None}, ["b", "a", "c", "d"]),
        ],
    )
    def test_by_value_then_by_name_and_the_unknown_last(
        self, store: Store, metric_name: str, values: dict[str, float | None], order: list[str]
    ) -> None:
        own = metric_name.removeprefix("provider_")
        Recorder(store).good(snapshot(T0, [verdict(name, **{own: value}) for name, value in values.items()]))
        for span in (None, TimeRange(T0 - 10, T0 + 5)):
            for count in range(1, 6):
                view = View(T0 + 5, store.latest(), 45.0)
                request = Request((Ask(f"worst({count}, {metric_name})"),), span, STEPS)
                [found] = answer(request, view, store, recorded_for(request, view, store, budget := Budget()), budget)
                assert [one.series.labels["provider"] for one in found.series] == order[:count]

    def test_of_equals_the_provider_then_the_model_decides(self, store: Store) -> None:
        keys = [Key("b", "a"), Key("a", "z"), Key("a", "b")]
        Recorder(store).good(snapshot(T0, [verdict("a"), verdict("b")], model_error_rates=dict.fromkeys(keys, 0.5)))
        view = View(T0 + 5, store.latest(), 45.0)
        request = Request((Ask("worst(5, model_error_rate)"),), None, STEPS)
        [found] = answer(request, view, store, None, Budget())
        assert [tuple(one.series.labels.values()) for one in found.series] == sorted(keys)
