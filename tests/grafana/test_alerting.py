"""Grafana's own alert rules: what they ask a bridge for is what alerting takes, one value for each set of labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from grafana.generate.__main__ import ALERT_RULES
from grafana.generate.datasources import Infinity
from tests.prometheus.test_rules import RULES as PROMETHEUS_RULES
from tests.web.conftest import Site

Json = dict[str, Any]
[GROUP] = json.loads(ALERT_RULES.read_text(encoding="utf-8"))["groups"]
RULES = {rule["uid"].removeprefix("provider-health-bridge-"): rule for rule in GROUP["rules"]}
QUERIES = {
    f"{uid} {data['refId']}": data["model"]
    for uid, rule in RULES.items()
    for data in rule["data"]
    if data["datasourceUid"] == Infinity.uid
}


def answered(site: Site, model: Json) -> dict[tuple[str, ...], Any]:
    """What Infinity makes of an answer: the number by the labels, each taken as its column is declared."""
    given = {entry["key"]: entry["value"] for entry in model["url_options"]["params"]}
    rows = site.client.get(f"{model['url']}?{urlencode(given)}").json
    assert rows
    *labels, value = model["columns"]
    assert [one["type"] for one in labels] == ["string"] * len(labels)
    assert value == {"selector": "value", "text": "value", "type": "number"}
    found: dict[tuple[str, ...], Any] = {}
    for row in rows:
        key = tuple(row[one["selector"]] for one in labels)
        assert all(isinstance(text, str) and text for text in key)
        assert key not in found, "two rows of the same labels are refused"
        found[key] = row["value"]
    return found


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_gives_one_number_for_each_set_of_labels(name: str, site: Site) -> None:
    found = answered(site, QUERIES[name])
    assert all(value is None or isinstance(value, (int, float)) for value in found.values())
    assert None not in found.values()


@pytest.mark.parametrize("model", QUERIES.values(), ids=QUERIES)
def test_no_query_has_what_alert_rules_cannot_have(model: Json) -> None:
    """A variable stays as it is; with a range or a time column the table is refused."""
    assert "$" not in json.dumps(model)
    assert {entry["key"] for entry in model["url_options"]["params"]} == {"target", "format"}
    assert (model["parser"], model["format"]) == ("backend", "table")
    assert "timestamp" not in {column["type"] for column in model["columns"]}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_condition_is_an_expression_over_what_the_rule_asks_for(rule: Json) -> None:
    *asked, condition = rule["data"]
    assert (rule["condition"], condition["datasourceUid"]) == (condition["refId"], "__expr__")
    expression = condition["model"]["expression"]
    used = {data["refId"] for data in asked if f"${data['refId']}" in expression or data["refId"] == expression}
    assert used == {data["refId"] for data in asked}
    assert "$" not in json.dumps([rule["annotations"], rule["labels"], rule["title"]]), "taken for the environment's"


def test_a_provider_fails_and_a_model_is_down_where_prometheus_would_say_so_too() -> None:
    """The thresholds are those of the shipped rules, and of the model's status."""
    rules = {
        rule["alert"]: rule
        for group in yaml.safe_load(PROMETHEUS_RULES.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    its = rules["ProviderHighErrorRate"]
    assert "> 0.20\n" in its["expr"]
    assert its["expr"].rstrip().endswith("< 0.03")
    ours = RULES["provider-error-rate"]
    assert ours["data"][-1]["model"]["expression"] == "$A > 0.2 && $B >= 0.03"
    assert (ours["for"], ours["labels"]["severity"]) == (its["for"], its["labels"]["severity"])
    assert (RULES["gateway-unreachable"]["for"], RULES["gateway-unreachable"]["noDataState"]) == ("2m", "Alerting")
    assert _holds(RULES["model-down"], {"A": 3.0})
    assert not any(_holds(RULES["model-down"], {"A": status}) for status in (0.0, 1.0, 2.0))
    assert _holds(RULES["gateway-unreachable"], {"A": 0.0})
    assert not _holds(RULES["gateway-unreachable"], {"A": 1.0})


def _holds(rule: Json, values: Mapping[str, float]) -> bool:
    """Whether a threshold is passed."""
    model = rule["data"][-1]["model"]
    [condition] = model["conditions"]
    [bound] = condition["evaluator"]["params"]
    value = values[model["expression"]]
    return bool({"gt": value > bound, "lt": value < bound}[condition["evaluator"]["type"]])
