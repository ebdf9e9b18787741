"""The README keeps up with the code, and what it shows works as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bridge.gateway import dialect_file
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES
from bridge.settings import ConfigurationError, load
from demo.gateway import METRICS_PATH, serve
from tests.readme import PROJECT, README, Example, examples
from tests.service.harness import AS_THE_README, Service, wait_until
from tests.services import require

EXAMPLES = examples()
BASE = {"GATEWAYZ_API_URL": "https://gateway.example.com"}


def test_every_metric_table_and_dialect_is_in_the_readme() -> None:
    named = set(re.findall(r"`([a-z0-9_-]+)", README))
    assert {*METRICS, *OLD_NAMES, *TABLES, *dialect_file.builtin()} <= named


def variables() -> list[tuple[str, str]]:
    """Every variable of the README's table, with the default it names."""
    rows = README.partition("\n| variable | default | meaning |\n")[2].partition("\n\n")[0].splitlines()[1:]
    pairs: list[tuple[str, str]] = []
    for row in rows:
        names, default, _ = (cell.strip() for cell in row.strip("|").split(" | ", 2))
        named = re.findall(r"`([A-Z_]+)`", names)
        defaults = [default] if " × " in default else re.findall(r"[^`, ]+", default)
        pairs += zip(named, defaults * len(named) if len(defaults) == 1 else defaults, strict=True)
    return pairs


def test_the_table_of_variables_names_those_the_settings_read_and_no_other() -> None:
    source = (PROJECT / "bridge" / "settings.py").read_text(encoding="utf-8")
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+|PORT)"', source))
    assert {name for name, _ in variables()} == read - {"API_BASE_URL"}
    assert "`API_BASE_URL`" in README
    assert len(variables()) == len(read) - 1, "one stands there twice"


@pytest.mark.parametrize(("name", "default"), variables(), ids=[name for name, _ in variables()])
def test_each_variables_default_is_the_one_in_the_table(name: str, default: str) -> None:
    if default == "required":
        with pytest.raises(ConfigurationError, match=f"{name} is not set"):
            load({})
    elif default == "none":
        assert asdict(load(BASE))[name.lower()] in (None, ())
    elif factor := re.fullmatch(r"([0-9]+) × interval", default):
        for interval in (15, 60):
            given = BASE | {"POLL_INTERVAL": f"{interval}s"}
            assert load(given | {name: f"{int(factor[1]) * interval}s"}) == load(given)
    else:
        assert load(BASE | {name: default}) == load(BASE)


def test_the_examples_are_found() -> None:
    kinds = [example.kind for example in EXAMPLES]
    assert set(kinds) >= {"curl", "target", "variable", "annotation", "route", "yaml", "not run"}
    assert kinds.count("curl") >= 6


@pytest.mark.parametrize(
    ("readme", "kind", "text"),
    [
        ("## X\n\n    frobnicate --all\n", "unknown", "frobnicate --all"),
        ("## X\n\n```sh\nfrobnicate --all\n```\n", "unknown", "frobnicate --all"),
        ("## X\n\n1. Do\n\n   ```\n   wget localhost:5050\n   ```\n", "unknown", "wget localhost:5050"),
        ("## X\n\n    curl localhost:5050/ \\\n      -H 'A: b'\n", "curl", "curl localhost:5050/ -H 'A: b'"),
        ("## X\n\nAsk `curl localhost:5050/x?y` now\n", "curl", "curl localhost:5050/x?y"),
        ("## X\n\n| a | `/query?target=providers&from=${__from}` |\n", "url", "/query?target=providers&from=${__from}"),
        ("## X\n\n    scrape_configs:\n      - job_name: x\n", "yaml", "scrape_configs:\n  - job_name: x"),
        ('## X\n\n```json\n{"a": 1}\n```\n', "json", '{"a": 1}'),
        ("## X\n\n    make everything\n", "unknown", "make everything"),
    ],
)
def test_a_new_example_is_found_and_one_that_nobody_can_run_is_told(readme: str, kind: str, text: str) -> None:
    assert [(example.kind, example.text) for example in examples(readme)] == [(kind, text)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The bridge over the demo gateway, as ``make run`` starts it."""
    with serve() as gateway:
        environment = {"GATEWAYZ_API_URL": gateway.url, "GATEWAY_METRICS_PATH": METRICS_PATH}
        service = Service(tmp_path_factory.mktemp("readme"), environment, command=AS_THE_README)
        try:
            service.start()
            wait_until(lambda: service.get("/ready").status == 200, "there is a first poll")
            yield service
        finally:
            service.kill()


def substituted(text: str) -> str:
    """What Grafana would send: its variables and macros filled in."""
    now = time.time()
    for name, value in {
        "__from": f"{now * 1000 - 3_600_000:.0f}",
        "__to": f"{now * 1000:.0f}",
        "__timeFrom": f"{now * 1000 - 3_600_000:.0f}",
        "__timeTo": f"{now * 1000:.0f}",
        "__interval_ms": "15000",
        "__maxDataPoints": "500",
        "provider": "(openai|groq)",
        "model": ".*",
    }.items():
        text = re.sub(r"\$\{" + name + r"(:[^}]*)?\}|\$" + name + r"\b", value, text)
    return text


def curl(service: Service, command: str, folder: Path) -> str:
    """What a command with curl prints, run by bash as it stands but for the port."""
    require("curl")
    (folder / ".curlrc").write_text("fail\nsilent\nshow-error\nmax-time=20\n")
    command = command.replace("localhost:5050", f"127.0.0.1:{service.port}")
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def succeeds(output: str) -> bool:
    """There is an answer, and it says neither that anything is wrong nor that nothing was found."""
    answer = output.strip()
    return bool(answer) and answer not in ("[]", "{}", "(nothing matches)") and '"severity":"error"' not in answer


def run_curl(service: Service, example: Example, folder: Path) -> None:
    output = curl(service, example.text, folder)
    assert succeeds(output), output[:500]
    assert output.split("\n")[0] == (example.shown or output).split("\n")[0]


def run_url(service: Service, example: Example, folder: Path) -> None:
    path = substituted(example.text).removeprefix("http://localhost:5050").replace("'", "%27")
    said = curl(service, f"curl --globoff 'localhost:5050{path}'", folder)
    # Nothing may have happened yet in the demo.
    assert json.loads(said) == [] if path.startswith("/annotations") and said == "[]" else succeeds(said)


def run_target(service: Service, example: Example, folder: Path) -> None:
    metric = "model_error_rate" if "model" in example.text else "provider_health_score"
    target = re.sub(r"^(worst\(\d+, )?metric\b", rf"\g<1>{metric}", substituted(example.text))
    for shape in ("timeserie", "table"):
        reply = service.get("/query?" + urlencode({"target": target, "type": shape}))
        assert reply.status == 200, reply.text
        assert '"severity":"error"' not in reply.text


def run_variable(service: Service, example: Example, folder: Path) -> None:
    reply = service.ask("POST", "/search", {"target": substituted(example.text)})
    assert reply.status == 200
    assert len(reply.json) > 1, "a variable of no values"


def run_payload(service: Service, example: Example, folder: Path) -> None:
    """simPod reads it as JSON once its variables are in it, each written as JSON: one value, or a list of several."""
    for chosen in ("openai", ["openai"], ["openai", "groq"]):
        payload = json.loads(example.text.replace("$provider", json.dumps(chosen)))
        reply = service.ask("POST", "/variable", {"payload": payload})
        assert reply.status == 200
        assert reply.json, "a variable of no values"


def run_annotation(service: Service, example: Example, folder: Path) -> None:
    span = {"from": "now-1h", "to": "now"}
    body = {"range": span, "annotation": {"name": "x", "query": substituted(example.text)}}
    reply = service.ask("POST", "/annotations", body)
    assert reply.status == 200, reply.text
    assert isinstance(reply.json, list)


def run_route(service: Service, example: Example, folder: Path) -> None:
    method, path = example.text.split()
    body = {} if method == "POST" else None
    missing = path.partition("?")[0] == "/query" and "target" not in path
    assert service.ask(method, path, body).status in ((200, 400) if missing or body is not None else (200,))


def run_json(service: Service, example: Example, folder: Path) -> None:
    content = json.loads(example.text)
    if isinstance(content, dict) and "targets" in content:
        assert service.ask("POST", "/query", content).status == 200


def run_yaml(service: Service, example: Example, folder: Path) -> None:
    file = folder / "example.yaml"
    file.write_text(example.text, encoding="utf-8")
    what = "rules" if example.text.startswith("groups:") else "config"
    run = subprocess.run([require("promtool"), "check", what, str(file)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def not_run(service: Service, example: Example, folder: Path) -> None:
    """What it names is there at least."""
    if target := re.match(r"(?:(?:[A-Z_]+=\S+ )+)?make (\w+)", example.text):
        assert re.search(rf"^{target[1]}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for name in re.findall(r"\b([A-Z_]+)=", example.text):
        assert name in dict(variables())


RUNNERS: dict[str, Callable[[Service, Example, Path], None]] = {
    "curl": run_curl,
    "url": run_url,
    "target": run_target,
    "variable": run_variable,
    "payload": run_payload,
    "annotation": run_annotation,
    "route": run_route,
    "json": run_json,
    "yaml": run_yaml,
    "not run": not_run,
}


@pytest.mark.service
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.kind}: {example.text[:60]}")
def test_each_example_works_as_it_stands(service: Service, example: Example, tmp_path: Path) -> None:
    assert example.kind in RUNNERS, f"nobody knows how to run this: {example.text}"
    RUNNERS[example.kind](service, example, tmp_path)
