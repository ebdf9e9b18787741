"""Circuit breakers: the gateway's own followed faithfully, the others derived by the rule and always the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.health import breaker
from bridge.health.breaker import Derivation, Recent
from bridge.health.recent import RecentTraffic, Step
from bridge.health.series_index import SeriesIndex
from bridge.health.traffic import Added
from bridge.model import CircuitState, CounterId, Counters, Signals
from bridge.policy import BreakerPolicy, Policy
from tests.health.polls import INTERVAL, START, Bridge, says

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
POLICY = BreakerPolicy()


INDEX = SeriesIndex((CounterId("requests", "groq", "llama", "", ""),))


class Derived:
    """One derived breaker, polled every 15 seconds unless said otherwise."""

    def __init__(self, state: CircuitState = CLOSED, policy: BreakerPolicy = POLICY) -> None:
        self.state, self.policy, self.at, self.memory = state, policy, START, Derivation()
        self.recent = RecentTraffic()
        if state is OPEN:
            self.memory = Derivation(last_proof=START)

    def poll(self, successes: float = 0, failures: float = 0, rejected: float = 0, after: float = INTERVAL) -> str:
        """The states it goes through in one poll, as ``OPEN`` or ``HALF_OPEN``; empty when it stays."""
        begin, self.at = self.at, self.at + after
        step = Step(self.at, *(np.array([one]) for one in (begin, float(successes), float(failures))))
        self.recent = self.recent.with_step(INDEX, INDEX.keys, step)
        closed_at = -np.inf if self.memory.closed_at is None else self.memory.closed_at
        sums = self.recent.sums(self.policy.window_seconds, INTERVAL, np.array([closed_at]))
        found = [float(one[0]) for one in (sums.successes, sums.failures, self.at - sums.begins)]
        added = Added(successes, failures, rejected)
        steps, self.memory = breaker.derive(self.state, self.memory, added, Recent(*found), self.at, self.policy)
        for self.state, reason in steps:
            assert reason
        return " ".join(state.name for state, _ in steps)


@pytest.mark.parametrize(
    ("successes", "failures", "opens"),
    [
        pytest.param(0, 4, False, id="one failure short"),
        pytest.param(0, 5, True, id="failures alone, at the threshold"),
        pytest.param(1, 5, False, id="a single success forbids it below ten requests"),
        pytest.param(4, 5, False, id="nine requests say nothing"),
        pytest.param(5, 5, True, id="ten requests, half of them failed"),
        pytest.param(6, 5, False, id="less than half"),
        pytest.param(1000, 1000, True, id="many, half of them failed"),
        pytest.param(1001, 1000, False, id="many, just under half"),
        pytest.param(0, 0, False, id="no traffic"),
        pytest.param(100, 0, False, id="no failure"),
    ],
)
def test_a_closed_circuit_opens_at_the_exact_thresholds(successes: int, failures: int, opens: bool) -> None:
    assert Derived().poll(successes, failures) == ("OPEN" if opens else "")


def test_failures_add_up_over_the_window_and_no_further() -> None:
    within = Derived()
    assert [within.poll(failures=f, after=a) for f, a in [(2, 15), (2, 15), (1, 37)]] == ["", "", "OPEN"]
    beyond = Derived()
    assert [beyond.poll(failures=f, after=a) for f, a in [(2, 15), (2, 15), (1, 38)]] == ["", "", ""]


@pytest.mark.parametrize("jitter", [-0.4, -0.001, 0.0, 0.001, 0.4])
def test_jitter_decides_nothing(jitter: float) -> None:
    one_each, five_each = Derived(), Derived()
    assert not any(one_each.poll(failures=1, after=INTERVAL + jitter) for _ in range(40)), "4 in 60 s"
    assert [five_each.poll(failures=1.25, after=INTERVAL + jitter) for _ in range(4)] == ["", "", "", "OPEN"]


def test_a_step_that_lasted_far_longer_than_the_window_says_nothing_of_it() -> None:
    derived = Derived()
    assert derived.poll(failures=8, after=75 * 60) == ""
    assert derived.poll(failures=8, after=75) == "OPEN", "an interval more is as near as polls can tell"


def test_a_success_within_the_window_counts_against_opening_and_ages_out_of_it() -> None:
    derived = Derived()
    assert derived.poll(successes=1) == ""
    assert derived.poll(failures=4, after=30) == ""
    assert derived.poll(failures=1, after=22) == "", "the success came within 67 s"
    assert derived.poll(after=1) == "OPEN", "and now it is out of the window"


@pytest.mark.parametrize(("after", "moves"), [(59, ""), (59.6, "HALF_OPEN"), (60, "HALF_OPEN"), (600, "HALF_OPEN")])
def test_an_open_circuit_is_tried_again_after_the_timeout(after: float, moves: str) -> None:
    assert Derived(OPEN).poll(after=after) == moves


@pytest.mark.parametrize(
    ("successes", "failures", "moves"),
    [
        pytest.param(0, 0, "", id="no traffic leaves it"),
        pytest.param(1, 0, "", id="one success short"),
        pytest.param(0, 1, "", id="one failure short"),
        pytest.param(1, 1, "", id="one short of each"),
        pytest.param(2, 0, "CLOSED", id="successes"),
        pytest.param(2, 1, "CLOSED", id="successes beside a failure short of the maximum"),
        pytest.param(0, 2, "OPEN", id="failures"),
        pytest.param(2, 2, "OPEN", id="failures first when one poll brings both"),
        pytest.param(100, 2, "OPEN", id="failures first, however many successes"),
    ],
)
def test_a_half_open_circuit_moves_at_the_exact_thresholds(successes: int, failures: int, moves: str) -> None:
    assert Derived(HALF_OPEN).poll(successes, failures) == moves


def test_trials_add_up_from_poll_to_poll() -> None:
    closing, opening = Derived(HALF_OPEN), Derived(HALF_OPEN)
    assert [closing.poll(successes=1), closing.poll(), closing.poll(successes=1)] == ["", "", "CLOSED"]
    assert [opening.poll(failures=1), opening.poll(), opening.poll(successes=1, failures=1)] == ["", "", "OPEN"]


def test_each_trial_starts_from_nothing() -> None:
    derived = Derived(HALF_OPEN)
    derived.poll(successes=1, failures=1)
    assert derived.poll(failures=1) == "OPEN"
    assert derived.poll(after=60) == "HALF_OPEN"
    assert derived.poll(successes=1, failures=1) == "", "the trial before does not count"
    derived.poll(successes=1)
    assert derived.state is CLOSED
    assert derived.poll(failures=4) == "", "nor do failures from before it closed"


def test_the_poll_that_ends_the_timeout_brings_no_trial() -> None:
    for traffic in ({"successes": 2}, {"failures": 2}):
        derived = Derived(OPEN)
        assert derived.poll(**traffic, after=60) == "HALF_OPEN"
        assert derived.poll() == "", "what it brought came before the trial"


@pytest.mark.parametrize("state", [CLOSED, HALF_OPEN])
def test_a_rejected_request_proves_an_open_circuit(state: CircuitState) -> None:
    assert Derived(state).poll(successes=50, rejected=1) == "OPEN"


def test_rejections_while_open_put_the_next_trial_off() -> None:
    derived = Derived(OPEN)
    assert [derived.poll(rejected=1, after=50), derived.poll(after=58), derived.poll(after=2)] == ["", "", "HALF_OPEN"]


def test_an_open_circuit_whose_opening_nobody_saw_is_given_the_whole_timeout() -> None:
    derived = Derived()
    derived.state = OPEN
    assert [derived.poll(), derived.poll(after=58), derived.poll(after=2)] == ["", "", "HALF_OPEN"]


@pytest.mark.parametrize(
    ("successes", "failures", "reason"),
    [(0, 6, "6 failures and no success in 45 s"), (4, 6, "6 of 10 requests failed in 45 s (60%)")],
)
def test_an_opening_says_why_and_how_long_that_took(successes: int, failures: int, reason: str) -> None:
    recent = Recent(successes, failures, 45.0)
    steps, _ = breaker.derive(CLOSED, Derivation(), Added(successes, failures), recent, START, POLICY)
    assert steps == [(OPEN, reason)]


def test_every_threshold_is_the_policys() -> None:
    policy = BreakerPolicy(
        failure_threshold=2,
        success_threshold=1,
        timeout_seconds=20,
        window_seconds=10,
        failure_rate=0.25,
        min_requests=4,
        half_open_max_failures=1,
    )
    assert Derived(policy=policy).poll(failures=1) == ""
    assert Derived(policy=policy).poll(failures=2) == "OPEN"
    assert Derived(policy=policy).poll(successes=3, failures=1) == "OPEN"
    assert Derived(policy=policy).poll(successes=2, failures=1) == ""
    forgets = Derived(policy=policy)
    assert [forgets.poll(failures=1, after=10), forgets.poll(failures=1, after=10)] == ["", ""], "10 s and half a poll"
    assert Derived(OPEN, policy).poll(after=20) == "HALF_OPEN"
    assert Derived(HALF_OPEN, policy).poll(successes=1) == "CLOSED"
    assert Derived(HALF_OPEN, policy).poll(successes=1, failures=1) == "OPEN"


some_traffic = st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from([0, 0, 0, 1]), st.integers(1, 70))


@settings(deadline=None)
@given(st.lists(some_traffic, max_size=40))
def test_it_moves_only_as_a_breaker_can(polls: list[tuple[int, int, int, int]]) -> None:
    derived = Derived()
    for successes, failures, rejected, after in polls:
        before = derived.state
        for word in derived.poll(successes, failures, rejected, after).split():
            edge = (before, CircuitState[word])
            allowed = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED)}
            assert edge in allowed
            before = CircuitState[word]


@settings(deadline=None)
@given(st.lists(some_traffic, max_size=40))
def test_a_closed_circuit_is_one_whose_window_gives_no_reason_to_open(polls: list[tuple[int, int, int, int]]) -> None:
    derived, seen = Derived(), []
    for successes, failures, rejected, after in polls:
        was, moved = derived.state, derived.poll(successes, failures, rejected, after)
        seen = [*seen, (derived.at - after, successes, failures)] if was is CLOSED else []
        if was is not CLOSED or rejected:
            continue
        window = [entry for entry in seen if derived.at - entry[0] <= 60 + INTERVAL / (1 if entry is seen[-1] else 2)]
        good, bad = sum(entry[1] for entry in window), sum(entry[2] for entry in window)
        assert (moved == "OPEN") == ((bad >= 5 and good == 0) or (good + bad >= 10 and 2 * bad >= good + bad))
        seen = seen if moved == "" else []


@pytest.mark.parametrize(
    ("before", "now", "moved", "walk"),
    [
        ("OPEN", "OPEN", {"OPEN>HALF_OPEN": 1, "HALF_OPEN>OPEN": 1}, "HALF_OPEN OPEN"),
        ("OPEN", "OPEN", {"OPEN>HALF_OPEN": 2, "HALF_OPEN>OPEN": 2}, "HALF_OPEN OPEN HALF_OPEN OPEN"),
        ("CLOSED", "CLOSED", {"CLOSED>OPEN": 1, "OPEN>HALF_OPEN": 1, "HALF_OPEN>CLOSED": 1}, "OPEN HALF_OPEN CLOSED"),
        (
            "CLOSED",
            "CLOSED",
            {"CLOSED>OPEN": 1, "OPEN>HALF_OPEN": 2, "HALF_OPEN>OPEN": 1, "HALF_OPEN>CLOSED": 1},
            "OPEN HALF_OPEN OPEN HALF_OPEN CLOSED",
        ),
        ("OPEN", "CLOSED", {"OPEN>HALF_OPEN": 1, "HALF_OPEN>CLOSED": 1}, "HALF_OPEN CLOSED"),
        pytest.param("OPEN", "CLOSED", {"OPEN>HALF_OPEN": 1}, "CLOSED", id="not the whole way was counted"),
        pytest.param("OPEN", "OPEN", {"CLOSED>OPEN": 1}, "", id="counted, and no way of this circuit"),
        pytest.param("CLOSED", "OPEN", {"CLOSED>OPEN": 0.5}, "OPEN", id="no whole transition"),
        pytest.param("CLOSED", "OPEN", {"CLOSED>": 1}, "OPEN", id="a state of another name"),
        pytest.param("OPEN", "OPEN", {"OPEN>HALF_OPEN": 1e9, "HALF_OPEN>OPEN": 1e9}, "", id="more than can be told"),
        pytest.param("OPEN", "OPEN", {}, "", id="nothing moved"),
    ],
)
def test_counted_transitions_between_two_polls_are_told_in_full_where_they_explain_the_way(
    before: str, now: str, moved: dict[str, float], walk: str
) -> None:
    bridge = Bridge()
    rest = dict.fromkeys(moved, 1.0)
    bridge.poll(says(circuits={"groq": before}, moved={"groq": rest}))
    bridge.poll(says(circuits={"groq": now}, moved={"groq": {edge: 1 + count for edge, count in moved.items()}}))
    assert [move.partition(">")[2] for move in bridge.moves()] == walk.split()
    assert bridge.states() == {"groq": now}


def test_reported_states_are_taken_as_they_are() -> None:
    bridge = Bridge()
    for state in ("CLOSED", "OPEN", "HALF_OPEN", "CLOSED", "HALF_OPEN", "OPEN", "CLOSED"):
        bridge.poll(says(circuits={"openai/gpt-4o": state}))
        assert bridge.states() == {"openai/gpt-4o": state}
    assert bridge.circuit("openai/gpt-4o").source == "gateway"


def test_first_opening_lasts_through_half_open_and_ends_with_closed() -> None:
    bridge = Bridge()
    firsts = []
    for state in ("CLOSED", "OPEN", "HALF_OPEN", "OPEN", "CLOSED", "HALF_OPEN"):
        bridge.poll(says(circuits={"groq": state}))
        firsts.append(bridge.circuit("groq").first_opened)
    opened = START + INTERVAL
    assert firsts == [None, opened, opened, opened, None, None]
    assert bridge.circuit("groq").opens == (opened,), "one outage, tried in between"


def test_a_circuit_open_at_first_sight_may_have_been_so_for_longer() -> None:
    bridge = Bridge()
    bridge.poll(says(circuits={"groq": "OPEN"}))
    assert bridge.circuit("groq").since_known is False
    bridge.poll(says(circuits={"groq": "HALF_OPEN", "xai": "OPEN", "groq/llama": "OPEN"}))
    assert bridge.circuit("groq").since_known is True
    assert bridge.circuit("xai").since_known is False, "another one's circuits say nothing of it"
    assert bridge.circuit("groq/llama").since_known is False


def test_openings_are_those_of_the_last_24_hours_even_when_nothing_has_moved_since() -> None:
    bridge = Bridge()
    for state in ("CLOSED", "OPEN", "CLOSED"):
        bridge.poll(says(circuits={"groq": state}))
    bridge.poll(says(circuits={"groq": "CLOSED"}), after=86_300)
    assert bridge.circuit("groq").opens == (START + INTERVAL,)
    bridge.poll(says(circuits={"groq": "CLOSED"}), after=200)
    assert bridge.circuit("groq").opens == ()


def test_openings_of_the_last_24_hours_are_forgotten_when_it_opens_again() -> None:
    bridge = Bridge()
    bridge.poll(says(circuits={"groq": "OPEN"}))
    bridge.poll(says(circuits={"groq": "CLOSED"}))
    bridge.poll(says(circuits={"groq": "OPEN"}), after=86_400 - INTERVAL)
    assert bridge.circuit("groq").opens == (bridge.at,)


class TestRejections:
    """A count of rejected requests that rises is proof, whatever else is or is not said."""

    def test_they_prove_an_open_circuit_that_has_no_state_line(self) -> None:
        bridge = Bridge()
        counted = {"requests": {"groq/llama": 9.0}, "failures": {"groq/llama": 0.0}}
        bridge.poll(says(rejected={"groq": 3}, **counted))
        assert bridge.states() == {"groq/llama": "CLOSED"}, "what was rejected long ago proves nothing now"
        bridge.poll(says(rejected={"groq": 4}, **counted))
        assert bridge.states() == {"groq": "OPEN"}
        assert bridge.circuit("groq").reason == "the gateway rejected 1 requests"
        assert bridge.circuit("groq").source == "bridge"

    def test_they_prove_it_for_a_provider_without_counters_of_its_own(self) -> None:
        bridge = Bridge()
        bridge.poll(says(rejected={"xai": 1}))
        bridge.poll(says(rejected={"groq": 1, "xai": 1}))
        assert bridge.states() == {"groq": "OPEN"}, "and of nobody else"

    def test_they_prove_it_against_a_state_line_that_never_moved_from_closed(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 3}))
        assert bridge.states() == {"groq": "CLOSED"}
        for rejected in (4, 9):
            bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": rejected}))
            assert bridge.states() == {"groq": "OPEN"}
            assert bridge.circuit("groq").since == START + INTERVAL
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 9}))
        assert bridge.states() == {"groq": "CLOSED"}, "without new proof the gateway's word counts again"

    def test_they_say_nothing_new_of_a_circuit_that_was_reported_open(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "OPEN"}, rejected={"groq": 3}))
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 4}))
        assert bridge.states() == {"groq": "CLOSED"}, "rejected before it closed"

    def test_an_opening_they_have_proved_is_not_told_again_when_the_gateway_counts_it(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 3}, moved={"groq": {"CLOSED>OPEN": 1}}))
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 4}, moved={"groq": {"CLOSED>OPEN": 1}}))
        proved = bridge.at
        bridge.poll(says(circuits={"groq": "OPEN"}, rejected={"groq": 5}, moved={"groq": {"CLOSED>OPEN": 2}}))
        assert bridge.moves() == []
        assert (bridge.circuit("groq").since, bridge.circuit("groq").opens) == (proved, (proved,))

    @pytest.mark.parametrize("now", ["OPEN", "HALF_OPEN"])
    def test_they_leave_a_state_that_explains_them_as_it_is_reported(self, now: str) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 3}))
        bridge.poll(says(circuits={"groq": now}, rejected={"groq": 4}))
        assert bridge.states() == {"groq": now}
        assert bridge.circuit("groq").reason == "reported by the gateway"

    def test_they_are_their_providers_alone(self) -> None:
        bridge = Bridge()
        for rejected in (0, 5):
            bridge.poll(says(circuits={"groq": "CLOSED", "xai": "CLOSED"}, rejected={"groq": rejected, "xai": 0}))
        assert bridge.states() == {"groq": "OPEN", "xai": "CLOSED"}

    def test_a_gateway_that_restarts_with_an_open_breaker_goes_on_open(self) -> None:
        """It publishes no state line, only rejections."""
        bridge = Bridge()
        counted = {"requests": {"groq/llama": 100.0}, "failures": {"groq/llama": 50.0}}
        bridge.poll(says(circuits={"groq": "CLOSED"}, rejected={"groq": 0}, **counted))
        bridge.poll(says(circuits={"groq": "OPEN"}, rejected={"groq": 10}, **counted))
        opened = bridge.at
        anew = {"requests": {"groq/llama": 0.0}, "failures": {"groq/llama": 0.0}}
        bridge.poll(says(rejected={"groq": 4}, **anew))
        assert bridge.states() == {"groq": "OPEN"}
        assert (bridge.circuit("groq").since, bridge.circuit("groq").first_opened) == (opened, opened)
        assert bridge.circuit("groq").source == "bridge"
        bridge.poll(says(rejected={"groq": 4}, **anew), after=60)
        assert bridge.states() == {"groq": "HALF_OPEN"}, "and is derived from then on"


class TestDerivedCircuits:
    def test_they_are_per_model_where_counters_are(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq/a": 0, "groq/b": 0, "xai": 0}, failures={"groq/a": 0, "groq/b": 0, "xai": 0}))
        bridge.poll(says(requests={"groq/a": 5, "groq/b": 5, "xai": 5}, failures={"groq/a": 5, "groq/b": 0, "xai": 0}))
        assert bridge.states() == {"groq/a": "OPEN", "groq/b": "CLOSED", "xai": "CLOSED"}
        assert bridge.moves() == ["groq/a CLOSED>OPEN"]
        assert bridge.circuit("groq/a").reason == "5 failures and no success in 15 s"
        assert bridge.value("groq", "provider_circuit_breaker_state") == OPEN
        assert (bridge.value("groq", "provider_open_circuits"), bridge.value("groq", "provider_circuits")) == (1, 2)

    def test_successes_are_the_requests_that_did_not_fail(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 0, "xai": 0}, failures={"groq": 0, "xai": 0}))
        bridge.poll(says(requests={"groq": 6, "xai": 3}, failures={"groq": 5, "xai": 5}))
        assert bridge.states() == {"groq": "CLOSED", "xai": "OPEN"}, "more failures than requests are no success"

    def test_one_without_a_single_failure_never_opens(self) -> None:
        bridge = Bridge()
        for n in range(20):
            bridge.poll(says(requests={"groq": n, "xai": 0}, failures={"xai": 0}))
            assert bridge.states()["groq"] == "CLOSED"

    def test_one_that_appears_failing_is_open_at_first_sight(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"xai": 9}, failures={"xai": 0}))
        bridge.poll(says(requests={"xai": 9, "groq": 5}, failures={"xai": 0, "groq": 5}))
        assert bridge.states() == {"groq": "OPEN", "xai": "CLOSED"}

    def test_there_are_none_without_requests_or_failures_to_derive_them_from(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 1}, failures={"groq": 0}, buckets={"xai": {"1": 1, "+Inf": 1}}))
        assert bridge.states() == {"groq": "CLOSED"}

    def test_they_leave_a_reported_models_circuit_alone(self) -> None:
        bridge = Bridge()
        for n in (0, 5):
            bridge.poll(says(circuits={"groq/a": "CLOSED"}, requests={"groq/a": n}, failures={"groq/a": n}))
        assert bridge.states() == {"groq/a": "CLOSED"}
        assert bridge.circuit("groq/a").source == "gateway"

    def test_they_go_on_while_their_provider_is_absent_for_a_poll_or_two(self) -> None:
        bridge = Bridge()
        for names in (("groq", "xai"), ("xai",), ("xai",)):
            bridge.poll(says(requests=dict.fromkeys(names, 1), failures=dict.fromkeys(names, 0)))
            assert bridge.states()["groq"] == "CLOSED"

    def test_a_closed_one_ends_with_its_counters_while_its_provider_is_there(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 1, "xai": 1}, failures={"groq": 0, "xai": 0}, cost={"groq": 1}))
        for _ in range(20):
            bridge.poll(says(requests={"xai": 1}, failures={"xai": 0}, cost={"groq": 1}))
            assert bridge.states() == {"groq": "CLOSED", "xai": "CLOSED"}, "its last ones are still in the window"
        bridge.poll(says(requests={"xai": 1}, failures={"xai": 0}, cost={"groq": 1}))
        assert bridge.states() == {"xai": "CLOSED"}
        assert bridge.moves() == ["groq CLOSED>"]

    def test_one_poll_without_its_counters_wipes_nothing_of_it(self) -> None:
        bridge = Bridge(Policy(BreakerPolicy(timeout_seconds=15, success_threshold=1)))
        bridge.poll(says(requests={"groq": 0, "xai": 1}, failures={"groq": 0, "xai": 0}))
        for served, failed in ((5, 5), (5, 5), (9, 5)):
            bridge.poll(says(requests={"groq": served, "xai": 1}, failures={"groq": failed, "xai": 0}))
        before = bridge.circuit("groq")
        assert (before.state, len(before.opens)) == (CLOSED, 1)
        bridge.poll(says(requests={"xai": 1}, failures={"xai": 0}))
        bridge.poll(says(requests={"groq": 9, "xai": 1}, failures={"groq": 5, "xai": 0}))
        assert bridge.circuit("groq") == before

    def test_an_outage_of_an_hour_is_one_opening_however_often_it_is_tried(self) -> None:
        bridge = Bridge()
        for n in range(240):
            bridge.poll(says(requests={"groq": 5 * n}, failures={"groq": 5 * n}))
        circuit = bridge.circuit("groq")
        assert (circuit.opens, circuit.first_opened) == ((START + INTERVAL,), START + INTERVAL)
        openings = [event for event in bridge.history if event.kind == "circuit" and event.before == "CLOSED"]
        assert len(openings) == 1
        moved = [event.at for event in bridge.history if event.kind == "circuit"]
        assert all(moved.count(at) == 1 for at in moved), "never tried and given up within one poll"

    def test_they_start_closed_whatever_was_counted_before_the_first_poll(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 1000}, failures={"groq": 1000}))
        assert bridge.states() == {"groq": "CLOSED"}
        assert bridge.circuit("groq").since_known is False

    def test_they_need_both_counters(self) -> None:
        bridge = Bridge()
        for count in (0, 50):
            bridge.poll(says(requests={"groq": count}))
        assert bridge.states() == {}

    def test_a_series_that_appears_while_others_are_counted_counts_from_zero(self) -> None:
        """Clients show a series at its first event, so that the first failures are all there is."""
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 0}, failures={"xai": 0}))
        bridge.poll(says(requests={"groq": 5}, failures={"xai": 0, "groq": 5}))
        assert bridge.states()["groq"] == "OPEN"

    def test_a_reset_counts_all_that_came_after_it_and_nothing_negative(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 100}, failures={"groq": 50}))
        bridge.poll(says(requests={"groq": 4}, failures={"groq": 4}))
        assert bridge.states() == {"groq": "CLOSED"}
        bridge.poll(says(requests={"groq": 5}, failures={"groq": 5}))
        assert bridge.states() == {"groq": "OPEN"}

    def test_a_counter_that_misses_a_poll_is_no_new_traffic_when_it_comes_back(self) -> None:
        """A line that could not be read costs itself alone; what it counted long ago did not happen since."""
        bridge = Bridge()
        everything = {"requests": {"groq": 5000.0, "xai": 10.0}, "failures": {"groq": 2600.0, "xai": 0.0}}
        without = {"requests": {"xai": 10.0}, "failures": {"xai": 0.0}}
        for poll in (everything, without, everything):
            bridge.poll(says(**poll))
        assert bridge.states()["groq"] == "CLOSED"

    def test_a_rejection_counter_that_misses_a_poll_proves_nothing_when_it_comes_back(self) -> None:
        bridge = Bridge()
        for rejected in ({"groq": 64.0, "xai": 0.0}, {"xai": 0.0}, {"groq": 64.0, "xai": 0.0}):
            bridge.poll(says(circuits={"groq": "CLOSED", "xai": "CLOSED"}, rejected=rejected))
            assert bridge.states() == {"groq": "CLOSED", "xai": "CLOSED"}

    def test_a_reported_circuit_takes_the_place_of_those_that_stood_in_for_it(self) -> None:
        bridge = Bridge()
        counted = {"requests": {"groq/a": 1.0}, "failures": {"groq/a": 0.0}}
        bridge.poll(says(**counted))
        bridge.poll(says(circuits={"groq": "OPEN"}, **counted))
        assert bridge.states() == {"groq": "OPEN"}
        assert bridge.moves() == ["groq CLOSED>OPEN", "groq/a CLOSED>"]
        assert bridge.circuit("groq").since_known is True, "it was watched before"

    def test_none_is_derived_for_a_provider_beside_its_models_reported_ones(self) -> None:
        """Else "1 of 2 open" would read as 1 of 3, and half of it as two thirds available."""
        bridge = Bridge()
        bridge.poll(says(circuits={"groq/a": "OPEN", "groq/b": "CLOSED"}, requests={"groq": 9}, failures={"groq": 4}))
        assert bridge.states() == {"groq/a": "OPEN", "groq/b": "CLOSED"}

    def test_one_that_is_not_closed_goes_on_without_counters(self) -> None:
        bridge = Bridge()
        bridge.poll(says(requests={"groq": 0}, failures={"groq": 0}, reported_score={"groq": 9}))
        bridge.poll(says(requests={"groq": 5}, failures={"groq": 5}, reported_score={"groq": 9}))
        bridge.poll(says(reported_score={"groq": 9}), after=60)
        assert bridge.states() == {"groq": "HALF_OPEN"}


class TestMissingLines:
    """A reported circuit without a line in a poll is not known just now; it is not gone."""

    OTHER = "xai"

    def bridge(self) -> Bridge:
        bridge = Bridge()
        for state in ("CLOSED", "OPEN"):
            bridge.poll(says(circuits={"groq": state, self.OTHER: "CLOSED"}, reported_score={"groq": 10}))
        return bridge

    def miss(self, bridge: Bridge, polls: int) -> None:
        for _ in range(polls):
            bridge.poll(says(circuits={self.OTHER: "CLOSED"}, reported_score={"groq": 10}))

    @pytest.mark.parametrize("missed", [1, 2])
    def test_missing_for_a_poll_or_two_it_is_unknown_and_keeps_its_date(self, missed: int) -> None:
        bridge = self.bridge()
        opened = bridge.at
        self.miss(bridge, missed)
        assert bridge.states()["groq"] is None
        assert bridge.value("groq", "provider_circuit_breaker_state") is None
        bridge.poll(says(circuits={"groq": "OPEN", self.OTHER: "CLOSED"}))
        circuit = bridge.circuit("groq")
        assert (circuit.state, circuit.since, circuit.first_opened) == (OPEN, opened, opened)
        assert bridge.moves() == []

    def test_missing_in_three_polls_in_a_row_it_is_gone(self) -> None:
        bridge = self.bridge()
        self.miss(bridge, 3)
        assert bridge.states() == {self.OTHER: "CLOSED"}
        assert bridge.moves() == ["groq OPEN>"]

    def test_the_polls_must_be_in_a_row(self) -> None:
        bridge = self.bridge()
        for _ in range(3):
            self.miss(bridge, 2)
            bridge.poll(says(circuits={"groq": "OPEN", self.OTHER: "CLOSED"}, reported_score={"groq": 10}))
        assert bridge.circuit("groq").since == START + INTERVAL

    def test_after_a_restart_it_is_gone_at_once(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "OPEN", self.OTHER: "CLOSED"}, requests={"groq": 100}))
        bridge.poll(says(circuits={self.OTHER: "CLOSED"}, requests={"groq": 1}))
        assert bridge.states() == {self.OTHER: "CLOSED"}
        assert bridge.moves() == ["groq OPEN>"]

    def test_where_counters_take_over_from_it_the_circuit_is_the_bridges_own(self) -> None:
        bridge = Bridge()
        counted = {"requests": {"groq": 100.0, "xai": 1.0}, "failures": {"groq": 0.0, "xai": 0.0}}
        bridge.poll(says(circuits={"groq": "OPEN", "xai": "CLOSED"}, **counted))
        for _ in range(3):
            bridge.poll(says(circuits={"xai": "CLOSED"}, **counted))
        assert bridge.circuit("groq").source == "bridge"

    def test_after_a_restart_counters_follow_a_new_circuit_and_not_the_one_that_is_gone(self) -> None:
        bridge = Bridge()
        bridge.poll(says(circuits={"groq": "OPEN"}, requests={"groq": 100}, failures={"groq": 50}))
        bridge.poll(says(requests={"groq": 1}, failures={"groq": 0}))
        assert bridge.states() == {"groq": "CLOSED"}
        assert bridge.circuit("groq").source == "bridge"

    def test_transition_counters_that_miss_a_poll_are_no_flapping_when_they_come_back(self) -> None:
        bridge = Bridge()
        moved = {"groq": {"CLOSED>OPEN": 7.0, "OPEN>HALF_OPEN": 7.0, "HALF_OPEN>CLOSED": 7.0}}
        everything = says(circuits={"groq": "CLOSED"}, moved=moved, requests={"groq": 1})
        for poll in (everything, says(circuits={"groq": "CLOSED"}, requests={"groq": 1}), everything):
            bridge.poll(poll)
        assert bridge.moves() == []


counts = st.lists(
    st.fixed_dictionaries({name: st.tuples(st.integers(0, 8), st.integers(0, 8)) for name in ("a/x", "a/y", "b")}),
    max_size=25,
)


def told(polls: Sequence[Signals]) -> tuple[object, ...]:
    bridge = Bridge()
    for poll in polls:
        bridge.poll(poll)
    return bridge.memory.circuits, bridge.memory.derivations, sorted(bridge.history, key=astuple)


def running_totals(polls: list[dict[str, tuple[int, int]]]) -> list[Signals]:
    requests: dict[str, float] = {}
    failures: dict[str, float] = {}
    totals = []
    for poll in polls:
        for name, (successes, failed) in poll.items():
            requests[name] = requests.get(name, 0) + successes + failed
            failures[name] = failures.get(name, 0) + failed
        totals.append(says(requests=dict(requests), failures=dict(failures)))
    return totals


@settings(max_examples=50, deadline=None)
@given(counts, st.randoms(use_true_random=False))
def test_the_same_polls_give_the_same_states_and_times_in_whatever_order_the_lines_stand(
    polls: list[dict[str, tuple[int, int]]], chance: random.Random
) -> None:
    signals = running_totals(polls)
    shuffled = []
    for one in signals:
        counters = list(one.counters.items())
        chance.shuffle(counters)
        shuffled.append(replace(one, counters=Counters.of(dict(counters))))
    assert told(signals) == told(signals)
    assert told(signals) == told(shuffled)


def test_the_policy_given_to_the_assessment_is_the_one_that_counts() -> None:
    bridge = Bridge(Policy(BreakerPolicy(failure_threshold=1)))
    bridge.poll(says(requests={"groq": 0}, failures={"groq": 0}))
    bridge.poll(says(requests={"groq": 1}, failures={"groq": 1}))
    assert bridge.states() == {"groq": "OPEN"}
