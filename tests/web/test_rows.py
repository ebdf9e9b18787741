"""Answers as one flat table: rows of JSON and CSV, as Infinity, a spreadsheet and a script take them."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

from bridge.model import Event
from bridge.queries import budget as budget_module
from bridge.queries.catalog import METRICS, TABLES
from tests.history.snapshots import T0, circuit, snapshot, verdict
from tests.web.conftest import Site

KEYS = ["time", "target", "provider", "model", "value", "stale"]
LAST = "2027-01-15T08:01:00.000Z"
HOSTILE = ["=1+1", '"><img src=x>', "a/b/../c", "two\nlines", "\u202egnp.exe", "-5", "@x", "＝2", "a,b;c", "\ttab"]


def get(site: Site, path: str, **headers: str) -> list[dict[str, Any]]:
    response = site.get(path, **headers)
    assert (response.status_code, response.content_type) == (200, "application/json")
    found: list[dict[str, Any]] = response.get_json()
    return found


def get_csv(site: Site, path: str) -> list[list[str]]:
    response = site.get(path)
    assert (response.status_code, response.content_type) == (200, "text/csv; charset=utf-8")
    text = response.get_data().decode()
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


class TestSeries:
    def test_every_row_is_flat_and_has_the_same_keys(self, site: Site) -> None:
        targets = "&".join(f"target={name}" for name in METRICS)
        found = get(site, f"/query?{targets}&from=now-5m&to=now&format=rows")
        assert {tuple(row) for row in found} == {tuple(KEYS)}
        types = {key: {type(row[key]) for row in found} for key in KEYS}
        assert types == {
            "time": {str},
            "target": {str},
            "provider": {str, type(None)},
            "model": {str, type(None)},
            "value": {float, type(None)},
            "stale": {bool},
        }

    def test_they_are_the_points_that_grafana_gets(self, site: Site) -> None:
        query = "/query?target=provider_health_score&target=model_circuit_breaker_state&from=now-5m&to=now"
        points = [(series["target"], at, value) for series in get(site, query) for value, at in series["datapoints"]]
        flat = [(row["target"], milliseconds(row["time"]), row["value"]) for row in get(site, f"{query}&format=rows")]
        assert sorted(flat, key=str) == sorted(points, key=str)
        assert None in [value for _, _, value in flat], "a missed poll is a gap here too"

    def test_they_stand_by_time_as_long_data_must_to_be_pivoted(self, site: Site) -> None:
        found = get(site, "/query?target=provider_health_score&target=fleet_error_rate&from=now-5m&format=rows")
        times = [row["time"] for row in found]
        assert times == sorted(times)
        assert len(set(times)) > 3

    def test_csv_has_the_same_cells(self, site: Site) -> None:
        query = "/query?target=provider_error_rate&target=fleet_requests&from=now-5m&to=now&format="
        header, *lines = get_csv(site, query + "csv")
        assert header == KEYS
        assert lines == [
            [
                "" if value is None else str(value).lower() if key == "stale" else str(value)
                for key, value in row.items()
            ]
            for row in get(site, query + "rows")
        ]

    def test_nothing_matched_is_a_header_and_no_rows(self, site: Site) -> None:
        query = "/query?target=provider_status{provider='nobody'}&format="
        assert get_csv(site, query + "csv") == [KEYS]
        assert get(site, query + "rows") == []

    def test_a_legend_names_the_target(self, site: Site) -> None:
        found = get(site, "/query?target=" + quote("provider_status as {{provider}}!") + "&format=rows")
        assert [row["target"] for row in found] == ["groq!", "openai!", "openrouter!"]


class TestStale:
    def test_a_latest_value_that_counts_as_now_is_not_stale(self, site: Site) -> None:
        [row] = get(site, "/query?target=provider_health_score{provider='openai'}&format=rows")
        assert (row["time"], row["value"], row["stale"]) == (LAST, 98.9, False)

    def test_one_that_is_too_old_is_null_and_says_so_with_a_200(self, site: Site) -> None:
        site.now += 600
        response = site.get("/query?target=provider_health_score&target=provider_status&format=rows")
        assert response.status_code == 200
        assert {row["stale"] for row in response.get_json()} == {True}
        assert {row["value"] for row in response.get_json() if "health" in row["target"]} == {None}
        assert "no poll since" in response.headers["Warning"]
        assert {line[-1] for line in get_csv(site, "/query?target=provider_status&format=csv")[1:]} == {"true"}

    def test_what_is_known_of_the_gateway_while_it_is_down_is_not_stale(self, site: Site) -> None:
        for number in range(10):
            site.log.failed(T0 + 75 + 15 * number)
        site.now = T0 + 215
        [up, age, score] = get(
            site, "/query?target=gateway_up&target=gateway_data_age_seconds&target=fleet_health_score&format=rows"
        )
        found = {row["target"]: (row["value"], row["stale"]) for row in (up, age, score)}
        assert found["gateway_up"] == (0.0, False)
        assert found["gateway_data_age_seconds"] == (155.0, False)
        assert found["fleet_health_score"] == (None, True)

    def test_a_recorded_point_is_as_old_as_its_time_says(self, site: Site) -> None:
        site.now += 600
        found = get(site, "/query?target=provider_health_score&from=now-30m&to=now&format=rows")
        assert {row["stale"] for row in found} == {False}

    def test_before_the_first_poll_a_fleets_value_is_null_and_stale(self, empty: Site) -> None:
        [row] = get(empty, "/query?target=fleet_health_score&format=rows")
        assert (row["value"], row["stale"]) == (None, True)


class TestTables:
    @pytest.mark.parametrize("table", TABLES)
    def test_rows_and_csv_have_its_columns(self, site: Site, table: str) -> None:
        [content] = get(site, f"/query?target={table}&type=table&from=now-5m&to=now")
        titles = [column["text"] for column in content["columns"]]
        path = f"/query?target={table}&type=table&from=now-5m&to=now&format="
        found = get(site, path + "rows")
        assert [list(row) for row in found] == [titles] * len(content["rows"])
        header, *lines = get_csv(site, path + "csv")
        assert header == titles
        assert len(lines) == len(found) > 0
        for title in titles:
            assert len({type(row[title]) for row in found} - {type(None), int}) <= 1, title

    @pytest.mark.parametrize("table", sorted(TABLES.keys() - {"freshness"}))
    def test_an_empty_one_keeps_its_header(self, empty: Site, table: str) -> None:
        assert len(get_csv(empty, f"/query?target={table}&format=csv")) == 1
        assert get(empty, f"/query?target={table}&format=rows") == []

    def test_its_times_are_iso_8601(self, site: Site) -> None:
        [row] = get(site, "/query?target=circuits{provider='groq'}&format=rows")
        assert row["Since"] == "2027-01-15T08:00:30.000Z"

    def test_series_asked_for_as_a_table_give_its_columns(self, site: Site) -> None:
        found = get(site, "/query?target=provider_status&type=table&format=rows")
        assert found[0] == {"Time": LAST, "provider": "groq", "Value": 3.0}

    def test_tables_of_one_kind_are_one_table(self, site: Site) -> None:
        path = "/query?target=explain{provider='groq'}&target=explain{provider='openai'}&format=rows"
        assert {row["Provider"] for row in get(site, path)} == {"groq", "openai"}

    @pytest.mark.parametrize("targets", ["target=providers&target=circuits", "target=providers&target=gateway_up"])
    @pytest.mark.parametrize("wanted", ["rows", "csv"])
    def test_what_does_not_fit_into_one_table_is_told(self, site: Site, targets: str, wanted: str) -> None:
        response = site.get(f"/query?{targets}&format={wanted}")
        assert response.status_code == 400
        assert "one by one" in response.text

    def test_the_providers_and_one_provider_have_them_too(self, site: Site) -> None:
        assert [row["Provider"] for row in get(site, "/providers?format=rows")] == ["groq", "openrouter", "openai"]
        assert [line[0] for line in get_csv(site, "/providers/?format=csv")] == [
            "Provider",
            "groq",
            "openrouter",
            "openai",
        ]
        assert {row["Provider"] for row in get(site, "/api/providers/groq/?format=rows")} == {"groq"}


class TestErrors:
    def test_a_bad_target_does_not_cost_the_good_ones_and_stands_in_the_warning(self, site: Site) -> None:
        response = site.get("/query?target=gateway_down&target=gateway_up&format=rows")
        assert [row["target"] for row in response.get_json()] == ["gateway_up"]
        assert "did you mean 'gateway_up'" in response.headers["Warning"]

    def test_nothing_of_a_target_breaks_the_header(self, site: Site) -> None:
        bad = quote('x\r\nSet-Cookie: a="b"\\\u202e é')
        response = site.get(f"/query?target={bad}&target=gateway_up&format=csv")
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        assert response.headers["Warning"].isprintable()

    def test_bad_ones_alone_are_a_400(self, site: Site) -> None:
        assert site.get("/query?target=gateway_down&format=csv").status_code == 400


def test_a_name_from_outside_is_itself_in_every_format_and_harmless(empty: Site) -> None:
    circuits = [circuit(name, name) for name in HOSTILE]
    empty.log.good(
        snapshot(T0 + 60, [verdict(name, health_score=-1.5) for name in HOSTILE], circuits),
        *(Event(T0 + 60, "status", name, "", "healthy", "down", name) for name in HOSTILE),
    )
    for table, column in (("providers", "Provider"), ("circuits", "Model"), ("transitions", "Reason")):
        assert {row[column] for row in get(empty, f"/query?target={table}&format=rows")} == set(HOSTILE)
        header, *lines = get_csv(empty, f"/query?target={table}&format=csv")
        cells = {line[header.index(column)] for line in lines}
        assert {cell.removeprefix("'") for cell in cells} == set(HOSTILE)
        assert not any(cell.lstrip()[:1] in tuple("=+-@＝") or cell[:1] == "\t" for cell in cells)
    for row in get(empty, "/query?target=provider_health_score&format=rows"):
        assert row["provider"] in HOSTILE
    lines = get_csv(empty, "/query?target=provider_health_score&format=csv")[1:]
    assert {line[2].removeprefix("'") for line in lines} == set(HOSTILE)
    assert {line[4] for line in lines} == {"-1.5"}, "a number stays one"
    for target in ("providers", "transitions", "provider_health_score"):
        shown = empty.get(f"/query?target={target}&format=text").text
        assert all(line.isprintable() for line in shown.splitlines())


class TestBigAnswers:
    @pytest.fixture
    def wide(self, empty: Site) -> Site:
        """30 providers, 1,000 polls."""
        for number in range(1000):
            scores = [verdict(f"p{name}", health_score=float(number % 100), error_rate=0.01) for name in range(30)]
            empty.log.good(snapshot(T0 + 15.0 * number, scores))
        empty.now = T0 + 15_000
        return empty

    def test_30_000_points_are_quick_in_every_format(self, wide: Site) -> None:
        for wanted in ("rows", "csv"):
            path = f"/query?target=provider_health_score&from={int(T0 * 1000)}&to=now&format={wanted}"
            times = []
            for _ in range(3):
                began = time.perf_counter()
                response = wide.get(path)
                times.append(time.perf_counter() - began)
            assert response.get_data().count(b"p29") >= 1000
            assert min(times) < 0.5

    def test_more_than_the_most_are_the_newest_and_the_rest_is_counted(
        self, wide: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(budget_module, "LIMITS", replace(budget_module.LIMITS, answer_bytes=16_500))
        response = wide.get(f"/query?target=provider_health_score&from={int(T0 * 1000)}&to=now&format=rows")
        found = response.get_json()
        assert 12_000 < len(response.get_data()) <= 16_500
        assert found[-1]["time"] == "2027-01-15T12:09:45.000Z"
        assert f"the newest {len(found)} rows" in response.headers["Warning"]
        assert f"{30_000 - len(found):,} earlier" in response.headers["Warning"]

    @pytest.mark.parametrize("wanted", ["rows", "csv"])
    def test_of_series_with_long_names_there_are_fewer_rows(
        self, wide: Site, monkeypatch: pytest.MonkeyPatch, wanted: str
    ) -> None:
        monkeypatch.setattr(budget_module, "LIMITS", replace(budget_module.LIMITS, answer_bytes=1_000_000))
        target = f"target=provider_health_score%20as%20{'x' * 900}"
        response = wide.get(f"/query?{target}&from={int(T0 * 1000)}&to=now&format={wanted}")
        assert 700_000 < len(response.get_data()) < 1_000_000
        assert "earlier ones are not" in response.headers["Warning"]

    def test_text_is_bounded_and_says_so(self, wide: Site) -> None:
        targets = "target=provider_health_score&target=provider_error_rate"
        lines = wide.get(f"/query?{targets}&from={int(T0 * 1000)}&to=now&format=text").text.splitlines()
        assert lines[0].startswith("! only the newest 500 points of each series")
        assert len(lines) == 30_002


class TestAsInfinityAsks:
    """Times as its macros give them, parameters as it encodes them, headers as it sends them."""

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            ("1800000015000", "1800000065000"),
            ("1800000015", "1800000065"),
            ("2027-01-15T08:00:15.000Z", "2027-01-15T08:01:05.000Z"),
            ("2027-01-15T10:00:15+02:00", "2027-01-15T10:01:05+02:00"),
            ("2027-01-15T10%3A00%3A15%2B02%3A00", "2027-01-15T10%3A01%3A05%2B02%3A00"),
        ],
        ids=["milliseconds", "seconds", "ISO", "a plus as it is", "percent-encoded"],
    )
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_times_in_every_form(self, site: Site, start: str, end: str, slash: str) -> None:
        found = get(
            site,
            f"/query{slash}?format=rows&from={start}&target=fleet_requests&to={end}",
            **{"Accept": "application/json;q=0.9,text/plain", "Accept-Encoding": "gzip"},
        )
        assert [row["value"] for row in found if row["value"] is not None] == [4002.0, 4003.0, 4004.0]

    def test_csv_for_who_accepts_only_csv(self, site: Site) -> None:
        response = site.get("/query?target=gateway_up&format=csv", Accept="text/csv; charset=utf-8")
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "target",
        [
            'provider_status{provider=~"{groq,openai}"} as {{provider}}',
            'provider_status{provider="{groq,openai}"} as {{provider}}',
            'provider_status{provider=~"(groq|openai)"} as {{provider}}',
        ],
    )
    def test_variables_of_several_values_and_blanks_as_plus(self, site: Site, target: str) -> None:
        encoded = quote(target, safe="").replace("%20", "+")
        found = get(site, f"/query?target={encoded}&format=rows")
        assert [row["target"] for row in found] == ["groq", "openai"]

    def test_a_plus_in_a_name_is_kept_where_it_is_encoded(self, empty: Site) -> None:
        empty.log.good(snapshot(T0 + 60, [verdict("a+b c"), verdict("other")]))
        found = get(empty, "/query?target=provider_status%7Bprovider%3D%22a%2Bb+c%22%7D&format=rows")
        assert [row["provider"] for row in found] == ["a+b c"]


def in_csv(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def milliseconds(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)
