"""What is computed once and given again: in an incident too, and never beyond what it holds for."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import pytest

from bridge.queries import answer as answers
from bridge.queries.cache import CACHE_BYTES, AnswerCache
from tests.history.snapshots import T0, snapshot, verdict
from tests.web.conftest import NOW, Site

MIB = 2**20
Counted = Callable[[], int]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """How many answers were computed so far."""
    calls: list[int] = []
    real = answers.answer

    def counted(*given: Any) -> Any:
        calls.append(1)
        return real(*given)

    monkeypatch.setattr(answers, "answer", counted)
    return lambda: len(calls)


def scores(site: Site, end: float, **more: Any) -> list[dict[str, Any]]:
    span = {"from": round(T0 * 1000), "to": round(end * 1000)}
    return site.query("provider_health_score", range=span, **more)


def notices(answer: list[dict[str, Any]]) -> set[str]:
    return {notice["text"] for one in answer for notice in one.get("meta", {}).get("notices", [])}


def test_in_an_incident_answers_are_kept_and_each_says_how_long_it_lasts(site: Site, computed: Counted) -> None:
    site.log.failed(T0 + 75, message="connection refused")
    found = []
    for passed in (0.0, 1.0, 7.0):
        site.now = T0 + 76 + passed
        found.append(scores(site, T0 + 74))
    assert computed() == 1
    said = [notices(one) for one in found]
    assert [len(one) for one in said] == [1, 1, 1]
    assert len(set.union(*said)) == 3, "each of its own moment"
    assert all("connection refused" in text for text in set.union(*said))
    assert [one["datapoints"] for one in found[0]] == [one["datapoints"] for one in found[2]]


def test_nothing_that_was_said_in_an_incident_is_said_after_it(site: Site) -> None:
    usual = scores(site, T0 + 60)
    assert not notices(usual)
    site.log.failed(T0 + 75, message="connection refused")
    site.now = T0 + 76
    assert notices(scores(site, T0 + 60))
    site.log.good(snapshot(T0 + 90, [verdict("openai", health_score=12.0)]))
    site.now = T0 + 91
    assert not notices(scores(site, T0 + 60))


def test_data_turns_stale_without_a_poll(site: Site) -> None:
    """The poller is dead: the clock alone makes of a kept answer one that does not hold any more."""
    for site.now in (NOW, NOW + 5):
        for one in scores(site, NOW + 300):
            assert one["datapoints"][-1][0] is not None
    site.now = T0 + 60 + 46
    for one in scores(site, NOW + 300):
        assert [value for value, _ in one["datapoints"][-2:]] == [None, None]
        assert one["datapoints"][-1][1] == round(site.now * 1000)


def test_what_ends_in_the_requests_own_time_is_not_kept(site: Site, computed: Counted) -> None:
    for number, seconds in enumerate((60.0, 61.0), start=1):
        site.now = T0 + 60 + seconds
        for one in scores(site, T0 + 1000):
            assert one["datapoints"][-1] == [None, round(site.now * 1000)]
        assert computed() == number


def test_what_ends_with_its_range_is_kept_though_the_data_is_stale(site: Site, computed: Counted) -> None:
    ends = set()
    for seconds in (60.0, 61.0):
        site.now = T0 + 60 + seconds
        ends |= {one["datapoints"][-1][1] for one in scores(site, T0 + 110)}
    assert computed() == 1
    assert ends == {round((T0 + 110) * 1000)}


def test_what_time_has_cut_is_computed_again(site: Site, computed: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        clock = chain([0.0, 0.0, 0.0], repeat(9.0))
        patched.setattr(time, "thread_time", clock.__next__)
        site.post("/query", {"targets": [{"target": "provider_status"}, {"target": "provider_circuits"}]})
    assert len(site.query("provider_status", "provider_circuits")) == 6
    assert computed() == 2


def test_a_name_that_is_not_there_yet_is_not_missing_for_ever(site: Site) -> None:
    asked = {"target": 'provider_health_score{provider="cohere"}', "refId": "A"}
    span = {"from": round((T0 - 500) * 1000), "to": round(T0 * 1000)}
    site.now = T0 + 70
    assert "no provider" in " ".join(notices(site.query(asked, range=span)))
    site.log.good(snapshot(T0 + 75, [verdict("cohere", health_score=12.0)]))
    site.now = T0 + 76
    assert not notices(site.query(asked, range=span))


class TestTheCache:
    def test_a_large_answer_is_kept_within_the_budget_of_all(self) -> None:
        cache, made = AnswerCache(), []

        def make() -> tuple[bytes, bool]:
            made.append(1)
            return b"x" * (5 * MIB), True

        for _ in range(2):
            assert cache.once("one", make, len)[1]
        assert len(made) == 1
        for number in range(10):
            cache.once(number, make, len)
        assert cache.held_bytes <= CACHE_BYTES
        cache.once("one", make, len)
        assert len(made) == 12, "the oldest made room"

    def test_an_alias_holds_until_its_time(self) -> None:
        cache = AnswerCache()
        cache.once("key", lambda: (b"answer", True), len)
        cache.call("alias", "key", until=100.0)
        assert cache.called("alias", 99.9) == b"answer"
        assert cache.called("alias", 100.0) is None
        assert cache.called("other", 0.0) is None

    def test_a_mistake_is_everyones_who_waits_and_is_not_kept(self) -> None:
        cache = AnswerCache()

        def broken() -> tuple[bytes, bool]:
            raise ValueError("a mistake")

        with pytest.raises(ValueError, match="a mistake"):
            cache.once("key", broken, len)
        assert cache.once("key", lambda: (b"answer", True), len) == (b"answer", True)
