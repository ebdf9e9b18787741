"""The dashboards are as they were generated, as Grafana's own models have it, and invent nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from bridge.queries.catalog import METRICS, Metric
from bridge.queries.targets import parse
from grafana.generate import looks
from grafana.generate.__main__ import ALERT_RULES, FOLDER, files
from grafana.generate.panels import MAY_NEVER_BE
from tests.grafana.plugins import FILES, Json, load

BOARDS = [pytest.param(load(file), id=f"{file.parent.name}-{file.stem}") for file in FILES]
UIDS = {
    "simple-json/directory.json": "provider-health-directory",
    "simple-json/on-call.json": "provider-health-on-call",
    "simpod/directory.json": "provider-health-directory-simpod",
    "simpod/on-call.json": "provider-health-on-call-simpod",
    "infinity/directory.json": "provider-health-directory-infinity",
    "infinity/on-call.json": "provider-health-on-call-infinity",
}


def test_the_files_are_what_the_python_makes_of_them() -> None:
    on_disk = {file: file.read_text(encoding="utf-8") for file in (*FOLDER.glob("*/*"), ALERT_RULES)}
    assert on_disk == files(), "run: make dashboards"


def test_the_uids_are_those_that_links_and_bookmarks_know() -> None:
    assert {str(file.relative_to(FOLDER)): load(file)["uid"] for file in FILES} == UIDS


@pytest.mark.parametrize("board", BOARDS)
def test_grafanas_own_models_read_every_key(board: Json) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    board = {**board, "annotations": None}  # its model has no room for what a datasource is asked
    assert {**again, "annotations": None} == board


@pytest.mark.parametrize("board", BOARDS)
def test_panels_have_ids_of_their_own_and_lie_beside_each_other(board: Json) -> None:
    panels = board["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_links_lead_to_the_dashboards_of_the_same_datasource(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = set(re.findall(r"/d/([a-z-]+)", text))
    folder = f"{file.parent.name}/"
    assert UIDS[f"{folder}on-call.json"] in found
    assert found <= {uid for path, uid in UIDS.items() if path.startswith(folder)}
    assert "${__value.text:percentencode}" in text


@pytest.mark.parametrize("board", BOARDS)
def test_no_gap_is_bridged_and_no_old_value_stands_for_now(board: Json) -> None:
    for key, value in entries(board):
        if key == "spanNulls":
            assert value is False
        if key == "calcs":
            assert not {"lastNotNull", "mean"} & set(value)
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["noValue"]
        assert "alert" not in panel


@pytest.mark.parametrize("board", BOARDS)
def test_tiles_ask_for_now_whatever_the_range_and_their_row_says_so(board: Json) -> None:
    [now, *_] = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert now["title"].startswith("Now: ")
    assert "whatever time range" in now["title"]
    tiles = [panel for panel in board["panels"] if panel["type"] == "stat"]
    assert tiles[0] == board["panels"][1]
    assert asked(tiles[0])["target"] == "freshness"
    for panel in tiles:
        assert "timeFrom" not in panel
        metric = metric_of(panel)
        if metric is None:
            continue
        [query] = panel["targets"]
        if "url_options" in query:
            assert not {"from", "to", "maxDataPoints"} & set(asked(panel))
        else:
            assert "table" in (query.get("type"), *json.loads(query.get("payload") or "{}").values())


@pytest.mark.parametrize("board", BOARDS)
def test_null_is_grey_and_says_so_in_every_field_and_override(board: Json) -> None:
    """Grafana paints null in the colour of the lowest threshold, which is green or red, unless a mapping says else."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert of_null(panel["fieldConfig"]["defaults"]["mappings"]) == ("no data", looks.UNKNOWN)
        for override in panel["fieldConfig"]["overrides"]:
            properties = {one["id"]: one["value"] for one in override["properties"]}
            if panel["type"] == "table" or "mappings" in properties or "thresholds" in properties:
                absent = "–" if override["matcher"]["options"] in MAY_NEVER_BE else "no data"
                assert of_null(properties["mappings"]) == (absent, looks.UNKNOWN), override


def of_null(mappings: list[Json]) -> tuple[str, str]:
    """The text and the colour of what is not known."""
    special = [one["options"] for one in mappings if one["type"] == "special"]
    [found] = [one for one in special if one["match"] == "null+nan"]
    return found["result"]["text"], found["result"]["color"]


@pytest.mark.parametrize("board", BOARDS)
def test_timelines_page_and_times_have_no_milliseconds(board: Json) -> None:
    for panel in board["panels"]:
        if panel["type"] == "state-timeline":
            assert panel["options"]["perPage"] == 20
            # Grafana would merge the levels instead of the values: all states would be one bar.
            coloured_by_level = panel["fieldConfig"]["defaults"]["color"]["mode"] == "thresholds"
            assert not (coloured_by_level and panel["options"]["mergeValues"])
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            if override["matcher"]["options"] in ("Time", "Since", "Open since", "First opened"):
                assert {"id": "unit", "value": "dateTimeAsIso"} in override["properties"]


@pytest.mark.parametrize("board", BOARDS)
def test_units_words_and_levels_are_the_catalogs(board: Json) -> None:
    seen = set()
    for panel in board["panels"]:
        metric = metric_of(panel)
        if metric is None:
            continue
        seen.add(metric.name)
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] == metric.unit
        assert metric.meaning[1:] in panel["description"]
        steps = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert steps == [None, *sorted(metric.levels or ())]
        if metric.levels:
            colours = [step["color"] for step in defaults["thresholds"]["steps"]]
            good_first = metric.worst != "low"
            assert colours == sorted(
                colours, key=[looks.HEALTHY, looks.DEGRADED, looks.DOWN].index, reverse=not good_first
            )
        words = defaults["mappings"]
        if metric.words:
            assert {int(key): entry["text"] for key, entry in words[0]["options"].items()} == dict(metric.words)
            assert words[1]["options"]["result"]["text"] == "no data"
    assert {"provider_circuit_breaker_state", "model_circuit_breaker_state", "provider_health_score"} <= seen


def test_open_half_open_and_closed_have_words_and_colours_of_their_own() -> None:
    metric = METRICS["model_circuit_breaker_state"]
    [numbers, _] = json.loads(json.dumps(looks.mappings(metric), cls=JSONEncoder))
    shown = {number: (entry["text"], entry["color"]) for number, entry in numbers["options"].items()}
    assert shown == {"0": ("CLOSED", looks.HEALTHY), "1": ("OPEN", looks.DOWN), "2": ("HALF_OPEN", looks.DEGRADED)}
    assert len({looks.HEALTHY, looks.DEGRADED, looks.DOWN, looks.UNKNOWN}) == 4


@pytest.mark.parametrize("board", BOARDS)
def test_viewers_start_with_every_provider_and_see_changes_within_seconds(board: Json) -> None:
    assert board["refresh"] == "15s"
    provider, model = board["templating"]["list"]
    for variable, name in ((provider, "provider"), (model, "model")):
        assert variable["name"] == name
        assert variable["multi"] is variable["includeAll"] is True
        assert variable["allValue"] == ".*"
        assert variable["current"]["value"] == ["$__all"]


def metric_of(panel: Json) -> Metric | None:
    """The metric of a panel of series; None for a table, tiles or a row."""
    return METRICS.get(parse(asked(panel)["target"]).metric) if panel.get("targets") else None


def asked(panel: Json) -> dict[str, str]:
    """A panel's one query: its target, and whatever else its URL carries."""
    [query] = panel["targets"]
    given = {entry["key"]: entry["value"] for entry in query.get("url_options", {}).get("params", ())}
    return given or {"target": query["target"]}


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from entries(inner)
