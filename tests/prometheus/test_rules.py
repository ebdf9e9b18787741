"""The shipped rules, scrape job and Alertmanager configuration: what promtool and amtool say of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.queries.catalog import METRICS
from tests.services import require

FOLDER = Path(__file__).parents[2] / "prometheus"
RULES = FOLDER / "rules" / "provider-health.yml"
ALERTMANAGER = FOLDER / "alertmanager.yml"
SEVERITIES = {"warning", "critical"}
CATEGORIES = {
    "circuit_breaker",
    "error_rate_spike",
    "latency_anomaly",
    "availability_drop",
    "health_score",
    "multi_provider_degradation",
    "gateway_unreachable",
    "stale_data",
    "history_not_written",
    "bridge_unreachable",
}
COMPONENTS = {"provider", "gateway", "bridge"}


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])


def passes(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules() -> None:
    assert f"{len(alerts())} rules found" in passes(require("promtool"), "check", "rules", str(RULES))


def test_promtool_accepts_the_scrape_job() -> None:
    passes(require("promtool"), "check", "config", str(FOLDER / "scrape.yml"))


@pytest.mark.parametrize("file", sorted((FOLDER / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_each_alert_fires_exactly_when_it_should(file: Path) -> None:
    assert "SUCCESS" in passes(require("promtool"), "test", "rules", str(file))


def test_the_promtool_tests_see_every_alert_fire() -> None:
    seen = {
        case["alertname"]
        for file in (FOLDER / "tests").glob("*.yml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case.get("exp_alerts")
    }
    assert seen == {alert["alert"] for alert in alerts()}


def test_no_two_alerts_share_a_name() -> None:
    """Alertmanager configurations silence a warning where a critical alert has its name and instance.

    All providers' alerts have one instance, so that would silence one provider's warning for another's trouble.
    """
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))


@ALERTS
def test_every_alert_is_labelled_as_the_stack_labels_its_own(alert: dict[str, Any]) -> None:
    labels = alert["labels"]
    assert labels.keys() == {"severity", "category", "component"}
    assert labels["severity"] in SEVERITIES
    assert labels["category"] in CATEGORIES
    assert labels["component"] in COMPONENTS


@ALERTS
def test_every_alert_says_what_it_is_with_its_numbers_and_what_to_ask_next(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    if alert["labels"]["component"] == "provider":
        assert "$value" in annotations["description"]
        assert "$labels.provider" in annotations["summary"]
    if alert["alert"].startswith("Model"):
        assert "$labels.model" in annotations["summary"]
    assert annotations["runbook_url"].startswith("http://{{")


@ALERTS
def test_every_alert_is_over_metrics_that_the_bridge_publishes_and_over_its_job_alone(alert: dict[str, Any]) -> None:
    selectors = re.findall(r"([a-z_0-9]+)\{([^}]*)\}", alert["expr"])
    openings = {"provider_circuit_opens_total", "model_circuit_opens_total"}
    reported = {"provider_circuit_reported", "model_circuit_reported"}
    published = {*METRICS, *openings, *reported, "bridge_stale_after_seconds", "bridge_history_writable", "up"}
    assert selectors
    for metric, matchers in selectors:
        assert metric in published
        assert 'job="provider-health-bridge"' in matchers
        assert metric not in openings or 'source="gateway"' in matchers, "what the bridge derives pages nobody"
    words = set(
        re.findall(r"\b(?:provider|model|fleet|gateway|bridge)_[a-z_0-9]+", re.sub(r"\{[^}]*\}", "", alert["expr"]))
    )
    assert words <= published


def test_the_rules_go_by_the_name_of_the_shipped_job() -> None:
    [job] = yaml.safe_load((FOLDER / "scrape.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "provider-health-bridge"


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    assert "SUCCESS" in passes(require("amtool"), "check-config", str(ALERTMANAGER))


@ALERTS
def test_every_alert_reaches_who_it_is_for(alert: dict[str, Any]) -> None:
    labels = [f"{name}={value}" for name, value in alert["labels"].items()]
    told = passes(require("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert told.strip() == {"critical": "critical-email", "warning": "ops-email"}[alert["labels"]["severity"]]
