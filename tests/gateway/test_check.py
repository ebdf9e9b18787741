"""``python -m bridge.gateway check``: what it tells who writes a dialect, and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.check import FAMILIES_SHOWN, check
from bridge.gateway.__main__ import main
from bridge.gateway.dialect_file import builtin, load, select
from tests.gateway.hostile import answer, gateway, unused_port

PROJECT = Path(__file__).parents[2]
ROUTER = """\
pr_llm_calls_total{model="openai/gpt-4o",endpoint="chat",status="success"} 90
pr_llm_calls_total{model="openai/gpt-4o",endpoint="chat",status="error"} 10
pr_llm_cost_usd_total{model="openai/gpt-4o"} 1.25
pr_gpu_node_up{node_id="n-7f3a",name="a100"} 0
pr_llm_queue_seconds_bucket{model="openai/gpt-4o",le="+Inf"} 3
pr_llm_queue_seconds_sum{model="openai/gpt-4o"} 1
pr_llm_queue_seconds_count{model="openai/gpt-4o"} 3
pr_http_requests_total{route="/v1"} 3
this is no sample{
"""
YARD = 'yard_errors_ratio{vendor="acme"} 0.125\nyard_breaker{vendor="acme",phase="open"} 1\nyard_age{vendor="acme"} 1\n'
OWN = """\
name = "yard"
title = "The Yard"
recognised_by = ["yard_*"]

[[signals]]
signal = "error_rate"
family = "yard_errors_ratio"
provider = "vendor"
unit = "ratio"

[[signals]]
signal = "circuit_state"
family = "yard_breaker"
provider = "vendor"
state = "phase"
"""


def run(*arguments: str, stdin: str = "", token: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a person types it, in a process of its own."""
    environ = {name: value for name, value in os.environ.items() if name != "GATEWAY_TOKEN"}
    environ |= {} if token is None else {"GATEWAY_TOKEN": token}
    command = [sys.executable, "-m", "bridge.gateway", "check", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environ, input=stdin, capture_output=True, text=True, timeout=60)


def part(report: str, heading: str) -> str:
    """What stands under a heading, with single blanks."""
    return re.sub(" +", " ", report.partition(f"\n{heading}")[2].partition("\n\n")[0])


def said_of(text: str) -> str:
    return timeless(check(text.encode(), select("auto")).report)


def timeless(text: str) -> str:
    """A text with times of day blotted out."""
    return re.sub(r"(\d\d-\d\d )?\d\d:\d\d:\d\d", "MM-DD hh:mm:ss", text)


class TestCommand:
    def test_a_file_is_read_and_told_in_tables(self, tmp_path: Path) -> None:
        (tmp_path / "metrics.prom").write_text(ROUTER)
        done = run(str(tmp_path / "metrics.prom"))
        assert (done.returncode, done.stderr) == (0, "")
        assert timeless(done.stdout) == said_of(ROUTER)
        for heading in ("Read\n", "Not read, though it may be about providers\n", "Providers", "Circuits\n"):
            assert f"\n{heading}" in done.stdout

    def test_a_url_is_fetched_with_the_gateways_token(self) -> None:
        with gateway(answer(200, ROUTER.encode())) as upstream:
            done = run(upstream.url, token="s3cret-token")
        assert (done.returncode, done.stderr) == (0, "")
        assert "Recognised: privaterouter" in done.stdout
        [request] = upstream.requests
        assert "Authorization: Bearer s3cret-token\r\n" in request
        assert "s3cret-token" not in done.stdout

    @pytest.mark.parametrize("token", [None, ""], ids=["unset", "empty"])
    def test_without_a_token_none_is_sent(self, token: str | None) -> None:
        with gateway(answer(200, ROUTER.encode())) as upstream:
            done = run(upstream.url, token=token)
        assert (done.returncode, done.stderr) == (0, "")
        assert "authorization" not in upstream.requests[0].lower()

    def test_standard_input_is_read_with_a_dialect_of_ones_own(self, tmp_path: Path) -> None:
        (tmp_path / "yard.toml").write_text(OWN)
        done = run("-", str(tmp_path / "yard.toml"), stdin=YARD)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Recognised: yard (The Yard), by yard_*" in done.stdout
        assert re.search(r"^acme +down .* OPEN +1 of 1 .* 12\.5%", done.stdout, re.MULTILINE)

    def test_an_exposition_in_no_dialect_ends_with_1_and_says_what_was_looked_for(self) -> None:
        done = run("-", stdin="shop_visits_total 3\n")
        assert (done.returncode, done.stderr) == (1, "")
        assert "no dialect fits this exposition" in done.stdout
        assert all(f"({name})" in done.stdout for name in builtin())

    def test_what_cannot_be_read_ends_with_2_and_one_line(self, tmp_path: Path) -> None:
        done = run(str(tmp_path / "none.prom"))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == [
            f"cannot check: [Errno 2] No such file or directory: '{tmp_path / 'none.prom'}'"
        ]


@pytest.fixture
def metrics(tmp_path: Path) -> str:
    (tmp_path / "metrics.prom").write_text(YARD)
    return str(tmp_path / "metrics.prom")


class TestMistakes:
    """Each ends with 2, nothing on standard output, and one line that names what is wrong."""

    @staticmethod
    def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        assert main(["check", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        [line] = err.splitlines()
        assert line.startswith("cannot check: ")
        return line

    def test_no_gateway_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        port = unused_port()
        assert f"127.0.0.1:{port}: Connection refused" in self.refused(capsys, f"http://127.0.0.1:{port}/metrics")

    @pytest.mark.parametrize("status", [401, 404, 500])
    def test_an_answer_that_is_not_200(self, capsys: pytest.CaptureFixture[str], status: int) -> None:
        with gateway(answer(status, b"no\n")) as upstream:
            assert str(status) in self.refused(capsys, upstream.url)

    def test_a_page(self, capsys: pytest.CaptureFixture[str]) -> None:
        with gateway(answer(200, b"<html>\n", "Content-Type: text/html")) as upstream:
            self.refused(capsys, upstream.url)

    @pytest.mark.parametrize("url", ["ftp://gateway/metrics", "file:///etc/hostname"])
    def test_no_http(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        assert f"{url!r} is no http or https URL" in self.refused(capsys, url)

    def test_a_folder(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert "Is a directory" in self.refused(capsys, str(tmp_path))

    def test_no_such_dialect(self, capsys: pytest.CaptureFixture[str], metrics: str) -> None:
        assert "no dialect 'yrad': built in are" in self.refused(capsys, metrics, "yrad")

    def test_a_dialect_with_a_mistake(self, capsys: pytest.CaptureFixture[str], metrics: str, tmp_path: Path) -> None:
        own = tmp_path / "yard.toml"
        own.write_text(OWN.replace("family", "familiy", 1))
        line = self.refused(capsys, metrics, str(own))
        assert f"{own}: signal 1 (error_rate): unknown key 'familiy' (did you mean 'family'?)" in line

    def test_a_token_that_is_refused_is_not_shown(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GATEWAY_TOKEN", "s3cret-token")
        with gateway(answer(401, b"no: s3cret-token\n")) as upstream:
            assert "s3cret-token" not in self.refused(capsys, upstream.url)


class TestReport:
    def test_the_sign_that_recognised_a_dialect_is_named_and_no_other(self) -> None:
        report = said_of('litellm_deployment_state{api_provider="a",litellm_model_name="b",model_id="c"} 0\n')
        assert "\nRecognised: litellm (LiteLLM), by litellm_deployment_state\n" in report

    def test_the_families_read_are_told_with_labels_and_units(self) -> None:
        read = part(said_of(ROUTER), "Read\n").splitlines()
        assert read == [
            "Signal Family Dialect Provider Model As",
            "requests pr_llm_calls_total privaterouter model model",
            "failures pr_llm_calls_total privaterouter model model classes by status",
            "cost pr_llm_cost_usd_total privaterouter model model usd",
            "availability pr_gpu_node_up privaterouter name ratio",
        ]

    def test_provider_like_families_that_stay_unread_are_told_once_with_their_labels(self) -> None:
        unread = part(said_of(ROUTER), "Not read, though it may be about providers\n").splitlines()
        assert unread == ["Family Labels that may name a provider", "pr_llm_queue_seconds model"]

    def test_a_known_gateway_without_traffic_is_told_from_something_foreign(self) -> None:
        told = "It declares families of a known gateway: the bridge would accept this poll"
        assert told in said_of("# TYPE litellm_deployment_state gauge\nnode_cpu 1\n")
        assert told not in said_of("# TYPE node_cpu gauge\nnode_cpu 1\n")

    def test_the_tables_are_those_of_the_bridge(self) -> None:
        report = said_of(ROUTER)
        providers, circuits = part(report, "Providers"), part(report, "Circuits")
        assert re.search(r"^a100 down 0\.0 - - - - - 0\.0 ", providers, re.MULTILINE)
        assert re.search(r"^openai unknown - - CLOSED 0 of 1 ", providers, re.MULTILINE)
        assert re.search(r"^openai openai/gpt-4o CLOSED .* bridge ", circuits, re.MULTILINE)

    def test_lines_that_cannot_be_read_are_counted_and_the_first_named_without_their_values(self) -> None:
        report = said_of(ROUTER + 'bad{key="s3cret" 1\n')
        assert report.startswith(
            "8 series read, 2 lines could not be read, the first: line 9 (this…), line 10 (bad…)\n"
        )
        assert "s3cret" not in report

    def test_what_is_contradictory_gets_its_notice(self, tmp_path: Path) -> None:
        (tmp_path / "yard.toml").write_text(OWN)
        report = check(YARD.replace("0.125", "7").encode(), [load(tmp_path / "yard.toml")]).report
        assert "\nNotice: yard_errors_ratio of acme is 7, outside its range: not known\n" in report

    def test_of_very_many_unread_families_some_are_shown_and_the_rest_counted(self) -> None:
        report = said_of("".join(f'x{number}_total{{provider="a"}} 1\n' for number in range(100)))
        assert len(re.findall(r"^x\d+_total ", report, re.MULTILINE)) == FAMILIES_SHOWN
        assert f"\nand {100 - FAMILIES_SHOWN} more\n" in report

    def test_nothing_reaches_the_terminal_that_it_would_obey(self) -> None:
        report = said_of('pr_llm_calls_total{model="\x1b[31mred/x",status="ok"} 1\nx{provider_\u202e="a"} 1\n')
        assert "\\x1b[31mred" in report
        assert not {"\x1b", "\u202e"} & set(report)

    def test_every_line_fits_a_terminal(self) -> None:
        assert max(map(len, part(said_of(ROUTER), "Providers").splitlines())) <= 100

    def test_a_family_whose_series_lack_the_label_is_not_said_to_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "yard.toml").write_text(OWN.replace('"vendor"', '"vednor"', 1))
        report = check(YARD.encode(), [load(tmp_path / "yard.toml")]).report
        read = part(report, "Read\n")
        assert "error_rate yard_errors_ratio yard vednor ratio" not in read.splitlines()
        assert "circuit_state yard_breaker yard vendor" in read.splitlines()

    def test_a_scrape_that_the_gateway_itself_says_failed_is_told(self) -> None:
        report = said_of('gatewayz_data_scrape_success 0\nhealth_score{provider="openai"} 90\n')
        assert "scrape failed" in report
