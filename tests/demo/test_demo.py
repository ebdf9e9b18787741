"""The demo gateway: an exposition like the real one's, the incident it promises, and a process that ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo import __main__ as demo
from demo.gateway import DATA_PATH, serve
from demo.script import LOOP_SECONDS, PROVIDERS, exposition

PROJECT = Path(__file__).parents[2]
CAPTURE = PROJECT.parent / "shared/captures/gatewayz-data/000-baseline.prom"
HOUR = 1_800_000_000.0 // 3600 * 3600
SECONDS = [float(second) for second in range(0, 1300, 5)]
SONNET = ("openrouter", "anthropic/claude-3-5-sonnet")

Series = tuple[str, ...]


@cache
def samples(elapsed: float, now: float | None = None) -> dict[Series, float]:
    """Name and label values of every series, and its value."""
    text = exposition(elapsed, HOUR + elapsed if now is None else now)
    found = [
        ((sample.name, *sample.labels.values()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found), "a series stands there twice"
    return dict(found)


def states(provider: str, model: str) -> list[str]:
    """The states a circuit goes through in one loop, each once."""
    seen: list[str] = []
    for second in range(0, int(LOOP_SECONDS), 5):
        at = samples(second)
        [state] = [s for s in ("open", "closed", "half_open") if at["circuit_breaker_state", provider, model, s] == 1]
        if seen[-1:] != [state]:
            seen.append(state)
    return seen


def scores(provider: str) -> list[float]:
    return [samples(second)["health_score", provider] for second in range(0, int(LOOP_SECONDS), 5)]


class TestExposition:
    @pytest.mark.parametrize("elapsed", SECONDS[::7])
    def test_it_is_whole_and_readable(self, elapsed: float) -> None:
        text = exposition(elapsed, HOUR + elapsed)
        assert text.endswith("\ngatewayz_data_scrape_success 1\n")
        assert samples(elapsed)["gatewayz_data_scrape_success",] == 1

    def test_it_is_a_pure_function(self) -> None:
        assert [exposition(s, HOUR + s) for s in SECONDS] == [exposition(s, HOUR + s) for s in SECONDS]

    def test_it_has_thirty_providers_of_one_to_five_models(self) -> None:
        assert len(PROVIDERS) == 30
        assert {len(models) for models in PROVIDERS.values()} <= {1, 2, 3, 4, 5}
        assert len([series for series in samples(500) if series[0] == "health_score"]) == 30

    def test_every_circuit_is_in_exactly_one_state(self) -> None:
        at = samples(300)
        for provider, models in PROVIDERS.items():
            for model in models if provider != "mistral" else ():
                assert (
                    sum(at["circuit_breaker_state", provider, model, s] for s in ("open", "closed", "half_open")) == 1
                )

    def test_it_has_the_real_gateways_faults(self) -> None:
        at = samples(320)
        assert {value for series, value in at.items() if series[0] == "error_rate"} == {0.0}
        assert {value for series, value in at.items() if series[0] == "provider_availability"} == {100.0}
        assert {value for series, value in at.items() if series[0] == "avg_latency_ms"} == {0.0}

    def test_requests_start_again_on_the_hour(self) -> None:
        before = samples(100, HOUR + 3599)["total_requests", "openai"]
        after = samples(110, HOUR + 3609)["total_requests", "openai"]
        assert before > after > 0

    def test_requests_never_fall_within_an_hour(self) -> None:
        for provider in ("openai", "groq"):
            counts = [samples(second)["total_requests", provider] for second in SECONDS]
            assert counts == sorted(counts)

    @pytest.mark.skipif(not CAPTURE.exists(), reason="no captures here")
    def test_its_lines_look_like_the_real_gateways(self) -> None:
        def shapes(text: str) -> set[str]:
            """Every line but for the names and numbers in it; the comments, and the number format, as they are."""
            return {
                "".join("9" if c.isdigit() else c for c in shape) for shape in map(_without_names, text.splitlines())
            }

        assert shapes(exposition(0, HOUR + 3000)) <= shapes(CAPTURE.read_text()) | {
            f'total_requests{{provider=""}} {"9" * digits}' for digits in range(1, 6)
        }
        assert exposition(0, HOUR).split("health_score{")[0] == CAPTURE.read_text().split("health_score{")[0]


class TestIncident:
    def test_the_first_minute_is_healthy(self) -> None:
        for second in range(0, 55, 5):
            at = samples(second)
            assert not any(value for series, value in at.items() if series[-1] in ("open", "half_open"))
            assert min(value for series, value in at.items() if series[0] == "health_score") >= 95

    def test_one_model_of_openrouter_flaps_and_recovers(self) -> None:
        assert states(*SONNET) == ["closed", "open", "half_open", "open", "half_open", "closed"]
        assert all(states("openrouter", model) == ["closed"] for model in PROVIDERS["openrouter"] if model != SONNET[1])

    def test_groq_goes_down_altogether_for_two_minutes_and_recovers(self) -> None:
        assert all(states("groq", model) == ["closed", "open", "half_open", "closed"] for model in PROVIDERS["groq"])
        down = [at for at in map(samples, range(270, 400, 5)) if at["health_score", "groq"] == 25]
        all_open = [at for at in down if all(at["circuit_breaker_state", "groq", m, "open"] for m in PROVIDERS["groq"])]
        assert len(all_open) * 5 >= 110
        assert len({at["total_requests", "groq"] for at in all_open}) == 1, "an open circuit lets nothing through"
        assert scores("groq")[-1] == 100

    def test_cohere_dips_for_one_poll(self) -> None:
        assert [score for score in scores("cohere") if score < 80] == [62.0]
        assert all(states("cohere", model) == ["closed"] for model in PROVIDERS["cohere"])

    def test_mistral_appears_late(self) -> None:
        present = ["mistral" in exposition(second, HOUR).replace("mistralai", "") for second in (0, 475, 480, 599)]
        assert present == [False, False, True, True]

    def test_it_plays_again_and_again(self) -> None:
        circuits = [
            {series: value for series, value in samples(second).items() if series[0] == "circuit_breaker_state"}
            for second in (300, 300 + LOOP_SECONDS, 300 + 100 * LOOP_SECONDS)
        ]
        assert circuits[0] == circuits[1] == circuits[2]


class TestServer:
    def test_it_serves_the_script_from_its_first_second_and_counts(self) -> None:
        times = iter([HOUR, HOUR + 300.0, HOUR + 480.0])
        with serve(clock=lambda: next(times)) as gateway:
            with urlopen(gateway.url + DATA_PATH) as answer:
                assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert answer.read().decode() == exposition(300.0, HOUR + 300.0)
            assert gateway.requests.value == 1
            with urlopen(gateway.url + DATA_PATH) as answer:
                assert 'health_score{provider="mistral"}' in answer.read().decode()
            assert gateway.requests.value == 2

    def test_other_paths_are_not_there(self) -> None:
        with serve() as gateway:
            with pytest.raises(HTTPError, match="404") as caught:
                urlopen(gateway.url + "/prometheus")
            caught.value.close()
            assert gateway.requests.value == 0

    def test_two_can_run_at_once(self) -> None:
        with serve() as one, serve() as two:
            assert one.url != two.url


class TestRun:
    @pytest.fixture(autouse=True)
    def _signal_handlers(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def test_the_bridge_polls_the_demo_and_its_exit_code_is_the_result(
        self, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        report = tmp_path / "environment.json"
        script = f"import json, os, sys; json.dump(dict(os.environ), open({str(report)!r}, 'w')); sys.exit(3)"
        assert demo.run({"PATH": os.environ["PATH"], "POLL_INTERVAL": ""}, (sys.executable, "-c", script)) == 3
        environ = json.loads(report.read_text())
        assert environ["POLL_INTERVAL"] == "5s"
        assert environ["DATA_DIR"] == "./data/demo"
        assert environ["GATEWAYZ_API_URL"].startswith("http://127.0.0.1:")
        said = f"GATEWAYZ_API_URL is not set: starting the demo gateway on {environ['GATEWAYZ_API_URL']}\n"
        assert capfd.readouterr().out == said

    def test_what_was_set_is_kept(self) -> None:
        environ = demo.bridge_environment({"POLL_INTERVAL": "1m", "DATA_DIR": "/tmp/x", "PORT": "1"}, "http://gateway")
        assert (environ["POLL_INTERVAL"], environ["DATA_DIR"], environ["PORT"]) == ("1m", "/tmp/x", "1")

    @pytest.mark.parametrize(
        ("number", "code"),
        [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)],
    )
    def test_a_signal_to_stop_reaches_the_bridge(self, number: signal.Signals, code: int) -> None:
        bridge = (
            "import signal, sys, time\n"
            "for n in (signal.SIGTERM, signal.SIGINT): signal.signal(n, lambda n, _: sys.exit(n))\n"
            "print('ready', flush=True)\n"
            "time.sleep(30)"
        )
        command = f"(sys.executable, '-c', {bridge!r})"
        script = f"import os, sys; from demo.__main__ import run; sys.exit(run(os.environ, {command}))"
        with subprocess.Popen(
            (sys.executable, "-c", script), cwd=PROJECT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("GATEWAYZ_API_URL is not set")
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.wait(10) == code


def _without_names(line: str) -> str:
    if line.startswith("#") or '"' not in line:
        return line
    parts = line.split('"')
    for place in range(1, len(parts), 2):
        if parts[place] not in ("open", "closed", "half_open"):
            parts[place] = ""
    return '"'.join(parts)
