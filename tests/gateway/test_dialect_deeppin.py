"""Deeppin: a day in the life of its slots (a key and a model each), told without ever showing a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from bridge.application import create_app
from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.model import Key, Moment, Signals, Snapshot, Verdict
from bridge.policy import Policy
from bridge.queries.catalog import METRICS, TABLES
from bridge.settings import Settings
from tests.gateway.hostile import answer, gateway
from tests.one_poller import polled, poller_in, reads

A, B, C = "gsk_Aa1x", "gsk_Bb2y", "csk-Cc3z"
"""The first characters of three keys, as Deeppin shows them."""
Slot = tuple[str, str, str]
RATIO_ROUNDED, SCORE_ROUNDED = 0.5e-4, 0.05
"""How far published values are off by being rounded."""

ONE: Slot = ("groq", "llama-3.3-70b", A)
TWO: Slot = ("groq", "llama-3.3-70b", B)
OTHER: Slot = ("cerebras", "qwen-3-32b", C)


def slot(of: Slot, recovery: float, score: float) -> str:
    """A slot's gauges: seconds until it recovers, its score, and what it used up of its limits."""
    labels = 'provider="{}",model="{}",key_prefix="{}"'.format(*of)
    windows = "".join(
        f"deeppin_llm_{window}_used{{{labels}}} 3\ndeeppin_llm_{window}_limit{{{labels}}} 30\n"
        for window in ("rpm", "tpm", "rpd", "tpd")
    )
    return windows + (
        f"deeppin_llm_slot_score{{{labels}}} {score}\ndeeppin_llm_slot_recovery_seconds{{{labels}}} {recovery}\n"
    )


def counts(of: Slot, calls: int, failures: int) -> str:
    """A slot's counters: calls are those that went well."""
    labels = 'provider="{}",model="{}",key_prefix="{}"'.format(*of)
    return (
        f'deeppin_llm_calls_total{{{labels},group="chat"}} {calls}\n'
        f'deeppin_llm_failures_total{{{labels},reason="server_error"}} {failures}\n'
    )


def poll(one: str, two: str, other: str, *counters: str) -> bytes:
    unrelated = 'deeppin_searxng_calls_total{result="ok"} 77\nprocess_open_fds 12\n'
    return "".join((one, two, other, *counters, unrelated)).encode()


# Every counter has risen by much before the day begins, so that PromQL's increase() reads all of them alike.
QUIET = counts(OTHER, 900, 100)
DAY_OF_GROQ = {
    "healthy at first sight": poll(
        slot(ONE, 0, 1), slot(TWO, 0, 0.8), slot(OTHER, 0, 1), counts(ONE, 500, 100), counts(TWO, 500, 100), QUIET
    ),
    "healthy": poll(
        slot(ONE, 0, 0.9), slot(TWO, 0, 0.7), slot(OTHER, 0, 1), counts(ONE, 520, 100), counts(TWO, 520, 100), QUIET
    ),
    "one slot failing": poll(
        slot(ONE, 0, 0.8), slot(TWO, 42.5, 0), slot(OTHER, 0, 1), counts(ONE, 530, 100), counts(TWO, 520, 110), QUIET
    ),
    "both slots failing": poll(
        slot(ONE, 58, 0), slot(TWO, 27.5, 0), slot(OTHER, 0, 1), counts(ONE, 530, 110), counts(TWO, 520, 110), QUIET
    ),
    "one slot recovering": poll(
        slot(ONE, 43, 0), slot(TWO, 0, 0.6), slot(OTHER, 0, 1), counts(ONE, 530, 110), counts(TWO, 530, 110), QUIET
    ),
    "recovered": poll(
        slot(ONE, 0, 1), slot(TWO, 0, 1), slot(OTHER, 0, 1), counts(ONE, 540, 110), counts(TWO, 540, 110), QUIET
    ),
    "restarted": poll(slot(ONE, 0, 1), slot(TWO, 0, 1), slot(OTHER, 0, 1)),
    "restarted, with traffic": poll(
        slot(ONE, 0, 1), slot(TWO, 0, 0.8), slot(OTHER, 0, 1), counts(ONE, 8, 0), counts(TWO, 2, 0), counts(OTHER, 1, 0)
    ),
}
AT = {what: 15.0 * number for number, what in enumerate(DAY_OF_GROQ)}
"""When each poll of the day is, in seconds."""

FIRST, SECOND = Key("groq", "llama-3.3-70b"), Key("groq", "llama-3.3-70b #2")


def replayed(day: Sequence[bytes]) -> Iterator[tuple[Signals, Snapshot]]:
    reader, translator, memory = ExpositionReader(), Translator(select("auto")), Memory()
    for number, body in enumerate(day):
        signals = translator.translate(reader.read(body), memory.learnt)
        memory, snapshot, _ = assess(memory, signals, Moment(15.0 * number, 15.0 * number), Policy())
        yield signals, snapshot


@cache
def lived() -> dict[str, Snapshot]:
    return {what: said for what, (_, said) in zip(DAY_OF_GROQ, replayed(list(DAY_OF_GROQ.values())), strict=True)}


def verdict(snapshot: Snapshot, provider: str) -> Verdict:
    return next(found for found in snapshot.verdicts if found.provider == provider)


def states(snapshot: Snapshot) -> dict[Key, str]:
    return {circuit.key: circuit.state.name for circuit in snapshot.circuits if circuit.state is not None}


class TestDay:
    @pytest.mark.parametrize(
        ("what", "first", "second"),
        [
            ("healthy at first sight", "CLOSED", "CLOSED"),
            ("healthy", "CLOSED", "CLOSED"),
            ("one slot failing", "CLOSED", "OPEN"),
            ("both slots failing", "OPEN", "OPEN"),
            ("one slot recovering", "OPEN", "CLOSED"),
            ("recovered", "CLOSED", "CLOSED"),
            ("restarted", "CLOSED", "CLOSED"),
            ("restarted, with traffic", "CLOSED", "CLOSED"),
        ],
    )
    def test_each_slot_is_a_circuit_that_is_open_while_it_has_seconds_to_go(
        self, what: str, first: str, second: str
    ) -> None:
        snapshot, groq = lived()[what], verdict(lived()[what], "groq")
        assert states(snapshot) == {Key("cerebras", "qwen-3-32b"): "CLOSED", FIRST: first, SECOND: second}
        assert groq.values["provider_open_circuits"] == [first, second].count("OPEN")
        assert groq.values["provider_circuits"] == 2

    @pytest.mark.parametrize(
        ("what", "available", "error_rate", "slots", "score", "status"),
        [
            # 100 × (0.4 · available + 0.3 · (1 − error rate) + 0.3 · slots): the mean of the slots' own scores stands
            # in for what is not known, which is latency always and the error rate where nothing is counted.
            ("healthy at first sight", 100, None, 90, 40 + 27 + 27, "healthy"),
            ("healthy", 100, 0 / 40, 80, 40 + 30 + 24, "healthy"),
            ("one slot failing", 50, 10 / 60, 40, 20 + 25 + 12, "degraded"),
            ("both slots failing", 0, 20 / 70, 0, 0 + 30 * 50 / 70 + 0, "down"),
            ("one slot recovering", 50, 20 / 80, 30, 20 + 22.5 + 9, "degraded"),
            ("recovered", 100, 20 / 100, 100, 40 + 24 + 30, "healthy"),
            ("restarted", 100, None, 100, 100, "healthy"),
            ("restarted, with traffic", 100, 20 / 110, 90, 40 + 30 * 90 / 110 + 27, "healthy"),
        ],
    )
    def test_scores_are_the_formula_over_slots_calls_and_the_gateways_own_score(
        self, what: str, available: float, error_rate: float | None, slots: float, score: float, status: str
    ) -> None:
        groq = verdict(lived()[what], "groq")
        assert groq.values["provider_availability"] == pytest.approx(available)
        assert groq.values["provider_error_rate"] == pytest.approx(error_rate, abs=RATIO_ROUNDED)
        assert groq.values["provider_reported_health_score"] == pytest.approx(slots)
        assert groq.values["provider_health_score"] == pytest.approx(score, abs=SCORE_ROUNDED)
        assert groq.status.word == status

    def test_since_when_a_slot_is_open_is_when_it_was_first_seen_so(self) -> None:
        circuits = {what: {c.key: c for c in snapshot.circuits} for what, snapshot in lived().items()}
        second = circuits["both slots failing"][SECOND]
        assert (second.since, second.first_opened) == (AT["one slot failing"],) * 2
        assert circuits["one slot recovering"][FIRST].since == AT["both slots failing"]
        last = circuits["restarted, with traffic"]
        assert (last[FIRST].since, last[SECOND].since) == (AT["recovered"], AT["one slot recovering"])
        assert (last[FIRST].opens, last[SECOND].opens) == ((AT["both slots failing"],), (AT["one slot failing"],))

    def test_a_provider_without_traffic_has_no_error_rate(self) -> None:
        rates = {what: verdict(said, "cerebras").values["provider_error_rate"] for what, said in lived().items()}
        assert rates.pop("restarted, with traffic") == 0.0
        assert set(rates.values()) == {None}

    def test_an_exposition_is_recognised_by_any_family_of_the_router(self) -> None:
        for family in ("deeppin_llm_rpm_used", "deeppin_llm_calls_total", "deeppin_llm_tokens_total"):
            [(signals, _)] = replayed([f'{family}{{provider="groq"}} 1\n'.encode()])
            assert signals.dialects == ("deeppin",)
        [(signals, _)] = replayed([b'deeppin_searxng_calls_total{result="ok"} 1\n'])
        assert signals.dialects == ()


def recovering(*slots: tuple[Slot, float]) -> bytes:
    return "".join(slot(of, seconds, 1) for of, seconds in slots).encode()


class TestKeys:
    def test_a_key_that_serves_several_models_is_a_slot_of_each(self) -> None:
        large, small = ("groq", "llama-3.3-70b", A), ("groq", "llama-3.1-8b", A)
        [(_, snapshot)] = replayed([recovering((large, 0), (small, 12))])
        assert states(snapshot) == {Key("groq", "llama-3.3-70b"): "CLOSED", Key("groq", "llama-3.1-8b"): "OPEN"}

    def test_keys_that_begin_alike_are_not_taken_for_one(self) -> None:
        # All keys of OpenRouter begin with the same eight characters.
        first, second = ("openrouter", "qwen-3", "sk-or-v1"), ("openai", "gpt-4o", "sk-or-v1")
        [(_, snapshot)] = replayed([recovering((first, 30), (second, 0))])
        assert states(snapshot) == {Key("openrouter", "qwen-3"): "OPEN", Key("openai", "gpt-4o"): "CLOSED"}

    def test_a_new_key_goes_by_the_name_that_came_free_once_the_old_one_is_gone_for_good(self) -> None:
        lived = replayed([recovering((ONE, 0)), *[recovering()] * 3, recovering((TWO, 0))])
        assert [*states(list(lived)[-1][1])] == [FIRST]
        [_, (_, at_once)] = replayed([recovering((ONE, 0)), recovering((TWO, 0))])
        assert SECOND in states(at_once)

    def test_no_key_is_shown_logged_or_kept(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        now = [1_795_000_000.0]
        with gateway(*(answer(200, body) for body in DAY_OF_GROQ.values())) as upstream:
            settings = Settings(f"http://127.0.0.1:{upstream.port}", metrics_path="/metrics", data_dir=tmp_path)
            app = create_app(settings, clock=reads(lambda: now[0]))
            bridge = app.extensions["bridge"]
            for _ in DAY_OF_GROQ:
                now[0] += 15
                assert polled(poller_in(app)).outcome == "ok"
            client = app.test_client()
            answers = [client.get("/").text, client.post("/search", json={"target": "models"}).text]
            for more in ({}, {"format": "text"}, {"from": "now-1h", "to": "now"}):
                asked = [{"target": target, **more} for target in (*METRICS, *TABLES)]
                answers += [client.get("/query", query_string=query).text for query in asked]
            answers += [client.post("/tag-values", json={"key": key}).text for key in ("model", "key_prefix")]
            kept = b"".join(file.read_bytes() for file in tmp_path.iterdir()).decode("latin-1")
            memory = repr(bridge.store.memory()) + repr(bridge.store.latest())
            bridge.store.close()
        shown = "\n".join([*answers, kept, memory, capfd.readouterr().out])
        assert "llama-3.3-70b #2" in shown
        assert [key for key in (A, B, C) if key in shown] == []
