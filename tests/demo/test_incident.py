"""The demo that counts: the incidents it promises, breakers as gateways have them, and the real gateway's families."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo import incident
from demo.metrics import Metrics
from demo.script import LOOP_SECONDS, PROVIDERS
from demo.traffic import CLOSED, HALF_OPEN, OPEN, Breaker, Call, Deployment, Key, Router, Script, Spell

CAPTURES = Path(__file__).parents[2].parent / "shared/captures/gatewayz-metrics"
NOW = 1_795_003_800.0


@cache
def calls() -> list[Call]:
    """One loop of the demo."""
    router = Router(incident.fleet(), incident.SCRIPT, remembers=True)
    router.advance(LOOP_SECONDS)
    return router.calls


def failing(provider: str, begin: float, end: float, model: str = "") -> float:
    its = [c for c in calls() if c.provider == provider and model in ("", c.model) and begin <= c.at < end]
    return sum(call.failed for call in its) / len(its)


class TestIncidents:
    def test_the_first_minute_is_healthy_and_everyone_but_mistral_is_there(self) -> None:
        first = [call for call in calls() if call.at < 60]
        assert {call.provider for call in first} == set(PROVIDERS) - {"mistral"}
        assert sum(call.failed for call in first) / len(first) < 0.01

    def test_one_model_of_openrouter_fails_and_the_others_do_not(self) -> None:
        provider, model = incident.FAILING_MODEL
        assert failing(provider, *incident.ONE_MODEL, model) == 1
        assert all(
            failing(provider, *incident.ONE_MODEL, other) < 0.05 for other in PROVIDERS[provider] if other != model
        )
        assert failing(provider, 215, 600) < 0.05

    def test_groq_fails_altogether_and_recovers(self) -> None:
        assert failing("groq", *incident.ALTOGETHER) == 1
        assert failing("groq", 395, 600) < 0.05

    def test_anthropic_is_slow_for_more_than_five_minutes_and_does_not_fail(self) -> None:
        begin, end = incident.SLOW
        assert end - begin > 300
        slow, usual = (
            sorted(
                c.seconds
                for c in calls()
                if c.provider == "anthropic" and not c.failed and (begin <= c.at < end) is how
            )
            for how in (True, False)
        )
        assert slow[int(0.95 * len(slow))] > 5 * usual[int(0.95 * len(usual))] > 5
        assert failing("anthropic", begin, end) < 0.02

    def test_cohere_fails_for_five_seconds(self) -> None:
        assert {int(call.at) for call in calls() if call.provider == "cohere" and call.failed} >= {450, 451}
        assert failing("cohere", 455, 600) < 0.02

    def test_it_plays_again(self) -> None:
        router = Router(incident.fleet(), incident.SCRIPT, remembers=True)
        router.advance(LOOP_SECONDS + 60.0)
        assert failing("groq", *incident.ALTOGETHER) == 1
        before = len(router.calls)
        router.advance(LOOP_SECONDS + incident.ALTOGETHER[0] + 60.0)
        again = [
            c for c in router.calls[before:] if c.provider == "groq" and c.at > LOOP_SECONDS + incident.ALTOGETHER[0]
        ]
        assert again
        assert all(call.failed for call in again)


class TestRouter:
    FLEET = (Deployment("groq", "llama", 5.0, 0.2), Deployment("openai", "o3", 5.0, 0.2))

    def test_the_same_seconds_bring_the_same_calls_in_whatever_steps_they_pass(self) -> None:
        at_once, in_steps = (Router(self.FLEET, remembers=True) for _ in range(2))
        at_once.advance(60.0)
        for tenth in range(1, 601):
            in_steps.advance(tenth / 10)
        assert in_steps.calls == at_once.calls
        assert in_steps.counts == at_once.counts

    def test_an_open_breaker_lets_nothing_through_until_its_time_is_over(self) -> None:
        router = Router(
            self.FLEET, Script([Spell(0.0, 10.0, "groq", failing=1.0)]), breaker_timeout_seconds=30.0, remembers=True
        )
        router.advance(29.0)
        its = [call for call in router.calls if call.provider == "groq"]
        assert len(its) == 5
        assert router.state(Key("groq")) == OPEN
        assert router.breakers[Key("groq")].rejected > 100
        router.advance(35.0)
        assert router.state(Key("groq")) == CLOSED
        assert router.breakers[Key("groq")].moves == {(CLOSED, OPEN): 1, (OPEN, HALF_OPEN): 1, (HALF_OPEN, CLOSED): 1}

    def test_a_trial_that_fails_opens_it_again(self) -> None:
        breaker = Breaker(timeout_seconds=10.0)
        for at in range(5):
            assert breaker.lets_through(at)
            breaker.saw(at, failed=True)
        assert not breaker.lets_through(13.0)
        assert breaker.lets_through(14.0)
        breaker.saw(14.0, failed=True)
        assert (breaker.state, breaker.since) == (OPEN, 14.0)

    def test_a_restart_begins_every_counter_again(self) -> None:
        router = Router(self.FLEET, Script(restarts=[30.0]))
        router.advance(29.9)
        before = router.counts[Key("openai", "o3")].requests
        router.advance(32.0)
        assert router.counts[Key("openai", "o3")].requests == 10 < before


class TestMetrics:
    @pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")
    def test_its_families_and_labels_are_the_real_gateways(self) -> None:
        real: dict[str, set[frozenset[str]]] = {}
        for capture in ("012-outage.prom", "030-brownout.prom"):
            for name, labels in labelled((CAPTURES / capture).read_text()).items():
                real.setdefault(name, set()).update(labels)
        router, metrics = Router(incident.fleet(), incident.SCRIPT), Metrics()
        router.advance(345.0)
        ours = labelled(metrics(router, NOW))
        assert {name: labels for name, labels in ours.items() if not labels <= real.get(name, set())} == {}

    def test_a_breaker_that_never_moved_has_no_line(self) -> None:
        router, metrics = Router(incident.fleet(), incident.SCRIPT), Metrics()
        router.advance(50.0)
        assert "circuit_breaker_current_state{" not in metrics(router, NOW)
        router.advance(300.0)
        states = [
            line for line in metrics(router, NOW).splitlines() if line.startswith("circuit_breaker_current_state{")
        ]
        assert states == [
            f'circuit_breaker_current_state{{provider="groq",state="{state}"}} {value}'
            for state, value in ((OPEN, 1.0), (CLOSED, 0.0))
        ]


def labelled(text: str) -> dict[str, set[frozenset[str]]]:
    """The names of its samples, and the label names that each comes with."""
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return found
