"""What counts as a failure: a rate limit does not, nor what a caller got wrong; each is counted, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.health.traffic import Arrivals
from bridge.history.store import Store
from bridge.model import CounterId, Counters, Key, Moment, Poll, Signals
from bridge.policy import Policy
from tests.captures import Polled, evidence, replay
from tests.health.polls import INTERVAL, START, Bridge, key, says

RATIOS = ("provider_error_rate", "provider_rate_limited_ratio", "provider_caller_error_ratio")


def counted(n: int, *, ok: int = 0, failed: int = 0, limited: int = 0, wrong: int = 0, apart: bool = True) -> Signals:
    """The ``n``-th poll of a gateway that adds so many of each to groq's counters."""
    total = ok + failed + limited + wrong
    return says(
        requests={"groq/a": 1000 + total * n},
        failures={"groq/a": 100 + failed * n},
        rate_limited={"groq/a": 100 + limited * n},
        caller_errors={"groq/a": 100 + wrong * n},
        told_apart_by=("status",) if apart else (),
    )


def after(polls: int, **each: int) -> Bridge:
    bridge = Bridge()
    for n in range(polls):
        bridge.poll(counted(n, **each))
    return bridge


def test_an_error_rate_is_of_failures_alone_over_all_requests() -> None:
    bridge = after(5, ok=5, failed=2, limited=2, wrong=1)
    assert [bridge.value("groq", metric) for metric in RATIOS] == [0.2, 0.2, 0.1]
    assert bridge.snapshot.model_error_rates == {key("groq/a"): 0.2}
    assert bridge.snapshot.fleet["fleet_error_rate"] == 0.2


def test_rate_limits_and_callers_mistakes_open_no_derived_breaker_and_failures_do() -> None:
    assert after(10, limited=20).states() == {"groq/a": "CLOSED"}
    assert after(10, wrong=20).states() == {"groq/a": "CLOSED"}
    assert after(10, failed=20).states() == {"groq/a": "OPEN"}


def test_a_rate_limit_is_no_success_that_keeps_a_failing_breaker_closed() -> None:
    assert after(4, failed=5, limited=50).states() == {"groq/a": "OPEN"}


def test_explain_shows_the_classes_and_what_tells_them_apart() -> None:
    bridge = after(30, ok=5, failed=2, limited=2, wrong=1)
    limited, wrong = bridge.evidence("groq", "rate limited"), bridge.evidence("groq", "callers' mistakes")
    assert (limited.value, wrong.value, limited.unit) == (0.2, 0.1, "ratio")
    assert limited.source == "bridge, from failures (test) by status"
    assert limited.note == "over 5 minutes; 429 and 408: counted apart, neither failures nor successes"
    assert wrong.note == "over 5 minutes; 400, 404, 413, 422 and their like: finished, not failed"


def test_where_a_gateway_does_not_tell_them_apart_all_are_failures_and_explain_says_so() -> None:
    bridge = Bridge()
    for n in range(5):
        bridge.poll(says(requests={"groq": 10.0 * n}, failures={"groq": 5.0 * n}))
    assert [bridge.value("groq", metric) for metric in RATIOS] == [0.5, None, None]
    told = "the gateway does not tell rate limits and callers' mistakes from failures: all of them count as failures"
    assert bridge.evidence("groq", "failure classes").note == told


def test_what_a_poll_added_is_told_by_class_and_key() -> None:
    memory = Memory()
    window = memory.window
    for n in range(2):
        window, rises = window.append(INTERVAL * n, counted(n, ok=5, failed=3, limited=2, wrong=1).counters)
    arrivals = Arrivals(rises)
    place = arrivals.index.place_of_key[key("groq/a")]
    told = [getattr(arrivals, name)[place] for name in ("requests", "failures", "rate_limited", "caller_errors")]
    assert told == [11, 3, 2, 1]
    assert arrivals.successes[place] == 6
    assert arrivals.of(Key("groq")).successes == arrivals.of(key("groq/a")).successes == 6


def test_a_restart_goes_on_with_each_class(tmp_path: Path) -> None:
    undisturbed = Bridge()
    store = Store(tmp_path, retention_seconds=86_400)
    for n in range(12):
        signals = counted(n, ok=5, failed=2, limited=2, wrong=1)
        expected = undisturbed.poll(signals)
        moment = Moment(START + INTERVAL * n, INTERVAL * n)
        memory, snapshot, events = assess(store.memory(), signals, moment, Policy())
        assert snapshot == expected, n
        poll = Poll(moment.at, INTERVAL, "ok", "", 0.1, moment.steady)
        store.append(poll, failing_since=None, events=events, snapshot=snapshot, memory=memory)
        store.close()
        store = Store(tmp_path, retention_seconds=86_400)
    _, kept = store.columns(START, START + 12 * INTERVAL).of_providers("provider_rate_limited_ratio")
    assert kept[2:, 0].tolist() == [0.2] * 10
    store.close()


def test_a_dialect_that_comes_to_tell_them_apart_makes_nothing_of_what_was_counted_before() -> None:
    """The very series that counted as failures before a restart count as something else after it."""

    def poll(n: int, signal: str) -> Signals:
        ids = (CounterId("requests", "groq", "a", "", "1"), CounterId(signal, "groq", "a", "", "2"))
        sources = {"requests": ("calls", "test"), "failures": ("calls", "test")}
        counters = Counters.of({ids[0]: 5000.0 + 10 * n, ids[1]: 900.0})
        return Signals(counters=counters, families={"calls": frozenset({"groq"})}, sources=sources)

    bridge = Bridge()
    for n in range(5):
        bridge.poll(poll(n, "failures"))
    _, rises = bridge.memory.window.append(5 * INTERVAL, poll(5, "rate_limited").counters)
    assert Arrivals(rises).rate_limited.tolist() == [0.0]


@pytest.fixture(scope="module")
def polls() -> tuple[Polled, ...]:
    return replay("litellm-1109")


def test_a_real_proxy_whose_provider_is_rate_limited_shows_no_failures_of_it(polls: tuple[Polled, ...]) -> None:
    """mistral answers 429 to every request of a phase; groq fails with 500 in another."""
    for poll in polls:
        mistral, groq = poll.verdicts.get("mistral"), poll.verdicts.get("groq")
        assert mistral is not None
        assert groq is not None
        assert mistral.values["provider_error_rate"] in (None, 0.0), poll.scrape.name
        assert groq.values["provider_rate_limited_ratio"] in (None, 0.0), poll.scrape.name
    limited = polls[19].verdicts["mistral"].values["provider_rate_limited_ratio"]
    assert limited is not None
    assert limited > 0.1
    assert evidence(polls[19].verdicts["mistral"], "rate limited").value == limited
    failed = polls[7].verdicts["groq"].values["provider_error_rate"]
    assert failed is not None
    assert failed > 0.1
