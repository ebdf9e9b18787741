"""Queries as clients send them: what is skipped, what is echoed, how series are called, filtered and typed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.model import Status
from tests.history.snapshots import T0, snapshot, verdict
from tests.web.conftest import NOW, Site

RANGE = {"range": {"from": "now-5m", "to": "now"}}
LAST = int((T0 + 60) * 1000)


class TestTargets:
    def test_each_series_and_table_echoes_the_ref_id_of_its_target(self, site: Site) -> None:
        answer = site.query(
            {"target": "provider_status", "refId": "A"}, {"target": "providers", "refId": "tab le"}, "gateway_up"
        )
        assert [entry.get("refId") for entry in answer] == ["A", "A", "A", "tab le", None]

    def test_answers_stand_in_the_order_of_their_targets(self, site: Site) -> None:
        answer = site.query("gateway_up", "fleet_health_score", "gateway_up as again")
        assert [entry["target"] for entry in answer] == ["gateway_up", "fleet_health_score", "again"]

    @pytest.mark.parametrize(
        "target",
        [
            {"target": "gateway_up", "hide": True},
            {"target": ""},
            {"target": "  "},
            {"target": None},
            {"refId": "B", "type": "timeserie"},
            {"target": "select metric"},
        ],
        ids=json.dumps,
    )
    def test_hidden_and_empty_targets_are_skipped(self, site: Site, target: dict[str, Any]) -> None:
        assert site.query(target) == []
        assert len(site.query(target, "gateway_up")) == 1

    def test_no_targets_at_all_is_an_empty_answer(self, site: Site) -> None:
        assert site.query() == []

    def test_a_known_metric_that_matches_nothing_is_an_empty_answer(self, site: Site) -> None:
        assert site.query('provider_health_score{provider="nobody"}', "provider_status{provider=~'x.*'}", **RANGE) == []

    @pytest.mark.parametrize("kind", ["timeserie", "timeseries", None, "", "graph"])
    def test_anything_but_table_is_a_series(self, site: Site, kind: str | None) -> None:
        [series] = site.query({"target": "gateway_up", "type": kind})
        assert series["datapoints"] == [[1.0, LAST]]

    def test_a_series_asked_for_as_a_table_is_one_row_a_series_with_its_labels_and_last_value(self, site: Site) -> None:
        [table] = site.query({"target": "provider_health_score", "type": "table"}, **RANGE)
        assert [column["text"] for column in table["columns"]] == ["Time", "provider", "Value"]
        assert sorted(table["rows"]) == [[LAST, "groq", 25.0], [LAST, "openai", 98.9], [LAST, "openrouter", 86.0]]

    def test_a_column_called_value_says_what_it_is_called_and_codes_have_words_beside_them(self, site: Site) -> None:
        """Grafana would head it by the name of the table, or by the target's letter."""
        [table] = site.query({"target": "explain", "type": "table", "refId": "A"})
        titles = [column["text"] for column in table["columns"]]
        value = table["columns"][titles.index("Value")]
        assert value["displayName"] == "Value"
        rows = [dict(zip(titles, row, strict=True)) for row in table["rows"]]
        of_groq = {row["What"]: (row["Value"], row["State"]) for row in rows if row["Provider"] == "groq"}
        assert of_groq["status"] == (3.0, "down")
        assert of_groq["circuit llama-3.1-8b"] == (1.0, "OPEN")
        assert of_groq["error rate"] == (None, "")

    def test_a_table_is_a_table_whatever_type_is_asked_for(self, site: Site) -> None:
        [table] = site.query({"target": "providers", "type": "timeserie"})
        assert (table["type"], len(table["rows"])) == ("table", 3)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("avg_health_score", "fleet_health_score"),
            ("total_requests", "fleet_requests"),
            ("total_cost", "fleet_cost_usd"),
            ("error_rate", "fleet_error_rate"),
        ],
    )
    def test_the_old_names_keep_working(self, site: Site, old: str, new: str) -> None:
        [by_old_name], [by_new_name] = site.query(old, **RANGE), site.query(new, **RANGE)
        assert by_old_name["target"] == old
        assert by_old_name["datapoints"] == by_new_name["datapoints"]

    def test_without_a_range_there_is_the_latest_value_alone(self, site: Site) -> None:
        for span in ({}, {"range": None}, {"range": {}}, {"range": {"from": "", "to": None}}):
            [series] = site.query("fleet_requests", **span)
            assert series["datapoints"] == [[4004.0, LAST]]

    @pytest.mark.parametrize(
        "span",
        [
            {"from": "2027-01-15T08:00:00.000Z", "to": "2027-01-15T08:01:00.000Z"},
            {"from": 1_800_000_000_000, "to": 1_800_000_060_000},
            {"from": "1800000000000", "to": "1800000060000"},
            {"from": "now-66s", "to": "now"},
            {"from": "2027-01-15T10:00:00+02:00"},
        ],
        ids=json.dumps,
    )
    def test_ranges_are_understood_in_every_form_clients_send(self, site: Site, span: dict[str, Any]) -> None:
        [series] = site.query("gateway_up", range=span)
        assert [value for value, _ in series["datapoints"]] == [1.0, 0.0, 1.0, 1.0, 1.0]

    def test_a_range_that_lies_elsewhere_is_empty(self, site: Site) -> None:
        assert site.query("provider_health_score", range={"from": "now+1h", "to": "now+2h"}) == []
        assert site.query("provider_health_score", range={"from": "now-2h", "to": "now-1h"}) == []

    @pytest.mark.parametrize("most", [0, -1, "10", 2.5, 1e12, None, ""])
    def test_any_number_of_points_is_taken_in_good_faith(self, site: Site, most: object) -> None:
        assert site.query("gateway_up", maxDataPoints=most, intervalMs=0, **RANGE)

    def test_a_step_shows_its_worst_point_and_never_more_points_than_were_asked_for(self, site: Site) -> None:
        [series] = site.query('provider_health_score{provider="groq"}', maxDataPoints=3, **RANGE)
        assert len(series["datapoints"]) <= 3
        assert [25.0, int((T0 + 30) * 1000)] in series["datapoints"]

    def test_a_range_without_an_end_moves_on_with_the_clock_between_two_polls_too(self, site: Site) -> None:
        open_ended = {"range": {"from": int(T0 * 1000)}, "maxDataPoints": 2}
        for late in range(15):
            site.now = NOW + late
            asked_before = site.query("provider_health_score", **open_ended)
            asked_first_now = site.query("provider_health_score", requestId=str(late), **open_ended)
            assert asked_before == asked_first_now


class TestLegends:
    @pytest.mark.parametrize(
        ("target", "name"),
        [
            ('provider_status{provider="groq"}', 'provider_status{provider="groq"}'),
            ('provider_status{provider="groq"} as {{provider}}', "groq"),
            ('provider_status{provider="groq"} as "{{provider}} is {{model}}!"', "groq is !"),
            (
                'model_circuit_breaker_state{model="gpt-4.1"}',
                'model_circuit_breaker_state{provider="openai",model="gpt-4.1"}',
            ),
            ("gateway_up", "gateway_up"),
        ],
    )
    def test_a_series_is_called_by_its_legend_or_by_metric_and_labels(self, site: Site, target: str, name: str) -> None:
        [series] = site.query(target)
        assert (series["target"], series["title"]) == (name, name)

    @pytest.mark.parametrize(
        "payload",
        [{"legend": "{{provider}}!"}, {"alias": "{{provider}}!"}, '{"legend": "{{provider}}!"}'],
        ids=["legend", "alias", "JSON text"],
    )
    def test_a_payload_may_carry_the_legend(self, site: Site, payload: object) -> None:
        assert site.names({"target": 'provider_status{provider="groq"}', "payload": payload}) == ["groq!"]

    @pytest.mark.parametrize("payload", ["", None, {}, [], 5, {"legend": ""}, {"legend": 5}, {"other": "x"}])
    def test_a_payload_without_a_legend_changes_nothing(self, site: Site, payload: object) -> None:
        assert site.names({"target": "gateway_up", "payload": payload}) == ["gateway_up"]

    def test_the_legend_in_the_target_goes_before_the_payloads(self, site: Site) -> None:
        assert site.names({"target": "gateway_up as own", "payload": {"legend": "other"}}) == ["own"]

    def test_series_carry_their_labels_as_tags_and_their_unit(self, site: Site) -> None:
        series = site.query('model_circuit_breaker_state{model="gpt-4.1"}', 'provider_error_rate{provider="openai"}')
        assert series[0]["tags"] == {"provider": "openai", "model": "gpt-4.1"}
        assert [one["unit"] for one in series] == ["none", "percentunit"]


class TestVariables:
    """Grafana's formats of a variable's value, inside the quotes."""

    @pytest.mark.parametrize("op", ["=", "=~"])
    @pytest.mark.parametrize(
        ("value", "models"),
        [
            (r"openai\/gpt-4o", ["openai/gpt-4o"]),
            (r"(openai\/gpt-4o|deepseek\/r1)", ["deepseek/r1", "openai/gpt-4o"]),
            ("{openai/gpt-4o,deepseek/r1}", ["deepseek/r1", "openai/gpt-4o"]),
            (r"gpt-4\.1", ["gpt-4.1"]),
            (".*", 6),
            ("*", 6),
        ],
    )
    def test_every_format_of_a_variable_means_its_values(
        self, site: Site, op: str, value: str, models: list[str] | int
    ) -> None:
        series = site.query(f'model_circuit_breaker_state{{model{op}"{value}"}}')
        found = sorted(one["tags"]["model"] for one in series)
        assert found == models if isinstance(models, list) else len(found) == models

    def test_a_dot_in_a_plain_value_is_a_dot(self, site: Site) -> None:
        assert site.query('model_circuit_breaker_state{model="gpt-4x1"}') == []
        assert site.query('model_circuit_breaker_state{model=~"gpt-4x1"}') == []

    def test_regular_expressions_match_the_whole_value(self, site: Site) -> None:
        assert site.names('provider_status{provider=~"open"}') == []
        assert len(site.names('provider_status{provider=~"open.*"}')) == 2
        assert site.names('provider_status{provider!~"open.*"}') == ['provider_status{provider="groq"}']


class TestFilters:
    @pytest.mark.parametrize("name", ["adhocFilters", "filters"])
    @pytest.mark.parametrize(
        ("chosen", "providers"),
        [
            ([{"key": "provider", "operator": "=", "value": "groq"}], {"groq"}),
            ([{"key": "provider", "operator": "!=", "value": "groq"}], {"openai", "openrouter"}),
            ([{"key": "provider", "operator": "=~", "value": "open.*"}], {"openai", "openrouter"}),
            ([{"key": "provider", "operator": "!~", "value": "open.*"}], {"groq"}),
            ([{"key": "provider", "operator": "=|", "value": "x", "values": ["groq", "openai"]}], {"groq", "openai"}),
            ([{"key": "provider", "operator": "!=|", "value": "x", "values": ["groq", "openai"]}], {"openrouter"}),
            ([{"key": "provider", "operator": "=|", "values": ["gro.", ".*"]}], set()),
            ([{"key": "provider", "operator": "=", "value": ".*"}], set()),
            (
                [
                    {"key": "provider", "operator": "=~", "value": "open.*", "condition": "AND"},
                    {"key": "provider", "operator": "!=", "value": "openai"},
                ],
                {"openrouter"},
            ),
            ([{"key": "model", "operator": "=", "value": "gpt-4.1"}], {"groq", "openai", "openrouter"}),
            ([{"key": "no_such_label", "operator": "=", "value": "x"}], {"groq", "openai", "openrouter"}),
            ([{"key": "", "operator": "=", "value": "x"}, None, 5, {}], {"groq", "openai", "openrouter"}),
        ],
    )
    def test_filters_apply_to_the_labels_a_series_has(
        self, site: Site, name: str, chosen: list[Any], providers: set[str]
    ) -> None:
        for span in ({}, RANGE):
            series = site.query("provider_health_score", **{name: chosen}, **span)
            assert {one["tags"]["provider"] for one in series} == providers

    def test_any_number_of_plain_names_can_be_chosen_whatever_stands_in_them(self, site: Site) -> None:
        many = [f"GPU node {number} of the rack - one of #many" for number in range(200)]
        chosen = {"key": "provider", "operator": "=|", "value": many[0], "values": [*many, "groq"]}
        assert site.names("provider_status", filters=[chosen]) == ['provider_status{provider="groq"}']
        chosen["operator"] = "!=|"
        assert len(site.names("provider_status", filters=[chosen])) == 2

    def test_filters_apply_to_tables_too(self, site: Site) -> None:
        by_status = [{"key": "status", "operator": "=", "value": "down"}]
        [table] = site.query("providers", adhocFilters=by_status)
        assert [row[0] for row in table["rows"]] == ["groq"]
        by_model = [{"key": "model", "operator": "=~", "value": "openai/.*"}]
        [table] = site.query("circuits", filters=by_model)
        assert [row[:2] for row in table["rows"]] == [["openrouter", "openai/gpt-4o"]]

    @pytest.mark.parametrize(
        ("operator", "value", "providers"),
        [
            ("=", "down", {"groq"}),
            ("!=", "down", {"openai", "openrouter"}),
            ("=~", "down|degraded", {"groq", "openrouter"}),
            ("!~", "d.*", {"openai"}),
            ("=", "unknown", set()),
            ("=", "no such status", set()),
        ],
    )
    def test_a_status_chooses_who_has_it_now_wherever_there_are_providers(
        self, site: Site, operator: str, value: str, providers: set[str]
    ) -> None:
        chosen = {"adhocFilters": [{"key": "status", "operator": operator, "value": value}]}
        for target in ("provider_health_score", "model_error_rate", "model_circuit_breaker_state"):
            of_all = {one["tags"]["provider"] for one in site.query(target, **RANGE)}
            for span in ({}, RANGE):
                found = {one["tags"]["provider"] for one in site.query(target, **chosen, **span)}
                assert found == providers & of_all, target
        for table in ("providers", "circuits", "explain"):
            [answer] = site.query(table, **chosen)
            place = [column["text"] for column in answer["columns"]].index("Provider")
            assert {row[place] for row in answer["rows"]} == providers, table
        [changes] = site.query("transitions", **chosen, **RANGE)
        assert {row[2] for row in changes["rows"] if row[1] != "gateway"} <= providers
        drawn = site.query("annotations", **chosen, **RANGE)[0]["rows"]
        assert {row[4].split(",")[1] for row in drawn if not row[4].startswith("gateway")} <= providers

    def test_a_status_of_fleet_providers_is_its_own_label(self, site: Site) -> None:
        chosen = [{"key": "status", "operator": "=", "value": "down"}]
        [series] = site.query("fleet_providers", adhocFilters=chosen)
        assert series["tags"] == {"status": "down"}
        assert site.names("fleet_health_score", adhocFilters=chosen) == ["fleet_health_score"]

    def test_a_status_is_that_of_now_in_a_range_of_the_past_too(self, site: Site) -> None:
        """A ready answer of the same range must not outlive it."""
        past = {"range": {"from": T0 * 1000 - 1, "to": T0 * 1000 + 31_000}}
        chosen = [{"key": "status", "operator": "=", "value": "down"}]
        assert site.names("provider_health_score as {{provider}}", filters=chosen, **past) == ["groq"]
        site.log.good(snapshot(T0 + 75, [verdict("openai", Status.DOWN), verdict("groq")]))
        site.now += 15
        assert site.names("provider_health_score as {{provider}}", filters=chosen, **past) == ["openai"]

    def test_once_the_data_is_stale_everyones_status_is_unknown(self, site: Site) -> None:
        site.now += 600
        for value, count in (("unknown", 3), ("down", 0)):
            chosen = [{"key": "status", "operator": "=", "value": value}]
            assert len(site.query("provider_health_score", filters=chosen)) == count

    @pytest.mark.parametrize("name", ["adhocFilters", "filters"])
    @pytest.mark.parametrize("operator", ["<", ">", "~", "", "=|", "like"])
    def test_one_with_an_operator_that_labels_do_not_have_is_left_out_and_told(
        self, site: Site, name: str, operator: str
    ) -> None:
        chosen = [
            {"key": "provider", "operator": operator, "value": "5"},
            {"key": "provider", "operator": "=~", "value": "groq|openai"},
        ]
        for span in ({}, RANGE):
            for _ in range(2):
                answer = site.query("provider_health_score", "providers", **{name: chosen}, **span)
                assert len(answer) == 3
                for entry in answer:
                    [notice] = entry["meta"]["notices"]
                    assert notice["severity"] == "warning"
                    assert 'the filter on "provider" is left out' in notice["text"]
                assert not any("meta" in entry for entry in site.query("gateway_up", **{name: chosen[1:]}, **span))

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("(", "not a regular expression"),
            ("a" * 3000 + ".*", "too long"),
            (None, "not made of texts"),
            (["groq"], "not made of texts"),
            (True, "not made of texts"),
        ],
    )
    def test_one_whose_value_cannot_be_used_is_left_out_and_told(self, site: Site, value: object, said: str) -> None:
        chosen = [
            {"key": "provider", "operator": "=~", "value": value},
            {"key": "provider", "operator": "=", "value": "groq"},
        ]
        [entry] = site.query("provider_health_score", filters=chosen, **RANGE)
        assert entry["tags"] == {"provider": "groq"}
        [notice] = entry["meta"]["notices"]
        assert 'the filter on "provider" is left out' in notice["text"]
        assert said in notice["text"]

    def test_a_number_is_taken_for_its_text(self, site: Site) -> None:
        chosen = [{"key": "provider", "operator": "!=", "value": 5}]
        entries = site.query("provider_health_score", filters=chosen)
        assert len(entries) == 3
        assert not any("meta" in entry for entry in entries)

    def test_one_on_a_label_that_nothing_has_is_left_out_and_told(self, site: Site) -> None:
        for key in ("region", "a b"):
            chosen = [{"key": key, "operator": "=", "value": "eu"}]
            for entry in site.query("provider_health_score", "providers", filters=chosen, **RANGE):
                assert f'the filter on "{key}" is left out' in entry["meta"]["notices"][0]["text"]

    def test_filters_leave_the_fleet_alone(self, site: Site) -> None:
        chosen = [{"key": "provider", "operator": "=", "value": "groq"}]
        assert site.names("fleet_health_score", adhocFilters=chosen) == ["fleet_health_score"]


class TestByUrl:
    def test_get_and_post_give_the_same_answer(self, site: Site) -> None:
        by_url = site.get("/query?target=provider_status&target=providers&from=now-5m&to=now&maxDataPoints=100")
        by_post = site.query("provider_status", "providers", maxDataPoints=100, **RANGE)
        assert by_url.get_json() == by_post

    def test_a_table_of_series_can_be_asked_for(self, site: Site) -> None:
        [table] = site.get("/query?target=provider_status&type=table").get_json()
        assert len(table["rows"]) == 3

    def test_text_is_text(self, site: Site) -> None:
        response = site.get("/query?target=providers&format=text")
        assert (response.status_code, response.content_type) == (200, "text/plain; charset=utf-8")
        assert [line.split()[0] for line in response.text.splitlines()] == ["Provider", "groq", "openrouter", "openai"]

    def test_a_target_that_matches_nothing_says_so(self, site: Site) -> None:
        assert "nothing matches" in site.get("/query?target=provider_status{provider='x'}&format=text").text
        assert "no rows" in site.get("/query?target=providers{provider='x'}&format=text").text

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ("", "no target"),
            ("?target=", "no target"),
            ("?target=gateway_up&format=xml", "json, text"),
            ("?target=gateway_up&from=yesterday", "yesterday"),
            ("?target=gateway_up&from=now&to=now-1h", "from is after to"),
            ("?target=gateway_down", "gateway_up"),
            ("?" + "target=gateway_up&" * 101, "101"),
        ],
    )
    def test_a_mistake_is_a_400_that_says_what_would_be_right(self, site: Site, arguments: str, said: str) -> None:
        response = site.get("/query" + arguments)
        assert response.status_code == 400
        assert said in response.text


class TestWhatIsNotThere:
    """A name that nobody has is told to who shows notices: Grafana, which names its targets."""

    @pytest.mark.parametrize(
        ("selector", "told"),
        [
            ('{provider="opnai"}', 'there is no provider "opnai"; did you mean "openai"?'),
            ('{provider=~"openai|gone"}', 'there is no provider "gone"'),
            ('{provider="{openai,gone,left}"}', 'there is no provider "gone", "left"'),
            ('{provider=~"zzz.*"}', 'no provider matches "zzz.*"'),
            ('{provder="openai"}', "provider_status has no label 'provder'; what it has: provider"),
        ],
    )
    def test_a_panel_is_told(self, site: Site, selector: str, told: str) -> None:
        for span in ({}, RANGE):
            entries = site.query({"target": f"provider_status{selector}", "refId": "A"}, **span)
            assert entries
            for entry in entries:
                assert entry["refId"] == "A"
                assert told in entry["meta"]["notices"][0]["text"]
        [table] = site.query({"target": f"providers{selector}", "refId": "A", "type": "table"})
        assert told.replace("provider_status", "providers").removesuffix(": provider") in str(table["meta"]["notices"])

    def test_a_filter_that_names_nobody_is_told_too(self, site: Site) -> None:
        chosen = [{"key": "provider", "operator": "=", "value": "gone"}]
        [entry] = site.query({"target": "provider_status", "refId": "A"}, adhocFilters=chosen)
        assert entry["datapoints"] == []
        assert 'there is no provider "gone"' in entry["meta"]["notices"][0]["text"]

    def test_what_exists_is_no_notice(self, site: Site) -> None:
        for target in ('provider_status{provider=~"groq|openai"}', "provider_status", 'provider_status{provider!="x"}'):
            assert not any("meta" in entry for entry in site.query({"target": target, "refId": "A"}, **RANGE))

    def test_a_warning_tells_who_asks_by_url(self, site: Site) -> None:
        response = site.get("/query?target=provider_status{provider='gone'}&format=rows")
        assert response.get_json() == []
        assert "there is no provider 'gone'" in response.headers["Warning"]


class TestMistakes:
    def test_a_bad_second_target_says_why_in_its_legend(self, site: Site) -> None:
        good, bad = site.query("gateway_up", {"target": "provider_statis", "refId": "B"})
        assert good["datapoints"]
        assert bad["target"] == bad["title"]
        assert bad["title"].startswith(
            "provider_statis: unknown metric 'provider_statis'; did you mean 'provider_status'"
        )
        assert (bad["datapoints"], bad["refId"]) == ([], "B")
        assert bad["meta"]["notices"][0]["severity"] == "error"


class TestWorst:
    def test_the_worst_few_are_answered_the_worst_first(self, site: Site) -> None:
        for span in ({}, RANGE):
            assert site.names("worst(2, provider_health_score) as {{provider}}", **span) == ["groq", "openrouter"]
            assert site.names('worst(1, provider_status{provider!="groq"}) as {{provider}}', **span) == ["openrouter"]
        [table] = site.query({"target": "worst(2,provider_health_score)", "type": "table"})
        assert [row[1] for row in table["rows"]] == ["groq", "openrouter"]

    @pytest.mark.parametrize(
        ("target", "says"),
        [
            ("worst(5, provider_request_rate)", "has no worst"),
            ("worst(5, fleet_providers)", "has no worst"),
            ("worst(5, total_cost)", "has no worst"),
            ("worst(5, providers)", "takes a metric"),
            ("worst(5, annotations)", "takes a metric"),
            ("worst(5, provider_statis)", "did you mean 'provider_status'"),
            ("worst(0, provider_status)", "a number from 1 on"),
            ("worst(-1, provider_status)", "a number from 1 on"),
            ("worst(1.5, provider_status)", "a number from 1 on"),
            ("worst(provider_status)", "a number from 1 on"),
            ("worst(5, )", "a metric name is missing"),
            ("worst(5, provider_status", "a closing parenthesis"),
            ("worst(5, provider_status))", "after the selector"),
        ],
    )
    def test_what_it_cannot_be_asked_of_is_a_400(self, site: Site, target: str, says: str) -> None:
        response = site.post("/query", {"targets": [{"target": target}]})
        assert response.status_code == 400
        assert says in response.get_json()["message"]


class TestFreshness:
    def test_before_the_first_poll_it_is_known_that_nothing_was_read(self, empty: Site) -> None:
        [table] = empty.query("freshness")
        assert table["rows"] == [["never read", None, None, "no poll yet: the bridge has just started"]]
        [row] = empty.get("/query?target=freshness&format=rows").get_json()
        assert (row["State"], row["Since"]) == ("never read", None)

    def test_it_needs_no_label_and_minds_no_filter(self, site: Site) -> None:
        chosen = [{"key": "status", "operator": "=", "value": "down"}]
        [table] = site.query("freshness", adhocFilters=chosen)
        assert [row[0] for row in table["rows"]] == ["fresh"]


class TestNumbers:
    def test_what_is_not_known_is_null_and_never_nan(self, empty: Site) -> None:
        empty.log.good(snapshot(T0 + 60, [verdict("new", Status.UNKNOWN)]))
        for metric in ("provider_health_score", "provider_error_rate", "provider_cost_usd"):
            for span in ({}, RANGE):
                response = empty.post("/query", {"targets": [{"target": metric}], **span})
                assert response.get_json()[0]["datapoints"] == [[None, LAST]]
                assert b"NaN" not in response.get_data()
        [table] = empty.query("providers")
        assert table["rows"][0][2] is None

    @pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
    def test_what_json_has_no_word_for_is_null(self, empty: Site, number: float) -> None:
        empty.log.good(snapshot(T0 + 60, [verdict("new", cost_usd=number)], fleet={"fleet_cost_usd": number}))
        for metric in ("provider_cost_usd", "fleet_cost_usd"):
            for span in ({}, RANGE):
                [series] = json.loads(
                    empty.post("/query", {"targets": [{"target": metric}], **span}).get_data(),
                    parse_constant=pytest.fail,
                )
                assert [value for value, _ in series["datapoints"]] == [None]

    def test_values_are_those_of_the_snapshot_at_its_time(self, site: Site) -> None:
        site.now = NOW + 30
        [series] = site.query('provider_health_score{provider="openai"}')
        assert series["datapoints"] == [[98.9, LAST]]
