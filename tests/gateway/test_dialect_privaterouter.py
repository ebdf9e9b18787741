"""PrivateRouter: providers cut out of model names, breakers worked out from calls, and GPU nodes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import pytest

from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.model import Circuit, Key, Moment, Signals, Snapshot, Verdict
from bridge.policy import Policy

BIG, MINI, LLAMA, OWN = "openai/gpt-4o", "openai/gpt-4o-mini", "groq/llama-3.3-70b", "mistral-7b"
NODES = {"n-7f3a": "a100", "n-9c1d": "a100", "n-0b0b": "h100"}
"""The GPU nodes' ids and names: two go by one name."""


def calls(model: str, ok: int, failed: int) -> str:
    return "".join(
        f'pr_llm_calls_total{{model="{model}",endpoint="{endpoint}",status="{status}"}} {count}\n'
        for endpoint, status, count in (("chat", "success", ok), ("chat", "error", failed))
        if count
    )


def costs(usd: Mapping[str, float]) -> str:
    return "".join(f'pr_llm_cost_usd_total{{model="{model}"}} {cost}\n' for model, cost in usd.items())


def nodes(*down: str) -> str:
    return "".join(
        f'pr_gpu_node_up{{node_id="{id_}",name="{name}"}} {int(id_ not in down)}\n'
        f'pr_gpu_node_utilization_pct{{node_id="{id_}",name="{name}"}} 93\n'
        for id_, name in NODES.items()
    )


def poll(big: int, llama: int, llama_failed: int, *down: str, spent: float = 12.5) -> bytes:
    """One poll: calls of OpenAI's large model that went well, calls of Groq's, and the nodes that are down."""
    # Every counter has risen by much before the day begins, so that PromQL's increase() reads all of them alike.
    others = calls(MINI, 1000, 100) + calls(OWN, 500, 100)
    spending = costs({BIG: spent, MINI: 0.75, LLAMA: 0.02, OWN: 3.0})
    return (calls(BIG, big, 100) + calls(LLAMA, llama, llama_failed) + others + spending + nodes(*down)).encode()


RESTARTED = (calls(BIG, 2, 0) + calls(LLAMA, 3, 0) + costs({BIG: 0.1}) + nodes()).encode()
RATIO_ROUNDED, SCORE_ROUNDED = 0.5e-4, 0.05
"""How far published values are off by being rounded."""

SECOND_A100 = "n-9c1d"
DAY = {
    0: poll(1000, 500, 100),
    15: poll(1010, 520, 100, spent=12.6),
    30: poll(1020, 520, 112, spent=12.7),
    45: poll(1030, 520, 124, SECOND_A100, spent=12.8),
    60: poll(1040, 520, 124, SECOND_A100, spent=12.9),
    75: poll(1050, 520, 124, SECOND_A100, spent=13.0),
    90: poll(1060, 520, 124, spent=13.1),
    105: poll(1070, 520, 124, spent=13.2),
    120: poll(1080, 525, 124, spent=13.3),
    135: RESTARTED,
}
"""Healthy; Groq failing from 30 on; nobody asks it while it is OPEN; five calls try it at 120; a restart at 135."""


def replayed(day: Sequence[tuple[float, bytes]]) -> Iterator[tuple[Signals, Snapshot]]:
    reader, translator, memory = ExpositionReader(), Translator(select("auto")), Memory()
    for at, body in day:
        signals = translator.translate(reader.read(body), memory.learnt)
        memory, snapshot, _ = assess(memory, signals, Moment(at, at), Policy())
        yield signals, snapshot


@cache
def lived() -> dict[float, Snapshot]:
    return {at: snapshot for at, (_, snapshot) in zip(DAY, replayed(list(DAY.items())), strict=True)}


def verdict(snapshot: Snapshot, provider: str) -> Verdict:
    return next(found for found in snapshot.verdicts if found.provider == provider)


def circuit(snapshot: Snapshot, provider: str, model: str) -> Circuit:
    return next(found for found in snapshot.circuits if found.key == Key(provider, model))


class TestDay:
    @pytest.mark.parametrize(
        ("at", "state", "since", "first_opened"),
        [
            (0, "CLOSED", 0, None),
            (15, "CLOSED", 0, None),
            (30, "CLOSED", 0, None),  # 12 of 32 calls failed
            (45, "OPEN", 45, 45),  # 24 of 44
            (60, "OPEN", 45, 45),
            (90, "OPEN", 45, 45),
            (105, "HALF_OPEN", 105, 45),
            (120, "CLOSED", 120, None),
            (135, "CLOSED", 120, None),
        ],
    )
    def test_a_models_breaker_is_worked_out_from_its_calls(
        self, at: float, state: str, since: float, first_opened: float | None
    ) -> None:
        llama = circuit(lived()[at], "groq", LLAMA)
        assert llama.state is not None
        assert (llama.state.name, llama.source) == (state, "bridge")
        assert (llama.since, llama.first_opened) == (since, first_opened)
        assert circuit(lived()[at], "openai", BIG).opens == ()

    @pytest.mark.parametrize(
        ("at", "error_rate", "available", "score", "status"),
        [
            # 100 × (0.4 · available + 0.3 · (1 − error rate)) / 0.7, as nothing is known of latency. Available is what
            # of the hour's calls went well, and while the only circuit is OPEN nothing.
            (0, None, None, None, "unknown"),
            (15, 0 / 20, 100, 100, "healthy"),
            (30, 12 / 32, 62.5, 62.5, "degraded"),
            (45, 24 / 44, 0, 30 * 20 / 44 / 0.7, "down"),
            (90, 24 / 44, 0, 30 * 20 / 44 / 0.7, "down"),
            (105, 24 / 44, 100 * 20 / 44, 100 * 20 / 44, "down"),
            (120, 24 / 49, 100 * 25 / 49, 100 * 25 / 49, "degraded"),
        ],
    )
    def test_scores_are_the_formula_over_the_calls(
        self, at: float, error_rate: float | None, available: float | None, score: float | None, status: str
    ) -> None:
        groq = verdict(lived()[at], "groq")
        assert groq.values["provider_error_rate"] == pytest.approx(error_rate, abs=RATIO_ROUNDED)
        assert groq.values["provider_availability"] == pytest.approx(available, abs=SCORE_ROUNDED)
        assert groq.values["provider_health_score"] == pytest.approx(score, abs=SCORE_ROUNDED)
        assert groq.status.word == status
        assert (groq.values["provider_circuits"], groq.values["provider_open_circuits"]) == (1, 45 <= at < 105)
        openai = verdict(lived()[at], "openai")
        assert openai.values["provider_health_score"] == (None if at == 0 else 100)
        assert (openai.values["provider_circuits"], openai.values["provider_open_circuits"]) == (2, 0)

    def test_a_restart_is_a_reset_and_not_a_negative_rate(self) -> None:
        groq = verdict(lived()[135], "groq")
        # As PromQL says of the 135 s that are known: 20 + 5 + 3 successes, and 24 failures in 120 s, read as 135 s.
        ok, failed = 28, 24 * 135 / 120
        assert groq.values["provider_error_rate"] == pytest.approx(failed / (ok + failed), abs=RATIO_ROUNDED)
        assert groq.values["provider_request_rate"] == pytest.approx((ok + failed) / 135, abs=0.0005)

    def test_costs_are_the_sum_of_a_providers_models(self) -> None:
        spent = {at: {v.provider: v.values["provider_cost_usd"] for v in said.verdicts} for at, said in lived().items()}
        assert [spent[at]["openai"] for at in (0, 15, 120, 135)] == pytest.approx([13.25, 13.35, 14.05, 0.1])
        assert (spent[0]["groq"], spent[0]["default"], spent[0]["a100"]) == (0.02, 3.0, None)
        assert lived()[0].fleet["fleet_cost_usd"] == pytest.approx(16.27)

    def test_nodes_are_providers_of_a_kind_of_their_own_and_known_by_their_names(self) -> None:
        named = {"a100", "a100 #2", "h100"}
        for snapshot in lived().values():
            kinds = {v.provider: [e.note for e in v.evidence if e.name == "kind"] for v in snapshot.verdicts}
            assert {provider for provider, kind in kinds.items() if kind == ["GPU node"]} == named
            assert not any(id_ in repr(snapshot) for id_ in NODES)

    @pytest.mark.parametrize(
        ("at", "available", "status", "since"),
        [
            (0, 100, "healthy", 0),
            (30, 100, "healthy", 0),
            (45, 0, "down", 45),
            (75, 0, "down", 45),
            (90, 100, "healthy", 90),
            (135, 100, "healthy", 90),
        ],
    )
    def test_a_node_is_as_well_as_it_is_up(self, at: float, available: float, status: str, since: float) -> None:
        second, first = verdict(lived()[at], "a100 #2"), verdict(lived()[at], "a100")
        assert second.values["provider_availability"] == available
        assert second.values["provider_health_score"] == available
        assert (second.status.word, second.status_since) == (status, since)
        assert (first.values["provider_health_score"], first.status.word) == (100, "healthy")
        assert (second.values["provider_circuits"], second.values["provider_error_rate"]) == (None, None)


class TestNames:
    @pytest.mark.parametrize(
        ("model", "provider"),
        [
            ("openai/gpt-4o", "openai"),
            ("openrouter/meta/llama-3", "openrouter"),
            ("mistral-7b", "default"),
            ("/mistral-7b", "default"),
        ],
    )
    def test_the_provider_is_what_stands_before_the_first_slash(self, model: str, provider: str) -> None:
        [(signals, _)] = replayed([(0, calls(model, 10, 1).encode())])
        counted = [(counter.signal, counter.key) for counter in signals.counters]
        assert sorted(counted) == [(signal, Key(provider, model)) for signal in ("failures", "requests", "requests")]
        assert signals.providers == {provider}

    def test_a_call_of_no_model_is_nobodys(self) -> None:
        [(signals, snapshot)] = replayed([(0, calls("", 10, 1).encode())])
        assert (signals.dialects, snapshot.verdicts) == (("privaterouter",), ())

    @pytest.mark.parametrize(
        ("status", "failed"),
        [("success", 0), ("ok", 0), ("200", 0), ("error", 20), ("timeout", 20), ("500", 20), ("429", 0), ("404", 0)],
    )
    def test_a_call_failed_unless_its_status_says_otherwise(self, status: str, failed: int) -> None:
        def body(count: int) -> bytes:
            return f'pr_llm_calls_total{{model="a/b",endpoint="chat",status="{status}"}} {count}\n'.encode()

        [_, (_, snapshot)] = replayed([(0, body(100)), (15, body(120))])
        assert verdict(snapshot, "a").values["provider_error_rate"] == pytest.approx(failed / 20)

    def test_nodes_are_watched_before_the_first_call(self) -> None:
        # A counter has no line until it first counts: so it is after every restart.
        [(signals, snapshot)] = replayed([(0, nodes().encode())])
        assert signals.dialects == ("privaterouter",)
        assert [found.provider for found in snapshot.verdicts] == ["a100", "a100 #2", "h100"]
