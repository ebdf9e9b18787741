"""What is known now, what no longer counts as now, and how that is told."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import pytest

from bridge.model import Poll
from bridge.queries.catalog import METRICS
from tests.history.snapshots import INTERVAL, T0, snapshot, verdict
from tests.web.conftest import NOW, Site

STALE_AFTER = 45.0
LAST_GOOD = T0 + 60.0
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def stale(site: Site) -> Site:
    """The gateway has refused connections since T0 + 75 s, and values are too old since T0 + 105 s."""
    for number in range(3):
        site.log.failed(T0 + 75.0 + 15.0 * number)
    site.now = LAST_GOOD + STALE_AFTER + 1
    return site


def latest(site: Site, metric: str) -> list[tuple[float | None, int]]:
    return [tuple(point) for series in site.query(metric) for point in series["datapoints"]]


class TestTheBoundary:
    def test_values_count_until_stale_after_and_not_a_moment_longer(self, site: Site) -> None:
        site.now = LAST_GOOD + STALE_AFTER
        assert all(value is not None for value, _ in latest(site, "provider_health_score"))
        assert site.get("/ready").status_code == 200
        site.now += 0.001
        assert all(value is None for value, _ in latest(site, "provider_health_score"))
        assert site.get("/ready").status_code == 503

    def test_stale_after_is_what_the_deployment_says(self, sites: Callable[..., Site]) -> None:
        site = sites(stale_after_seconds=5.0)
        site.log.good(snapshot(NOW - 4.0, [verdict("openai", health_score=99.0)]))
        assert latest(site, "provider_health_score")[0][0] == 99.0
        site.now += 2
        assert latest(site, "provider_health_score")[0][0] is None

    def test_a_clock_that_was_set_back_does_not_keep_old_values_alive(self, site: Site) -> None:
        for number in range(10):
            site.log.failed(T0 + 75.0 + 15.0 * number)
        site.now = T0 - 3600.0
        assert {value for value, _ in latest(site, "provider_health_score")} == {None}
        assert site.get("/ready").status_code == 503


class TestWhileStale:
    @pytest.mark.parametrize("metric", [name for name in METRICS if not name.startswith("gateway_")])
    def test_no_value_is_passed_off_as_new_and_none_becomes_a_zero(self, stale: Site, metric: str) -> None:
        values = {value for value, _ in latest(stale, metric)}
        if metric == "provider_status":
            assert values == {0.0}, "unknown"
        elif metric == "fleet_providers":
            assert values == {0.0, 3.0}, "all three are unknown"
        else:
            assert values <= {None}

    def test_the_gateway_is_down_and_the_datas_age_is_told(self, stale: Site) -> None:
        assert latest(stale, "gateway_up")[0][0] == 0.0
        assert latest(stale, "gateway_data_age_seconds")[0][0] == STALE_AFTER + 1

    def test_tables_keep_the_names_and_lose_the_numbers(self, stale: Site) -> None:
        [providers, circuits] = stale.query("providers", "circuits")
        assert [row[:3] for row in providers["rows"]] == [
            ["groq", "unknown", None],
            ["openrouter", "unknown", None],
            ["openai", "unknown", None],
        ]
        assert {row[2] for row in circuits["rows"]} == {"unknown"}

    def test_explain_says_that_it_speaks_of_the_past(self, stale: Site) -> None:
        [table] = stale.query('explain{provider="openai"}')
        columns = [column["text"] for column in table["columns"]]
        for row in table["rows"]:
            cells = dict(zip(columns, row, strict=True))
            assert cells["Value"] is None
            if not cells["What"].startswith("circuit"):
                assert "last good poll" in cells["Note"]

    def test_every_series_and_table_says_since_when_and_why(self, stale: Site) -> None:
        for entry in stale.query("provider_health_score", "providers", "gateway_up"):
            [notice] = entry["meta"]["notices"]
            assert notice["severity"] == "warning"
            assert "since 2027-01-15 08:01:15 UTC" in notice["text"]
            assert "connection refused" in notice["text"]

    @pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}, {"Accept": BROWSER}])
    def test_the_front_page_stays_a_200_and_says_so_in_one_line(self, stale: Site, headers: dict[str, str]) -> None:
        response = stale.get("/", **headers)
        assert response.status_code == 200
        [line] = [line for line in response.text.splitlines() if "since 2027-01-15 08:01:15 UTC" in line]
        assert "connection refused" in line

    def test_liveness_stays_and_readiness_goes_with_the_reason(self, stale: Site) -> None:
        assert stale.get("/health").status_code == 200
        refusal = stale.get("/ready")
        assert refusal.status_code == 503
        assert "connection refused" in refusal.text

    def test_the_first_good_poll_brings_everything_back(self, stale: Site) -> None:
        at = stale.now = stale.now + 10
        stale.log.good(snapshot(at, [verdict("openai", health_score=99.0)]))
        [series] = stale.query("provider_health_score")
        assert series["datapoints"] == [[99.0, int(at * 1000)]]
        assert "meta" not in series
        assert stale.get("/ready").status_code == 200

    def test_when_nobody_polls_any_more_that_is_what_is_said(self, site: Site) -> None:
        site.now = LAST_GOOD + 600
        assert "no poll since 2027-01-15 08:01:00 UTC" in site.get("/").text
        assert latest(site, "gateway_up")[0][0] is None, "nobody knows"


class TestFailingButNotYetStale:
    """The last good values still count, and the trouble is told already."""

    @pytest.fixture
    def failing(self, site: Site) -> Site:
        site.log.failed(T0 + 75.0)
        site.now = T0 + 80.0
        return site

    def test_values_stand_at_the_time_they_were_observed_with_a_notice(self, failing: Site) -> None:
        [series] = failing.query('provider_health_score{provider="openai"}')
        assert series["datapoints"] == [[98.9, int(LAST_GOOD * 1000)]]
        assert "connection refused" in series["meta"]["notices"][0]["text"]
        assert failing.get("/ready").status_code == 200

    @pytest.mark.parametrize(("metric", "value"), [("gateway_up", 0.0), ("gateway_poll_seconds", 0.5)])
    def test_what_is_known_of_the_failed_poll_carries_that_polls_time(
        self, failing: Site, metric: str, value: float
    ) -> None:
        assert latest(failing, metric) == [(value, int((T0 + 75.0) * 1000))]

    def test_the_latest_value_is_the_last_point_of_a_range(self, failing: Site) -> None:
        for metric in ("gateway_up", "gateway_poll_seconds"):
            [ranged] = failing.query(metric, range={"from": "now-5m", "to": "now"})
            assert latest(failing, metric) == [tuple(ranged["datapoints"][-1])], metric

    def test_the_datas_age_carries_the_time_at_which_it_is_so_old(self, failing: Site) -> None:
        [(age, at)] = latest(failing, "gateway_data_age_seconds")
        assert age is not None
        assert at / 1000 - age == pytest.approx(LAST_GOOD, rel=0, abs=0.001)


class TestBeforeTheFirstPoll:
    @pytest.mark.parametrize(
        ("target", "answer"),
        [("provider_health_score", []), ("model_circuit_breaker_state", []), ("fleet_providers", [])],
    )
    def test_there_is_nothing_and_no_zero(self, empty: Site, target: str, answer: list[Any]) -> None:
        assert empty.query(target) == answer
        assert empty.query(target, range={"from": "now-1h", "to": "now"}) == []

    def test_fleet_values_are_null(self, empty: Site) -> None:
        for metric in ("fleet_health_score", "gateway_up", "gateway_data_age_seconds", "gateway_poll_seconds"):
            assert latest(empty, metric) == [(None, int(NOW * 1000))]

    def test_it_says_so_everywhere(self, empty: Site) -> None:
        assert "no poll yet" in empty.get("/").text
        assert "no poll yet" in empty.get("/ready").text
        assert "no poll yet" in empty.get("/ready", Accept="application/json").get_json()["message"]
        assert empty.get("/ready").status_code == 503
        assert empty.get("/", Accept="application/json").get_json()["status"] == "stale"
        [table] = empty.query("providers")
        assert (table["rows"], len(table["columns"])) == ([], 18)


class TestTheFrontPage:
    @pytest.mark.parametrize(
        ("headers", "kind"),
        [
            ({}, "text/plain"),
            ({"Accept": "*/*"}, "text/plain"),
            ({"Accept": "text/plain"}, "text/plain"),
            ({"Accept": "application/json"}, "application/json"),
            ({"Accept": "application/json, text/plain, */*"}, "application/json"),
            ({"Content-Type": "application/json"}, "application/json"),
            ({"Content-Type": "application/json;charset=utf-8", "Accept": "*/*"}, "application/json"),
        ],
    )
    def test_it_is_json_for_who_asks_for_json_and_text_for_curl(
        self, site: Site, headers: dict[str, str], kind: str
    ) -> None:
        response = site.get("/", **headers)
        assert (response.status_code, response.mimetype) == (200, kind)

    def test_the_summary_counts_the_providers_by_status_and_names_those_in_trouble(self, site: Site) -> None:
        summary = site.get("/", Accept="application/json").get_json()
        assert summary["providers"] == {"unknown": 0, "healthy": 1, "degraded": 1, "down": 1}
        assert [entry["provider"] for entry in summary["not_healthy"]] == ["groq", "openrouter"]
        assert summary["snapshot_time"] == LAST_GOOD * 1000

    def test_tables_by_url_are_the_tables_of_the_query(self, site: Site) -> None:
        [providers, explain] = site.query("providers", 'explain{provider="groq"}')
        assert site.get("/providers").get_json() == providers
        assert site.get("/providers/groq").get_json() == explain
        by_query = site.get("/query?target=providers&format=text").text
        assert site.get("/providers?format=text").text == by_query

    @pytest.mark.parametrize("path", ["/providers?", "/providers/groq?", "/query?target=providers&", "/annotations?"])
    def test_a_format_is_known_in_any_case_and_another_is_a_400(self, site: Site, path: str) -> None:
        assert site.get(f"{path}format=TEXT").get_data() == site.get(f"{path}format=text").get_data()
        assert site.get(f"{path}format=Csv").mimetype == "text/csv"
        assert site.get(f"{path}format=").get_data() == site.get(f"{path}format=json").get_data()
        response = site.get(f"{path}format=xml")
        assert response.status_code == 400
        assert "json, text, rows, csv" in response.text

    def test_the_front_page_knows_json_in_any_case(self, site: Site) -> None:
        assert site.get("/?format=JSON").mimetype == "application/json"
        assert site.get("/", Accept="Application/JSON").mimetype == "application/json"

    @pytest.mark.parametrize("wanted", ["csv", "rows", "html", "xml", "json,text"])
    @pytest.mark.parametrize("path", ["/", "/api/"])
    def test_the_front_page_refuses_a_format_it_does_not_have(self, site: Site, path: str, wanted: str) -> None:
        for accepted in ("*/*", "application/json", "text/html"):
            response = site.get(f"{path}?format={wanted}", Accept=accepted)
            assert response.status_code == 400
            assert f"there is no format '{wanted}'" in html.unescape(response.text)
            assert "formats are json, text" in response.text or "formats are text, json" in response.text


def test_the_board_says_since_when_and_why_in_one_line_however_long_the_reason_is(site: Site) -> None:
    reason = "no such endpoint: /prometheus/data/metrics answered 404; is GATEWAY_METRICS_PATH right? " * 2
    poll = Poll(T0 + 75, INTERVAL, "not_found", reason.strip(), 0.1)
    site.log.store.append(poll, failing_since=T0 + 75)
    [line] = [line for line in site.get("/").text.splitlines() if line.startswith("!")]
    assert reason.strip() in line
    assert "since 2027-01-15 08:01:15 UTC" in line
