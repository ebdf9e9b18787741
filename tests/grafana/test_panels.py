"""Every query of every dashboard is sent to a real bridge, as its plugin sends it, and brings what its panel draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bridge.queries import tables
from tests.grafana.conftest import AWKWARD, MODELS, NOW
from tests.grafana.plugins import (
    ALL,
    FILES,
    Json,
    Scope,
    annotation_events,
    ask,
    load,
    scope_of,
    variable_values,
)
from tests.web.conftest import Site

CHOICES = {
    "all": {"provider": ALL, "model": ALL},
    "one": {"provider": ("fireworks",), "model": ("meta-llama/Llama-3.1-70B",)},
    "several": {"provider": ("openai", "fireworks"), "model": ("gpt-4.1", "meta-llama/Llama-3.1-70B")},
    "awkward": {"provider": ("fireworks", AWKWARD), "model": ("m{1,2}", "meta-llama/Llama-3.1-70B")},
}
TABLES = {
    "providers": tables.PROVIDERS_COLUMNS,
    "circuits": tables.CIRCUITS_COLUMNS,
    "transitions": tables.TRANSITIONS_COLUMNS,
    "explain": tables.EXPLAIN_COLUMNS,
}
BOARDS = [pytest.param(load(file), id=f"{file.parent.name}-{file.stem}") for file in FILES]


PANELS = [
    pytest.param(load(file), panel, id=f"{file.parent.name}-{file.stem}-{panel['id']}")
    for file in FILES
    for panel in load(file)["panels"]
    if panel["type"] != "row"
]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_panel_gets_what_it_draws(site: Site, board: Json, panel: Json, choice: str) -> None:
    chosen = CHOICES[choice]
    target = target_of(panel)
    answer = ask(site, panel, scope_of(board, panel, chosen, site.now))
    assert not [entry["meta"] for entry in answer if "meta" in entry]
    metric = target.partition("{")[0].partition(" ")[0]
    if metric in TABLES:
        [table] = answer
        assert_is_table(table, TABLES[metric], panel, chosen)
        return
    if panel["type"] == "stat":
        [table] = answer
        assert_is_now(table, metric)
        return
    lines = series_of(answer)
    assert set(lines) == names_expected(metric, chosen)
    for points in lines.values():
        times = [at for _, at in points]
        assert times == sorted(set(times))
        assert any(value is not None for value, _ in points)


def target_of(panel: Json) -> str:
    [query] = panel["targets"]
    if "target" in query:
        return str(query["target"])
    return next(str(given["value"]) for given in query["url_options"]["params"] if given["key"] == "target")


def series_of(answer: Sequence[Json]) -> dict[str, list[tuple[float | None, float]]]:
    """Points by series, from Simple JSON's shape, or from Infinity's rows as Grafana parts them by their target."""
    lines: dict[str, list[tuple[float | None, float]]] = {}
    for entry in answer:
        if "datapoints" in entry:
            assert entry["title"] == entry["target"]
            lines[entry["title"]] = [tuple(point) for point in entry["datapoints"]]
            continue
        assert [column["text"] for column in entry["columns"]] == ["Time", "target", "Value"]
        for at, name, value in entry["rows"]:
            lines.setdefault(name, []).append((value, at))
    return lines


def names_expected(metric: str, chosen: dict[str, Sequence[str]]) -> set[str]:
    """How a panel's series are called, for what a viewer has chosen."""
    providers = [name for name in MODELS if chosen["provider"] in (ALL, ()) or name in chosen["provider"]]
    if metric.startswith("provider_"):
        return set(providers)
    keys = [(name, model) for name in providers for model in MODELS[name]]
    return {f"{name} / {model}" for name, model in keys if chosen["model"] == ALL or model in chosen["model"]}


def assert_is_now(table: Json, metric: str) -> None:
    """A tile's answer: whether the data is fresh, or a fleet metric as of the last poll."""
    titles = [column["text"] for column in table["columns"]]
    if metric == "freshness":
        assert {"State", "Text"} <= set(titles)
        [state] = [row[titles.index("State")] for row in table["rows"]]
        assert state == "fresh"
        return
    values = [row[titles.index("Value")] for row in table["rows"]]
    if metric == "fleet_providers":
        by_status = dict(zip([row[titles.index("status")] for row in table["rows"]], values, strict=True))
        assert by_status == {"unknown": 0, "healthy": 2, "degraded": 1, "down": 0}
        return
    assert titles == ["Time", "Value"]
    expected = {"fleet_open_circuits": 1, "fleet_health_score": 91, "fleet_error_rate": 0.01}.get(metric, 5)
    assert values == [pytest.approx(expected, abs=0.01)], "the clock moves between two looks"


def assert_is_table(
    table: Json, columns: Sequence[tables.Column], panel: Json, chosen: dict[str, Sequence[str]]
) -> None:
    """A table has the columns that its panel dresses, and rows of what was chosen alone."""
    titles = [column["text"] for column in table["columns"]]
    assert set(titles) <= {column.title for column in columns}
    dressed = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    assert dressed <= set(titles)
    assert table["rows"]
    shown = {row[titles.index("Provider")] for row in table["rows"]}
    assert shown <= set(MODELS if chosen["provider"] == ALL else chosen["provider"])
    if "not" in panel["title"] or "opening" in panel["title"]:
        assert shown == {"fireworks"}


@pytest.mark.parametrize("board", BOARDS)
def test_variables_list_every_name_and_models_are_those_of_the_chosen_providers(site: Site, board: Json) -> None:
    provider, model = board["templating"]["list"]
    scope = Scope(CHOICES["all"], NOW - 3600, NOW)
    assert sorted(variable_values(site, provider, scope)) == sorted(MODELS)
    assert sorted(variable_values(site, model, scope)) == sorted(m for models in MODELS.values() for m in models)
    awkward = Scope({"provider": (AWKWARD,), "model": ALL}, NOW - 3600, NOW)
    assert variable_values(site, model, awkward) == list(MODELS[AWKWARD])
    two = Scope({"provider": ("openai", AWKWARD), "model": ALL}, NOW - 3600, NOW)
    assert sorted(variable_values(site, model, two)) == sorted((*MODELS["openai"], *MODELS[AWKWARD]))


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize(
    ("providers", "drawn"),
    [(ALL, 1), (("fireworks",), 1), (("openai", "fireworks"), 1), (("openai", AWKWARD), 0), ((AWKWARD,), 0)],
)
def test_annotations_draw_the_incidents_of_the_chosen_providers(
    site: Site, board: Json, providers: tuple[str, ...], drawn: int
) -> None:
    [annotation] = board["annotations"]["list"]
    assert annotation["enable"] is True
    scope = Scope({"provider": providers, "model": ALL}, NOW - 3600, site.now)
    events = annotation_events(site, annotation, scope)
    assert len(events) == drawn
    for event in events:
        assert event["timeEnd"] > event["time"]
        assert event["text"]
        assert event["newState"] == "pending", "fireworks is degraded"


def test_there_are_two_dashboards_a_datasource() -> None:
    found = {(Path(file).parent.name, Path(file).stem) for file in FILES}
    assert found == {
        (folder, name) for folder in ("simple-json", "simpod", "infinity") for name in ("directory", "on-call")
    }
