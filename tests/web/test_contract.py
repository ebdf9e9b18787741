"""Golden examples: requests as the clients really send them, and the answer to each, byte for byte but for layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Site

EXAMPLES = Path(__file__).parents[1] / "contract"
JSON = {"Accept": "application/json"}


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.json")), ids=lambda file: file.stem)
def test_each_client_gets_the_answer_it_understands(site: Site, file: Path) -> None:
    example: dict[str, Any] = json.loads(file.read_text())
    asked = example["request"]
    body = json.dumps(asked["body"]) if "body" in asked else None
    response = site.client.open(asked["path"], method=asked["method"], headers=asked["headers"], data=body)
    if "lines" in example["answer"]:
        given = {"content_type": response.content_type, "lines": response.get_data().decode().split("\r\n")}
    else:
        assert response.mimetype == "application/json"
        given = {"body": response.get_json()}
    assert {"status": response.status_code, **given} == example["answer"]


def test_no_series_or_table_carries_a_key_that_grafana_takes_for_something_else(site: Site) -> None:
    span = {"range": {"from": "now-5m", "to": "now"}}
    for entry in site.query("provider_health_score", "providers", "gateway_up", "no_such_metric", **span):
        assert not {"data", "fields", "points", "schema"} & entry.keys()
        assert isinstance(entry.get("datapoints", entry.get("rows")), list)


def test_points_are_value_then_milliseconds_in_rising_order(site: Site) -> None:
    [series] = site.query("fleet_requests", range={"from": "now-5m", "to": "now"})
    times = [at for _, at in series["datapoints"]]
    assert times == sorted(set(times))
    assert all(isinstance(at, int) for at in times)
    assert series["datapoints"][0] == [4000.0, 1_800_000_000_000]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/query", {"targets": [{"target": "provider_health_score"}]}),
        ("POST", "/search", {"target": ""}),
        ("POST", "/tag-keys", {}),
        ("POST", "/tag-values", {"key": "provider"}),
        ("POST", "/metrics", {}),
        ("POST", "/metric-payload-options", {"metric": "provider_status", "payload": {}, "name": "provider"}),
        ("POST", "/variable", {"payload": {"target": "providers"}}),
        ("POST", "/annotations", {}),
        ("GET", "/annotations?format=csv", None),
        ("GET", "/query?target=providers", None),
        ("GET", "/query?target=gateway_up&format=rows", None),
        ("GET", "/providers", None),
        ("GET", "/providers/openai", None),
        ("GET", "/incidents", None),
        ("GET", "/health", None),
        ("GET", "/ready", None),
        ("GET", "/", None),
    ],
)
def test_each_route_is_served_under_api_too_and_with_a_slash_at_its_end(
    site: Site, method: str, path: str, body: object
) -> None:
    route, mark, arguments = path.partition("?")
    bare = route.rstrip("/")
    answers = {
        spelling: site.client.open(spelling + mark + arguments, method=method, json=body, headers=JSON)
        for spelling in (route, f"{bare}/", f"/api{bare}", f"/api{bare}/")
    }
    assert {spelling: answer.status_code for spelling, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert len({answer.get_data() for answer in answers.values()}) == 1
