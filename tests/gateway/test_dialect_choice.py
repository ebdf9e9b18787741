"""Dialects chosen: several in one exposition, none at all, one by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from bridge.application import create_app
from bridge.settings import Settings
from tests.gateway.hostile import answer, gateway
from tests.one_poller import polled as poll
from tests.one_poller import poller_in, reads

PROJECT = Path(__file__).parents[2]
CAPTURES = PROJECT.parent / "shared/captures"
BEGAN = 1_795_000_000.0
BREAKERS = b"""\
circuit_breaker_state{service="payments"} 1
circuit_breaker_state_changes_total{service="payments",from_state="closed",to_state="open"} 1
circuit_breaker_failures_total{service="payments",error_type="timeout"} 5
"""
DEPLOYMENT = """\
litellm_deployment_state{{api_provider="groq",litellm_model_name="llama",model_id="1"}} 0
litellm_deployment_total_requests_total{{api_provider="groq",litellm_model_name="llama",model_id="1"}} {requests}
litellm_deployment_success_responses_total{{api_provider="groq",litellm_model_name="llama",model_id="1"}} {requests}
"""
LITELLM = [DEPLOYMENT.format(requests=requests).encode() for requests in (50, 60)]
UNRELATED = "".join(f'shop_{number}_total{{shelf="a"}} {number}\n' for number in range(200)).encode()

captured = pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")


@contextmanager
def polled(
    tmp_path: Path, *bodies: bytes, dialect: str = "auto", outcome: str = "ok", began: float = BEGAN
) -> Iterator[FlaskClient]:
    """A bridge that has polled these expositions, 15 s apart."""
    now = [began]
    with gateway(*(answer(200, body) for body in bodies)) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        settings = Settings(url, metrics_path="/metrics", data_dir=tmp_path / "data", dialect=dialect)
        app = create_app(settings, clock=reads(lambda: now[0]))
        bridge, poller = app.extensions["bridge"], poller_in(app)
        poller.resume()
        for _ in bodies:
            now[0] += 15
            assert poll(poller).outcome == outcome
        yield app.test_client()
        bridge.store.close()
        poller._source._client.close()


def logged(capfd: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == event]


def explained(client: FlaskClient, provider: str) -> dict[str, str]:
    """What stands behind a provider's verdict, and who said it."""
    table = client.get("/query", query_string={"target": f'explain{{provider="{provider}"}}'}).json[0]
    columns = [column["text"] for column in table["columns"]]
    rows = [dict(zip(columns, row, strict=True)) for row in table["rows"]]
    return {row["What"]: row["Source"] for row in rows}


class TestSeveralDialects:
    @captured
    def test_the_two_faces_of_one_gateway_each_give_what_they_say_best(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        data = sorted((CAPTURES / "gatewayz-data").glob("00[01]-*.prom"))
        metrics = sorted((CAPTURES / "gatewayz-metrics").glob("02[01]-*.prom"))
        both = [one.read_bytes() + other.read_bytes() for one, other in zip(data, metrics, strict=True)]
        with polled(tmp_path, *both) as client:
            openai = explained(client, "openai")
            summary = client.get("/", headers={"Accept": "application/json"}).json
        assert summary["gateway"]["dialects"] == ["gatewayz-data", "gatewayz-metrics"]
        assert openai["reported score"] == "health_score (gatewayz-data)"
        assert openai["error rate"] == "bridge, from model_inference_requests_total (gatewayz-metrics)"
        assert openai["requests per second"] == "bridge, from model_inference_requests_total (gatewayz-metrics)"
        assert openai["latency p95"] == "bridge, from model_inference_duration_seconds (gatewayz-metrics)"
        assert openai["availability"] == "bridge, 4 of 4 circuits not OPEN"
        [told] = logged(capfd, "dialects")
        assert told["message"] == "read as gatewayz-data, gatewayz-metrics"
        assert told["signals"]["circuit_state"] == "circuit_breaker_state (gatewayz-data)"
        assert told["signals"]["requests"] == told["signals"]["failures"]
        assert told["signals"]["transitions"] == "circuit_breaker_state_transitions_total (gatewayz-metrics)"

    def test_gateways_that_share_an_exposition_each_keep_their_providers(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with polled(tmp_path, *(body + BREAKERS for body in LITELLM)) as client:
            rows = client.get("/query?target=providers").json[0]["rows"]
            groq = explained(client, "groq")
        assert [(row[0], row[1], row[4]) for row in rows] == [
            ("payments", "down", "OPEN"),
            ("groq", "healthy", "CLOSED"),
        ]
        assert groq["error rate"] == "bridge, from litellm_deployment_failure_responses_total (litellm)"
        [told] = logged(capfd, "dialects")
        assert told["message"] == "read as litellm, circuit-breaker"
        assert told["signals"]["outages"] == "litellm_deployment_cooled_down_total (litellm)"
        assert told["signals"]["circuit_state"] == "circuit_breaker_state (circuit-breaker)"

    def test_explain_says_which_family_and_dialect_gave_a_circuits_state(self, tmp_path: Path) -> None:
        with polled(tmp_path, *(body + BREAKERS for body in LITELLM)) as client:
            payments, groq = explained(client, "payments"), explained(client, "groq")
        assert "circuit_breaker_state (circuit-breaker)" in payments["circuit"]
        assert "(litellm)" in groq["circuit llama"]

    def test_explain_on_a_terminal_names_the_dialects(self, tmp_path: Path) -> None:
        with polled(tmp_path, *(body + BREAKERS for body in LITELLM)) as client:
            told = {name: client.get(f"/providers/{name}?format=text").text for name in ("groq", "payments")}
        # The families are called litellm_… too: the dialect is what stands in brackets.
        assert "litellm)" in "".join(told["groq"].split())
        assert "circuit-breaker)" in "".join(told["payments"].split())

    def test_what_gives_which_signal_is_logged_once_and_again_when_it_changes(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        one, two = LITELLM
        with polled(tmp_path, one, two, two + BREAKERS, two + BREAKERS):
            pass
        assert [told["message"] for told in logged(capfd, "dialects")] == [
            "read as litellm",
            "read as litellm, circuit-breaker",
        ]

    @pytest.mark.parametrize(("dialect", "providers"), [("circuit-breaker", ["payments"]), ("litellm", ["groq"])])
    def test_a_dialect_that_is_forced_is_the_only_one_read(
        self, tmp_path: Path, dialect: str, providers: list[str]
    ) -> None:
        with polled(tmp_path, *(body + BREAKERS for body in LITELLM), dialect=dialect) as client:
            assert client.post("/search", json={"target": "providers"}).json == providers
            summary = client.get("/", headers={"Accept": "application/json"}).json
        assert summary["gateway"]["dialects"] == [dialect]


class TestNoDialect:
    def test_families_that_have_nothing_to_do_with_providers_are_no_good_poll_and_it_says_what_to_do_next(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with polled(tmp_path, UNRELATED, UNRELATED, outcome="unrecognised") as client:
            board, ready = client.get("/"), client.get("/ready")
        assert (board.status_code, ready.status_code) == (200, 503)
        polls = logged(capfd, "poll")
        assert [poll["level"] for poll in polls] == ["warning", "warning"]
        for told in (ready.text, " ".join(board.text.split()), polls[0]["message"]):
            for next_step in ("GATEWAY_METRICS_PATH", "python -m bridge.gateway check", "GATEWAY_DIALECT"):
                assert next_step in told

    def test_with_a_forced_dialect_only_its_signs_count(self, tmp_path: Path) -> None:
        with polled(tmp_path, LITELLM[0], dialect="privaterouter", outcome="unrecognised") as client:
            assert client.get("/ready").status_code == 503

    @pytest.mark.parametrize(
        "declaration",
        [
            pytest.param("# TYPE litellm_deployment_state gauge", id="a sign"),
            pytest.param("# HELP circuit_breaker_state State", id="a sign by its label, which no declaration has"),
            pytest.param("# TYPE deeppin_llm_slot_score gauge", id="a sign by its beginning"),
            pytest.param("# TYPE model_inference_duration_seconds histogram", id="a histogram"),
            pytest.param("# TYPE pr_llm_calls counter", id="a counter as OpenMetrics declares it"),
        ],
    )
    def test_a_known_gateway_that_declares_its_families_alone_is_a_good_poll_with_nobody_in_it(
        self, tmp_path: Path, declaration: str
    ) -> None:
        with polled(tmp_path, declaration.encode() + b"\nprocess_cpu_seconds_total 3\n") as client:
            assert client.get("/ready").status_code == 200
            assert client.get("/query?target=providers").json[0]["rows"] == []
            assert "publishes nothing of any provider yet" in " ".join(client.get("/").text.split())

    def test_a_gateway_that_was_known_is_known_by_any_of_its_families_also_after_a_restart(
        self, tmp_path: Path
    ) -> None:
        rest = b'litellm_spend_metric_total{api_provider="groq",model="llama",model_id="a"} 0.5\n'
        with polled(tmp_path, rest, outcome="unrecognised"):
            pass
        with polled(tmp_path, LITELLM[0], began=BEGAN + 60):
            pass
        with polled(tmp_path, rest, began=BEGAN + 120) as client:
            assert client.get("/ready").status_code == 200
        with polled(tmp_path, UNRELATED, began=BEGAN + 180, outcome="unrecognised"):
            pass
