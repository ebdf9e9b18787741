"""LiteLLM: a real proxy's incidents replayed, and what its exposition says that is nobody's business."""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from bridge.application import create_app
from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.model import FAILURE_CLASSES, Circuit, Event, Key, Moment, Signals, Snapshot, Verdict
from bridge.policy import Policy
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES
from bridge.settings import Settings
from tests.gateway.hostile import answer, gateway
from tests.one_poller import polled, poller_in, reads

PROJECT = Path(__file__).parents[2]
CAPTURES = PROJECT.parent / "shared/captures/litellm"
BEGAN = 1_795_000_000.0
SCRAPES = range(40)
GROQ, MISTRAL, OPENAI = (
    Key("groq", "llama-3.1-8b-instant"),
    Key("mistral", "mistral-large-latest"),
    Key("openai", "gpt-4o-mini"),
)
OUTAGES = {GROQ: range(6, 12), MISTRAL: range(26, 34), OPENAI: range(0)}
"""The scrapes in which each deployment is out of service: from its cool-down to its next success."""

captured = pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no captures in {CAPTURES}")


@cache
def scrapes() -> list[tuple[float, bytes]]:
    """Each captured scrape: when it was, and its body."""
    manifest = json.loads((CAPTURES / "manifest.json").read_bytes())
    return [(BEGAN + scrape["seconds"], (CAPTURES / scrape["file"]).read_bytes()) for scrape in manifest]


def replayed(timed: Sequence[tuple[float, bytes]]) -> Iterator[tuple[Signals, Snapshot, list[Event]]]:
    reader, translator, memory = ExpositionReader(), Translator(select("auto")), Memory()
    for at, body in timed:
        signals = translator.translate(reader.read(body), memory.learnt)
        memory, snapshot, events = assess(memory, signals, Moment(at, at), Policy())
        yield signals, snapshot, events


def every_15_s(*texts: str) -> list[tuple[float, bytes]]:
    return [(BEGAN + 15 * number, text.encode()) for number, text in enumerate(texts)]


def states(snapshot: Snapshot) -> dict[Key, str]:
    return {circuit.key: circuit.state.name if circuit.state is not None else "?" for circuit in snapshot.circuits}


def true_states(scrape: int) -> dict[Key, str]:
    return {key: "OPEN" if scrape in outage else "CLOSED" for key, outage in OUTAGES.items()}


def circuit(snapshot: Snapshot, key: Key) -> Circuit:
    return next(found for found in snapshot.circuits if found.key == key)


def verdict(snapshot: Snapshot, provider: str) -> Verdict:
    return next(found for found in snapshot.verdicts if found.provider == provider)


@captured
class TestReplay:
    def test_a_circuit_is_open_from_its_cool_down_to_its_next_success_and_at_no_other_time(self) -> None:
        seen = [states(snapshot) for _, snapshot, _ in replayed(scrapes())]
        assert seen == [true_states(scrape) for scrape in SCRAPES]

    def test_since_when_and_how_often_it_opened_is_what_the_scrapes_showed(self) -> None:
        *_, (_, last, _) = replayed(scrapes())
        times = [at for at, _ in scrapes()]
        groq, mistral, openai = (circuit(last, key) for key in (GROQ, MISTRAL, OPENAI))
        assert (groq.opens, groq.since, groq.source) == ((times[6],), times[12], "gateway")
        assert (mistral.opens, mistral.since) == ((times[26],), times[34])
        assert (openai.opens, openai.since, openai.since_known) == ((), times[0], False)

    def test_openings_and_closings_are_told_once_each(self) -> None:
        told = [
            (scrape, event.provider, event.before, event.after)
            for scrape, (_, _, events) in enumerate(replayed(scrapes()))
            for event in events
            if event.kind == "circuit" and event.before
        ]
        assert told == [
            (6, "groq", "CLOSED", "OPEN"),
            (12, "groq", "OPEN", "CLOSED"),
            (26, "mistral", "CLOSED", "OPEN"),
            (34, "mistral", "OPEN", "CLOSED"),
        ]

    @pytest.mark.parametrize("first", SCRAPES)
    def test_wherever_the_bridge_starts_its_first_look_is_right(self, first: int) -> None:
        _, snapshot, events = next(replayed(scrapes()[first:]))
        assert states(snapshot) == true_states(first)
        assert not any(found.since_known for found in snapshot.circuits)
        assert not any(event.before for event in events)

    @pytest.mark.parametrize("first", [8, 20])
    def test_a_bridge_that_starts_in_or_long_after_an_outage_goes_on_rightly(self, first: int) -> None:
        seen = [states(snapshot) for _, snapshot, _ in replayed(scrapes()[first:])]
        assert seen == [true_states(scrape) for scrape in SCRAPES[first:]]

    def test_nobody_without_a_name_and_no_group_becomes_a_provider_or_a_model(self) -> None:
        named = {Key("groq"), Key("mistral"), Key("openai"), GROQ, MISTRAL, OPENAI}
        for signals, snapshot, _ in replayed(scrapes()):
            assert signals.providers == {"groq", "mistral", "openai"}
            assert {key for values in signals.gauges.values() for key in values} <= named
            assert {counter.key for counter in signals.counters} <= named
            assert snapshot.model_error_rates.keys() <= named

    def test_counts_are_those_of_all_the_series_of_a_deployment(self) -> None:
        ids = {GROQ: "9519b0404b78", MISTRAL: "6689763fb0f6", OPENAI: "32b159cf5b26"}
        families = {
            "requests": "litellm_deployment_total_requests_total",
            "successes": "litellm_deployment_success_responses_total",
            "failures": "litellm_deployment_failure_responses_total",
            "outages": "litellm_deployment_cooled_down_total",
        }
        for (_, body), (signals, _, _) in zip(scrapes(), replayed(scrapes()), strict=True):
            for signal, family in families.items():
                counted: Counter[Key] = Counter()
                for counter, value in signals.counters.items():
                    classes = FAILURE_CLASSES.values() if signal == "failures" else (signal,)
                    counted[counter.key] += value if counter.signal in classes else 0
                for key, model_id in ids.items():
                    lines = re.findall(rf'^{family}{{.*model_id="{model_id}.*}} (\S+)$', body.decode(), re.MULTILINE)
                    assert counted.get(key, 0) == sum(map(float, lines)), (signal, key)

    def test_the_status_follows_the_circuit_and_a_success_ends_it(self) -> None:
        status = [verdict(snapshot, "groq").status.word for _, snapshot, _ in replayed(scrapes())]
        assert status == ["down" if scrape in OUTAGES[GROQ] else "healthy" for scrape in SCRAPES]

    def test_costs_are_the_gateways_own(self) -> None:
        *_, (_, last, _) = replayed(scrapes())
        spent = {found.provider: found.values["provider_cost_usd"] for found in last.verdicts}
        # Rounded to six decimals.
        # 126 answers of mistral at 7 micro-dollars, 173 of openai at 2.55; groq's model is free of charge here.
        assert spent == pytest.approx({"groq": 0.0, "mistral": 126 * 7e-6, "openai": 173 * 2.55e-6}, abs=5e-7)

    def test_a_bridge_restarted_in_an_outage_goes_on_where_it_stood(self, tmp_path: Path) -> None:
        with gateway(*(answer(200, body) for _, body in scrapes())) as upstream:
            clock = Clock()
            for scrape, (at, _) in enumerate(scrapes()):
                if scrape in (0, 3, 9, 28):
                    app = bridge_of(upstream.port, tmp_path, clock)
                    poller_in(app).resume()
                poll(app, clock, at)
                snapshot = app.extensions["bridge"].view().snapshot
                assert states(snapshot) == true_states(scrape)
                if scrape in OUTAGES[GROQ]:
                    assert circuit(snapshot, GROQ).since == pytest.approx(scrapes()[6][0], rel=0, abs=0.001)


SPENDER = 'api_provider="acme",model="swift",model_id="aaa"'
DEPLOYMENT = 'api_base="https://{id}.example",api_provider="acme",litellm_model_name="swift",model_id="{id}"'


def deployment(id_: str, ok: int, failed: int, state: int, cooled: int = 0, *, client: str = "one") -> str:
    """What LiteLLM says of one deployment of the group ``quick``, as one client's requests made it."""
    own, common = DEPLOYMENT.format(id=id_), f'requested_model="quick",client_ip="{client}"'
    ghost = own.replace("swift", "quick")
    lines = [
        f"litellm_deployment_state{{{own}}} {state}",
        f"litellm_deployment_total_requests_total{{{own},{common}}} {ok + failed}",
        f"litellm_deployment_success_responses_total{{{own},{common}}} {ok}",
        f"litellm_deployment_failure_responses_total{{{own},{common}}} {failed}",
    ]
    if cooled:
        lines += [f"litellm_deployment_state{{{ghost}}} 2", f"litellm_deployment_cooled_down_total{{{ghost}}} {cooled}"]
    return "\n".join(lines) + "\n"


class TestSelfWritten:
    def test_two_deployments_of_one_name_are_two_circuits_and_one_of_them_opens_alone(self) -> None:
        healthy = deployment("aaa", 100, 100, 0) + deployment("bbb", 100, 100, 0)
        half = deployment("aaa", 120, 100, 0) + deployment("bbb", 100, 105, 1, cooled=1)
        well = deployment("aaa", 140, 100, 0) + deployment("bbb", 101, 105, 0, cooled=1)
        seen = [snapshot for _, snapshot, _ in replayed(every_15_s(healthy, half, half, well))]
        first, second = Key("acme", "swift"), Key("acme", "swift #2")
        assert [states(snapshot)[first] for snapshot in seen] == ["CLOSED"] * 4
        assert [states(snapshot)[second] for snapshot in seen] == ["CLOSED", "OPEN", "OPEN", "CLOSED"]
        acme = [verdict(snapshot, "acme") for snapshot in seen]
        assert [(v.values["provider_open_circuits"], v.values["provider_circuits"]) for v in acme] == [
            (0, 2),
            (1, 2),
            (1, 2),
            (0, 2),
        ]
        assert [v.status.word for v in acme] == ["healthy", "degraded", "degraded", "healthy"]
        # Half of the circuits; 5 of 25 requests failed: 100 × (0.4 × 0.5 + 0.3 × 0.8) / 0.7, as there is no latency.
        assert acme[1].values["provider_health_score"] == pytest.approx(100 * 0.44 / 0.7, abs=0.05)
        assert seen[1].model_error_rates == pytest.approx({first: 0.0, second: 1.0})

    def test_the_clients_of_a_deployment_are_counted_together(self) -> None:
        def body(*counts: tuple[int, int]) -> str:
            clients = [(f"c{number}", *count) for number, count in enumerate(counts)]
            spent = "".join(
                f'litellm_spend_metric_total{{{SPENDER},end_user="{client}"}} {ok / 100}\n' for client, ok, _ in clients
            )
            return spent + "".join(deployment("aaa", ok, failed, 0, client=client) for client, ok, failed in clients)

        [*_, (_, last, _)] = replayed(every_15_s(body((90, 90), (50, 50)), body((97, 91), (51, 51))))
        acme = verdict(last, "acme").values
        # 7 + 1 successes and 1 + 1 failures in 15 s, which are all that is known.
        assert acme["provider_error_rate"] == pytest.approx(2 / 10)
        assert acme["provider_request_rate"] == pytest.approx(10 / 15, abs=0.0005)
        assert acme["provider_cost_usd"] == pytest.approx(0.97 + 0.51)

    def test_failures_that_reached_no_deployment_are_nobodys(self) -> None:
        nobody = 'api_base="",api_provider="",litellm_model_name="",model_id="",requested_model="quick"'
        lost = "".join(
            f"litellm_deployment_{family}_total{{{nobody}}} 28\n" for family in ("failure_responses", "total_requests")
        )
        alone, beside = (
            list(replayed(every_15_s(*(deployment("aaa", ok, 50, 0) + more for ok in (50, 60)))))[-1][1]
            for more in ("", lost)
        )
        assert alone.verdicts == beside.verdicts
        assert alone.fleet == beside.fleet

    def test_a_deployment_without_a_models_name_is_no_breaker_of_the_whole_provider(self) -> None:
        nameless = deployment("bbb", 50, 50, 1, cooled=1).replace('"swift"', '""').replace('"quick"', '""')
        [(_, snapshot, _)] = replayed(every_15_s(deployment("aaa", 50, 50, 0) + nameless))
        assert states(snapshot) == {Key("acme", "swift"): "CLOSED"}

    def test_an_outage_and_its_end_between_two_polls_is_over_and_not_lost(self) -> None:
        before, after = deployment("aaa", 50, 50, 0), deployment("aaa", 52, 53, 0, cooled=1)
        [_, (_, snapshot, _)] = replayed(every_15_s(before, after))
        assert states(snapshot) == {Key("acme", "swift"): "CLOSED"}

    def test_an_outage_that_began_again_between_two_polls_stands(self) -> None:
        before, after = deployment("aaa", 50, 50, 0, cooled=3), deployment("aaa", 52, 56, 1, cooled=4)
        [_, (_, snapshot, _)] = replayed(every_15_s(before, after))
        assert states(snapshot) == {Key("acme", "swift"): "OPEN"}

    def test_a_restarted_gateway_begins_with_closed_circuits(self) -> None:
        day = (
            deployment("aaa", 500, 50, 0),
            deployment("aaa", 500, 55, 1, cooled=1),
            deployment("aaa", 3, 0, 0),
            deployment("aaa", 9, 0, 0),
        )
        seen = [states(snapshot)[Key("acme", "swift")] for _, snapshot, _ in replayed(every_15_s(*day))]
        assert seen == ["CLOSED", "OPEN", "CLOSED", "CLOSED"]


# What must not be shown: labels about people and places, planted with words that can be looked for.
PRIVATE = (
    *("api_base", "api_key_alias", "client_ip", "end_user", "hashed_api_key", "model_group", "model_id", "org_alias"),
    *("org_id", "requested_model", "route", "service_tier", "team", "team_alias", "user", "user_agent", "user_email"),
)


def planted(body: bytes) -> bytes:
    """A scrape whose private labels, and whose groups wherever they stand, say ``planted…``."""
    labels = "|".join(PRIVATE)
    text = re.sub(rf'\b({labels})="([^"]+)"', r'\1="planted-\1-\2"', body.decode())
    return re.sub(r'="(fast|smart)"', r'="planted-group-\1"', text).encode()


class Clock:
    now = BEGAN

    def __call__(self) -> float:
        return self.now


def bridge_of(port: int, data_dir: Path, clock: Clock) -> Flask:
    url = f"http://127.0.0.1:{port}"
    return create_app(Settings(gateway_url=url, metrics_path="/metrics", data_dir=data_dir), clock=reads(clock))


def poll(app: Flask, clock: Clock, at: float) -> None:
    clock.now = at
    bridge = app.extensions["bridge"]
    assert polled(poller_in(app)).outcome == "ok"
    bridge.store.close()  # a request reads on a connection of its own thread, not on the poller's


def everything_answered(app: Flask) -> Iterator[str]:
    """Every face's answer to everything that can be asked of it."""
    client = app.test_client()
    span = {"from": "now-1h", "to": "now"}
    for accept in ("*/*", "text/html", "application/json"):
        yield client.get("/", headers={"Accept": accept}).text
    for target in (*METRICS, *OLD_NAMES, *TABLES, *(f'explain{{provider="{key.provider}"}}' for key in OUTAGES)):
        for form in ("json", "text", "rows", "csv"):
            yield client.get("/query", query_string={"target": target, "format": form}).text
            yield client.get("/query", query_string={"target": target, "format": form, **span}).text
        for kind in ("timeserie", "table"):
            yield client.post("/query", json={"targets": [{"target": target, "type": kind}], "range": span}).text
    for typed in ("", "providers", "models", 'models{provider="groq"}', "label_values(model)", "metrics"):
        yield client.post("/search", json={"target": typed}).text
    yield client.post("/tag-keys").text
    for key in ("provider", "model", "status", *PRIVATE):
        yield client.post("/tag-values", json={"key": key}).text
    for path in ("/providers", "/providers/groq", "/providers/nobody", "/metrics", "/health", "/ready"):
        yield client.get(path).text
        yield client.get(path, query_string={"format": "text"}).text
    for query in ("", "circuit", "status", "roster", "gateway"):
        yield client.post("/annotations", json={"range": span, "annotation": {"query": query}}).text


def everything_kept(data_dir: Path) -> str:
    """Every value in the history, unpacked where it is packed, and the files as they are."""

    def words(value: Any) -> str:
        if not isinstance(value, bytes):
            return str(value)
        try:
            return zlib.decompress(value).decode("latin-1")
        except zlib.error:
            return value.decode("latin-1")

    parts = [file.read_bytes().decode("latin-1") for file in data_dir.iterdir()]
    history = sqlite3.connect(data_dir / "history.sqlite")
    for (table,) in history.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        parts += [words(value) for row in history.execute(f"SELECT * FROM {table}") for value in row]
    history.close()
    return "\n".join(parts)


@captured
def test_nothing_of_clients_keys_addresses_and_groups_is_shown_logged_or_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = [5, 6, 12, 26, 33]
    bodies = [planted(scrapes()[scrape][1]) for scrape in chosen]
    assert all(f"planted-{label}".encode() in bodies[-1] for label in (*PRIVATE, "group"))
    with gateway(*(answer(200, body) for body in bodies)) as upstream:
        clock = Clock()
        app = bridge_of(upstream.port, tmp_path, clock)
        for scrape in chosen:
            poll(app, clock, scrapes()[scrape][0])
        answers = "\n".join(everything_answered(app))
        kept = everything_kept(tmp_path)
        app.extensions["bridge"].store.close()
    logged = capfd.readouterr().out
    for place, text in (("answers", answers), ("history", kept)):
        assert GROQ.model in text, f"the {place} hold no model at all: nothing was tested"
    assert "litellm_deployment_cooled_down_total (litellm)" in logged
    for place, text in (("answers", answers), ("history", kept), ("log", logged)):
        assert re.findall(r".{0,60}planted.{0,40}", text) == [], place
