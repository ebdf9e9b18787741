"""Several families, dialects or series that speak of one thing: which counts, and that no OPEN circuit is hidden."""

from __future__ import annotations

import pytest

from bridge.gateway.dialect import Dialect, NameRule, Recognition, SignalSource
from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.model import CircuitState, Key, Learnt, Signals

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
A, B = Key("a"), Key("b")
BY = NameRule("provider")


def translate(text: str, *signals: SignalSource, learnt: Learnt | None = None) -> Signals:
    """What an exposition says: in a dialect of these signals, or in the built-in ones."""
    dialects = [Dialect("mine", "mine", 50, (Recognition("up"),), signals)] if signals else select("auto")
    return Translator(dialects).translate(ExpositionReader().read(("up 1\n" + text).encode()), learnt)


def state(provider: str, value: object, family: str = "s", **labels: str) -> str:
    given = ",".join(f'{label}="{text}"' for label, text in {"provider": provider, **labels}.items())
    return f"{family}{{{given}}} {value}\n"


class TestFamilies:
    """One signal, given by two families of one dialect."""

    STATES = SignalSource("circuit_state", "s", BY), SignalSource("circuit_state", "t", BY)

    def test_a_state_that_only_the_second_family_tells_counts(self) -> None:
        signals = translate(state("a", 0) + state("b", 1, "t"), *self.STATES)
        assert signals.circuits == {A: CLOSED, B: OPEN}
        assert signals.providers == {"a", "b"}

    def test_where_both_tell_the_first_one_counts(self) -> None:
        assert translate(state("a", 0) + state("a", 1, "t"), *self.STATES).circuits == {A: CLOSED}

    @pytest.mark.parametrize("nonsense", ["NaN", "7"])
    def test_where_the_first_says_no_state_the_second_one_counts(self, nonsense: str) -> None:
        assert translate(state("a", nonsense) + state("a", 1, "t"), *self.STATES).circuits == {A: OPEN}

    def test_a_breaker_of_a_less_specific_dialect_is_not_hidden_by_a_line_about_another_provider(self) -> None:
        one_hot = 'circuit_breaker_state{{provider="{}",model="m",state="{}"}} 1\n'
        page = "gatewayz_data_scrape_success 1\n" + one_hot.format("a", "closed")
        page += 'circuit_breaker_current_state{provider="b",state="open"} 1\n'
        assert translate(page).circuits == {Key("a", "m"): CLOSED, B: OPEN}

    def test_a_gauge_stands_in_for_whom_the_first_family_does_not_name_in_its_own_unit(self) -> None:
        scores = (
            SignalSource("reported_score", "s", BY, unit="percent"),
            SignalSource("reported_score", "t", BY, unit="ratio"),
        )
        page = state("a", 90) + state("a", 0.1, "t") + state("b", 0.5, "t")
        assert translate(page, *scores).gauges == {"reported_score": {A: 90.0, B: 50.0}}

    def test_rejections_stand_in_and_are_not_counted_twice(self) -> None:
        signals = SignalSource("rejected", "s", BY), SignalSource("rejected", "t", BY)
        counted = translate(state("a", 1) + state("a", 9, "t") + state("b", 5, "t"), *signals).counters
        assert {counter.provider: value for counter, value in counted.known().items()} == {"a": 1, "b": 5}

    def test_counters_of_which_ratios_are_made_come_from_one_family(self) -> None:
        signals = SignalSource("requests", "s", BY), SignalSource("requests", "t", BY)
        counted = translate(state("a", 1) + state("b", 5, "t"), *signals).counters
        assert [counter.provider for counter in counted] == ["a"]

    def test_costs_of_a_provider_and_of_its_models_are_not_added_up(self) -> None:
        costs = (
            SignalSource("cost", "s", BY, unit="usd"),
            SignalSource("cost", "t", BY, model="model", unit="usd"),
        )
        page = state("a", 10) + state("a", 4, "t", model="m") + state("b", 3, "t", model="m")
        assert translate(page, *costs).gauges["cost"] == {A: 10, Key("b", "m"): 3}


class TestSeries:
    """One circuit, told by several series: regions, replicas."""

    STATE = SignalSource("circuit_state", "s", BY, state="state")

    @pytest.mark.parametrize(
        ("values", "worst"), [((1, 0), OPEN), ((0, 1), OPEN), ((2, 0), HALF_OPEN), ((2, 1, 2), OPEN)]
    )
    def test_of_numbers_the_worst_counts_whatever_their_order_and_one_notice_says_so(
        self, values: tuple[int, ...], worst: CircuitState
    ) -> None:
        page = "".join(state("a", value, region=f"r{number}") for number, value in enumerate(values))
        signals = translate(page, self.STATE)
        assert signals.circuits == {A: worst}
        assert signals.notices == (f"{len(values)} series give the circuit of a different states: the worst counts",)

    @staticmethod
    def one_hot(region: str, now: str) -> str:
        return "".join(state("a", int(it == now), region=region, state=it) for it in ("closed", "open", "half_open"))

    def test_one_hot_series_are_told_apart_by_their_other_labels_and_the_worst_counts(self) -> None:
        signals = translate(self.one_hot("east", "open") + self.one_hot("west", "closed"), self.STATE)
        assert signals.circuits == {A: OPEN}
        assert signals.notices == ("2 series give the circuit of a different states: the worst counts",)

    def test_series_that_agree_need_no_notice(self) -> None:
        signals = translate(self.one_hot("east", "open") + self.one_hot("west", "open"), self.STATE)
        assert (signals.circuits, signals.notices) == ({A: OPEN}, ())

    def test_two_states_at_once_are_those_of_one_set_of_series(self) -> None:
        page = state("a", 1, region="east", state="open") + state("a", 1, region="east", state="closed")
        assert translate(page, self.STATE).notices == ("circuit of a says 2 states at once",)

    def test_a_thousand_notices_of_a_kind_are_a_few(self) -> None:
        page = "".join(state(f"p{number}", 7) for number in range(900))
        notices = translate(page, self.STATE).notices
        assert len(notices) == 4
        assert notices[-1] == "897 more: circuit states that are none"


class TestRatioOrPercent:
    SCORE = SignalSource("reported_score", "s", BY, unit="ratio or percent")

    def lived(self, *pages: str) -> list[tuple[dict[str, float], tuple[str, ...]]]:
        """The scores and notices of pages polled one after another, by a bridge that restarts before each."""
        found, learnt = [], Learnt()
        for page in pages:
            signals = translate(page, self.SCORE, learnt=learnt)
            scores = {key.provider: value for key, value in signals.gauges["reported_score"].items()}
            found.append((scores, signals.notices))
            learnt = signals.learnt
        return found

    def test_what_was_a_percentage_once_is_one_for_good(self) -> None:
        lived = self.lived(state("a", 97), state("a", 0.9))
        assert lived == [({"a": 97}, ()), ({"a": 0.9}, ())]

    def test_a_ratio_that_turns_out_to_be_a_percentage_is_one_from_then_on_and_said_to_be(self) -> None:
        lived = self.lived(state("a", 0.9), state("a", 40), state("a", 0.9))
        assert [scores for scores, _ in lived] == [{"a": 90}, {"a": 40}, {"a": 0.9}]
        assert [len(notices) for _, notices in lived] == [0, 1, 0]

    def test_nothing_but_0_decides_nothing(self) -> None:
        assert self.lived(state("a", 0), state("a", 55)) == [({"a": 0}, ()), ({"a": 55}, ())]

    def test_an_error_of_rounding_makes_no_percentage(self) -> None:
        [(scores, _), (later, _)] = self.lived(state("a", 1.0000000000000002), state("a", 0.9))
        assert (scores, later) == ({"a": 100}, {"a": 90})


class TestRequests:
    def test_successes_and_failures_add_up_to_the_requests_of_a_gateway_that_counts_none(self) -> None:
        signals = translate(
            state("a", 90, "ok") + state("a", 10, "bad") + state("b", 4, "bad"),
            SignalSource("successes", "ok", BY),
            SignalSource("failures", "bad", BY),
        )
        sums: dict[tuple[str, str], float] = {}
        for counter, value in signals.counters.known().items():
            sums[counter.signal, counter.provider] = sums.get((counter.signal, counter.provider), 0) + value
        assert sums == {
            ("successes", "a"): 90,
            ("failures", "a"): 10,
            ("requests", "a"): 100,
            ("failures", "b"): 4,
            ("requests", "b"): 4,
        }
        assert {"requests", "successes", "failures"} <= signals.sources.keys()


def test_a_negative_zero_is_state_0() -> None:
    assert translate(state("a", "-0"), SignalSource("circuit_state", "s", BY)).circuits == {A: CLOSED}


def test_counters_that_start_again_with_each_hour_are_told_from_others() -> None:
    assert translate("gatewayz_data_scrape_success 1\n" + state("a", 5, "total_requests")).hourly == {"requests"}
    assert translate(state("a", 5, "model_inference_requests_total", model="m", status="success")).hourly == frozenset()
