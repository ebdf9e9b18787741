"""Names for query editors, values for variables and for the ad-hoc filter's picker."""

from __future__ import annotations

import pytest

from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES
from tests.web.conftest import Site

EVERYTHING = {*METRICS, *TABLES, *OLD_NAMES}
MODELS = ["anthropic/claude", "deepseek/r1", "gpt-4.1", "llama-3.1-8b", "meta/llama", "openai/gpt-4o"]
PROVIDERS = ["groq", "openai", "openrouter"]


def search(site: Site, body: object) -> list[str]:
    response = site.post("/search", body)
    assert response.status_code == 200
    found: list[str] = response.get_json()
    return found


@pytest.mark.parametrize("body", [{}, {"target": ""}, {"target": "  "}, {"target": None}, {"target": 5}, b""])
def test_nothing_typed_lists_everything_once(site: Site, body: object) -> None:
    found = search(site, body)
    assert set(found) == EVERYTHING
    assert len(found) == len(set(found))
    assert all(found), "Grafana drops a name that is not truthy"


@pytest.mark.parametrize("typed", ["error", "ERROR", "fleet_", "score", "no such thing"])
def test_what_was_typed_filters_the_names(site: Site, typed: str) -> None:
    assert set(search(site, {"target": typed})) == {name for name in EVERYTHING if typed.lower() in name}


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("providers", PROVIDERS),
        (" providers ", PROVIDERS),
        ("label_values(provider)", PROVIDERS),
        ("label_values(provider_health_score, provider)", PROVIDERS),
        ('providers{provider=~"open.*"}', ["openai", "openrouter"]),
        ("models", MODELS),
        ("label_values(model)", MODELS),
        ('models{provider="openai"}', ["gpt-4.1"]),
        ('models{provider=~"(openai|groq)"}', ["gpt-4.1", "llama-3.1-8b"]),
        ('models{provider="{openai,groq}"}', ["gpt-4.1", "llama-3.1-8b"]),
        ('models{provider=~"openrouter",model=~"openai\\/gpt-4o"}', ["openai/gpt-4o"]),
        ('models{provider="nobody"}', []),
        ("label_values(status)", ["unknown", "healthy", "degraded", "down"]),
        ("metrics", list(METRICS)),
    ],
)
def test_variable_queries_are_answered_with_values(site: Site, query: str, values: list[str]) -> None:
    assert search(site, {"target": query}) == values


@pytest.mark.parametrize("typed", ["models{provider=", "label_values(", "label_values(provider", "models{"])
def test_a_query_that_is_still_being_typed_lists_nothing(site: Site, typed: str) -> None:
    assert search(site, {"target": typed}) == []


def test_a_value_that_is_being_typed_is_completed(site: Site) -> None:
    typed = 'provider_health_score{provider="open'
    assert search(site, {"target": typed}) == [f'{typed}ai"}}', f'{typed}router"}}']


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ('models{provder="openai"}', "models has no label 'provder'"),
        ("label_values(no_such_label)", "no label 'no_such_label'"),
        ("label_values(provider, model)", "one label, not two"),
        ('label_values(provider_status{provider="x"} model)', "ends with a label's name"),
        ('providers{provider=~"("}', "RE2"),
    ],
)
@pytest.mark.parametrize("route", ["/search", "/variable"])
def test_a_query_that_is_complete_but_wrong_is_a_400_that_says_why(
    site: Site, query: str, says: str, route: str
) -> None:
    response = site.post(route, {"target": query, "payload": {"target": query}})
    assert response.status_code == 400
    assert says in response.get_json()["message"]


def test_before_the_first_poll_there_are_names_and_no_values(empty: Site) -> None:
    assert set(search(empty, {})) == EVERYTHING
    assert search(empty, {"target": "providers"}) == []


@pytest.mark.parametrize("body", [None, b"", b"{}", b"not json", b"[]", b'{"filters": [], "timeRange": {}}'])
def test_tag_keys_answer_whatever_the_body_is(site: Site, body: bytes | None) -> None:
    response = site.client.post("/tag-keys", data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert [entry["text"] for entry in response.get_json()] == ["provider", "model", "status"]
    assert {entry["type"] for entry in response.get_json()} == {"string"}


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ({"key": "provider"}, PROVIDERS),
        ({"key": "model"}, MODELS),
        ({"key": "status"}, ["unknown", "healthy", "degraded", "down"]),
        ({"key": "model", "filters": [{"key": "provider", "operator": "=", "value": "openai"}]}, ["gpt-4.1"]),
        ({"key": "model", "adhocFilters": [{"key": "provider", "operator": "=", "value": "openai"}]}, ["gpt-4.1"]),
        ({"key": "provider", "filters": [{"key": "provider", "operator": "=", "value": "openai"}]}, PROVIDERS),
        ({"key": "provider", "filters": [{"key": "model", "operator": "=", "value": "gpt-4.1"}]}, ["openai"]),
        ({"key": "no_such_key"}, []),
        ({"key": 5}, []),
        ({}, []),
        ([], []),
        (b"", []),
        (b"not json", []),
        ({"key": "provider", "filters": [{"key": "model", "operator": "=~", "value": "("}]}, PROVIDERS),
    ],
)
def test_tag_values_are_a_labels_values_and_never_an_error(site: Site, body: object, values: list[str]) -> None:
    response = site.post("/tag-values", body)
    assert response.status_code == 200
    assert [entry["text"] for entry in response.get_json()] == values
