"""simPod's JSON datasource: the query builder's drop-downs, what is chosen in them, variables and annotations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.model import Event
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES
from tests.history.snapshots import T0, circuit, snapshot, verdict
from tests.web.conftest import Site

RANGE = {"range": {"from": "2027-01-15T08:00:00.000Z", "to": "2027-01-15T08:05:00.000Z"}}
HOSTILE = ["=1+1", '"><img src=x>', "a/b", "two\nlines", "\u202egnp.exe", "a|b", "(x|y)", "gpt-4.1", "C:\\new", "it's"]


def post(site: Site, path: str, body: object) -> Any:
    response = site.post(path, body)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def options(site: Site, metric: object, name: str, payload: object = None) -> list[str]:
    found = post(site, "/metric-payload-options", {"metric": metric, "payload": payload, "name": name})
    assert all(option["label"] == option["value"] for option in found)
    return [option["value"] for option in found]


def variable(site: Site, payload: object) -> list[str]:
    found = post(site, "/variable", {"payload": payload, **RANGE})
    assert all(set(one) == {"__text", "__value"} and one["__text"] == one["__value"] for one in found)
    return [one["__value"] for one in found]


class TestMetrics:
    def test_everything_there_is_to_ask_for_is_offered_with_what_it_can_be_chosen_by(self, site: Site) -> None:
        offered = {one["value"]: [payload["name"] for payload in one["payloads"]] for one in post(site, "/metrics", {})}
        assert set(offered) == {*METRICS, *TABLES, *OLD_NAMES}
        assert offered["provider_status"] == ["provider", "legend"]
        assert offered["model_error_rate"] == ["provider", "model", "legend"]
        assert offered["fleet_providers"] == ["status", "legend"]
        assert offered["error_rate"] == ["legend"]
        assert offered["circuits"] == ["provider", "model", "state"]
        assert offered["annotations"] == ["provider", "model", "kind"]

    @pytest.mark.parametrize("body", [b"", {}, {"metric": "provider_status", "payload": {"provider": ["groq"]}}])
    def test_the_list_is_whole_whatever_is_chosen_already(self, site: Site, body: object) -> None:
        assert len(post(site, "/metrics", body)) == len({*METRICS, *TABLES, *OLD_NAMES})

    def test_every_drop_down_offered_has_options(self, site: Site) -> None:
        for metric in post(site, "/metrics", {}):
            for payload in metric["payloads"]:
                assert payload["type"] == ("input" if payload["name"] == "legend" else "multi-select")
                if payload["type"] == "multi-select":
                    assert options(site, metric["value"], payload["name"])

    def test_a_get_is_still_the_exposition(self, site: Site) -> None:
        response = site.get("/metrics")
        assert response.mimetype == "text/plain"
        assert "# TYPE provider_health_score gauge" in response.text


class TestOptions:
    def test_models_are_those_of_the_chosen_providers(self, site: Site) -> None:
        everything = options(site, "model_error_rate", "model")
        assert options(site, "model_error_rate", "model", {"provider": ["groq", "openai"]}) == [
            "gpt-4.1",
            "llama-3.1-8b",
        ]
        assert options(site, "model_error_rate", "model", {"provider": []}) == everything
        assert len(everything) == 6

    @pytest.mark.parametrize(
        "payload",
        [
            {"provider": "groq"},
            {"provider": ["groq"]},
            '{"provider": "groq"}',
            {"provider": "(groq|nobody)"},
            {"provider": "{groq,nobody}"},
            {"provider": ["groq", ""], "model": "gpt-4.1"} | {"provider": ["groq"]},
        ],
    )
    def test_in_every_form_a_payload_comes_in(self, site: Site, payload: object) -> None:
        assert options(site, "model_error_rate", "model", payload) == ["llama-3.1-8b"]

    @pytest.mark.parametrize("payload", [None, "", {}, "{}", [], {"provider": None}, {"provider": ".*"}, 5])
    def test_nothing_chosen_offers_everything(self, site: Site, payload: object) -> None:
        assert len(options(site, "model_error_rate", "model", payload)) == 6

    def test_a_chosen_provider_does_not_hide_the_others(self, site: Site) -> None:
        payload = {"provider": ["groq"], "model": ["gpt-4.1"]}
        assert options(site, "model_error_rate", "provider", payload) == ["groq", "openai", "openrouter"]

    @pytest.mark.parametrize("metric", ["", "  ", "no_such_metric", "{", None, 5, "fleet_health_score"])
    def test_a_metric_that_is_blank_or_not_known_or_lacks_the_label_offers_nothing(
        self, site: Site, metric: object
    ) -> None:
        assert options(site, metric, "provider") == []

    def test_a_name_that_is_not_known_offers_nothing(self, site: Site) -> None:
        assert options(site, "provider_status", "colour") == []

    def test_a_target_with_a_selector_is_that_metric(self, site: Site) -> None:
        assert options(site, 'model_error_rate{provider="groq"} as x', "provider") == ["groq", "openai", "openrouter"]


class TestChoices:
    """What is chosen in the builder is the same target as if it were written."""

    @pytest.mark.parametrize(
        ("payload", "written"),
        [
            ({"provider": ["groq", "openai"]}, '{provider=~"groq|openai"}'),
            ({"provider": "groq"}, '{provider="groq"}'),
            ('{"provider": ["groq"]}', '{provider="groq"}'),
            ({"provider": "(groq|openai)"}, '{provider=~"groq|openai"}'),
            ({"provider": ["$__all"]}, ""),
            ({"provider": [], "model": None}, ""),
            (
                {"provider": ["openrouter"], "model": ["openai\\/gpt-4o", "deepseek/r1"]},
                '{model=~"openai/gpt-4o|deepseek/r1"}',
            ),
            ({"model": "gpt-4\\.1"}, '{model="gpt-4.1"}'),
            ({"status": "down", "kind": "x", "other": {"a": 1}}, ""),
        ],
    )
    @pytest.mark.parametrize("span", [{}, RANGE])
    def test_in_every_form(self, site: Site, payload: object, written: str, span: dict[str, Any]) -> None:
        chosen = site.query({"target": "model_circuit_breaker_state", "payload": payload}, **span)
        assert chosen == site.query(f"model_circuit_breaker_state{written}", **span)
        assert chosen

    @pytest.mark.parametrize("payload", [{"type": "table"}, '{"type": "table"}'])
    def test_the_payload_can_ask_for_a_series_as_a_table(self, site: Site, payload: object) -> None:
        asked = {"target": "provider_status", "refId": "A"}
        [table] = site.query(asked | {"payload": payload})
        assert [table] == site.query(asked | {"type": "table"})
        assert [column["text"] for column in table["columns"]] == ["Time", "provider", "Value"]

    def test_a_table_is_narrowed_too(self, site: Site) -> None:
        [table] = site.query({"target": "providers", "payload": {"status": ["down", "degraded"]}})
        assert [row[0] for row in table["rows"]] == ["groq", "openrouter"]
        [table] = site.query({"target": "circuits", "payload": {"state": "OPEN", "provider": "openrouter"}})
        assert [row[1] for row in table["rows"]] == ["openai/gpt-4o"]

    def test_a_label_the_metric_lacks_is_not_asked(self, site: Site) -> None:
        assert site.names({"target": "fleet_health_score", "payload": {"provider": "groq"}}) == ["fleet_health_score"]

    def test_a_selector_and_a_choice_must_both_fit(self, site: Site) -> None:
        target = {"target": 'provider_status{provider=~"g.*"}', "payload": {"provider": ["groq", "openai"]}}
        assert site.names(target) == ['provider_status{provider="groq"}']

    def test_numbers_and_booleans_are_names_like_any_other(self, empty: Site) -> None:
        empty.log.good(snapshot(T0 + 60, [verdict("7"), verdict("true"), verdict("x")]))
        target = {"target": "provider_status as {{provider}}", "payload": {"provider": [7, True]}}
        assert empty.names(target) == ["7", "true"]

    @pytest.mark.parametrize("name", HOSTILE)
    def test_whatever_is_offered_can_be_chosen_as_it_is_and_escaped(self, empty: Site, name: str) -> None:
        names = [*HOSTILE, "other"]
        empty.log.good(snapshot(T0 + 60, [verdict(one) for one in names], [circuit(one, one) for one in names]))
        assert name in options(empty, "provider_status", "provider")
        assert name in variable(empty, "providers")
        escaped = "".join("\\" + c if c in "\\^$*+?.()|[]{}/" else c for c in name)
        for chosen in (name, [name], escaped, [escaped]):
            target = {"target": "provider_status as {{provider}}", "payload": {"provider": chosen}}
            assert name in empty.names(target)
            assert "other" not in empty.names(target)
            assert name in options(empty, "model_error_rate", "model", {"provider": chosen})

    def test_hidden_targets_are_skipped(self, site: Site) -> None:
        [series] = site.query({"target": "gateway_up", "hide": True, "payload": ""}, "fleet_requests")
        assert series["target"] == "fleet_requests"

    @pytest.mark.parametrize(
        ("payload", "said"),
        [("{no json", "not JSON"), ({"provider": {"a": 1}}, "provider"), ({"model": [["x"]]}, "list of texts")],
    )
    def test_a_payload_that_cannot_be_read_is_told(self, site: Site, payload: object, said: str) -> None:
        response = site.post("/query", {"targets": [{"target": "provider_status", "payload": payload}]})
        assert response.status_code == 400
        assert said in response.get_json()["error"]["message"]
        assert '"legend"' in response.get_json()["error"]["message"]


class TestVariables:
    @pytest.mark.parametrize(
        "payload",
        [
            {"target": "providers"},
            '{"target": "providers"}',
            "providers",
            {"target": "label_values(provider)"},
            {"target": "providers", "provider": None},
        ],
    )
    def test_a_query_in_every_form(self, site: Site, payload: object) -> None:
        assert variable(site, payload) == ["groq", "openai", "openrouter"]

    @pytest.mark.parametrize(
        "payload",
        [
            {"target": 'models{provider="groq"}'},
            {"target": "models", "provider": "groq"},
            {"target": "models", "provider": ["groq", "nobody"]},
            {"target": "label_values(model)", "provider": "groq"},
        ],
    )
    def test_one_depends_on_another(self, site: Site, payload: object) -> None:
        assert variable(site, payload) == ["llama-3.1-8b"]

    @pytest.mark.parametrize("payload", [None, "", {}, [], 5, {"target": None}])
    def test_nothing_asked_lists_the_names_as_search_does(self, site: Site, payload: object) -> None:
        assert variable(site, payload) == post(site, "/search", {"target": ""})

    def test_nothing_found_is_an_empty_list(self, site: Site) -> None:
        assert variable(site, "no such thing") == []

    def test_before_the_first_poll_there_are_none(self, empty: Site) -> None:
        assert variable(empty, "providers") == []


def anno(target: object = None, **more: Any) -> dict[str, Any]:
    """An annotation query as simPod 0.6 sends it."""
    asked = {"refId": "Anno", "target": target, "payload": {}} | more.pop("of_target", {})
    variables = {"__annotation": {"text": "Breakers", "value": {"name": "Breakers", "enable": True}}}
    return {"targets": [asked], "scopedVars": variables, **RANGE, **more}


def drawn(site: Site, body: object) -> list[dict[str, Any]]:
    """The rows of the one table frame that came back."""
    [frame] = post(site, "/query", body)
    assert frame["type"] == "table"
    assert frame["refId"] == "Anno"
    assert "meta" not in frame, "an annotation's own frame is no panel's"
    titles = [column["text"] for column in frame["columns"]]
    assert titles == ["time", "timeEnd", "title", "text", "tags", "id", "newState"]
    assert [column["type"] for column in frame["columns"]] == ["time", "time", *["string"] * 5]
    return [dict(zip(titles, row, strict=True)) for row in frame["rows"]]


class TestAnnotations:
    def test_they_are_one_table_frame(self, site: Site) -> None:
        found = drawn(site, anno("circuit"))
        assert [event["tags"] for event in found] == [
            "circuit,groq,llama-3.1-8b,OPEN",
            "circuit,openrouter,openai/gpt-4o,OPEN",
        ]
        assert found[0]["time"] == 1_800_000_030_000
        assert found[0]["timeEnd"] == 1_800_000_065_000
        assert {event["newState"] for event in found} == {"alerting"}

    def test_they_are_the_events_that_simple_json_gets(self, site: Site) -> None:
        events = post(site, "/annotations", {"annotation": {"query": "all"}, **RANGE})
        for event in events:
            del event["annotation"], event["isRegion"]
            event["tags"] = ",".join(event["tags"])
        found = drawn(site, anno("all"))
        assert found == [{key: event[key] for key in found[0]} for event in events]
        assert len(found) > 4

    @pytest.mark.parametrize("target", [None, "", "select metric"])
    def test_without_a_query_incidents_and_outages_of_the_gateway_are_drawn(self, site: Site, target: object) -> None:
        assert drawn(site, anno(target)) == drawn(site, anno("incident,gateway")) != []

    @pytest.mark.parametrize("target", ["all", "annotations"])
    def test_every_kind_has_a_name(self, site: Site, target: object) -> None:
        assert len(drawn(site, anno(target))) == len(drawn(site, anno("incident,circuit,status,roster,gateway"))) > 6

    @pytest.mark.parametrize(
        "of_target",
        [
            {"target": "circuit{provider=~'(groq|openai)'}"},
            {"target": "circuit", "payload": {"provider": ["groq", "openai"]}},
            {"target": "annotations", "payload": {"kind": ["circuit"], "provider": "groq"}},
            {"target": "annotations{kind='circuit',provider='groq'}"},
            {"target": "annotations", "payload": '{"query": "circuit{provider=\'groq\'}"}'},
            {"target": "", "payload": {"query": "circuit{model='llama-3.1-8b'}"}},
        ],
    )
    def test_a_query_and_choices_pick_in_every_form(self, site: Site, of_target: dict[str, Any]) -> None:
        [event] = drawn(site, anno(of_target=of_target))
        assert event["tags"] == "circuit,groq,llama-3.1-8b,OPEN"

    def test_dashboard_filters_narrow_what_they_are_about(self, site: Site) -> None:
        chosen = [{"key": "provider", "operator": "=", "value": "groq"}]
        found = drawn(site, anno("all", filters=chosen))
        assert {event["tags"].split(",")[0] for event in found} == {"incident", "circuit", "status", "gateway"}
        assert not any("openrouter" in event["tags"] for event in found)

    def test_either_sign_of_an_annotation_is_enough(self, site: Site) -> None:
        by_variable = anno("circuit", of_target={"refId": "A"})
        by_name = anno("circuit", scopedVars={})
        assert post(site, "/query", by_name)[0]["rows"] == post(site, "/query", by_variable)[0]["rows"] != []

    def test_texts_are_escaped_as_tooltips_show_html(self, empty: Site) -> None:
        evil = "<img src=x onerror=alert(1)>"
        empty.log.good(
            snapshot(T0 + 60, [verdict(evil)]), Event(T0 + 60, "status", evil, "", "healthy", "down", f"said {evil}")
        )
        [event] = drawn(empty, anno("status"))
        assert "<" not in json.dumps(event)
        assert "&lt;img src=x onerror=alert(1)&gt;" in event["title"]

    def test_a_mistake_is_told(self, site: Site) -> None:
        response = site.post("/query", anno("circus"))
        assert response.status_code == 400
        assert "did you mean 'circuit'" in response.get_json()["error"]["message"]


class TestOnPanels:
    """``annotations`` as a panel's target: drawn over its series."""

    def test_they_are_a_frame_of_their_own_topic_beside_the_series(self, site: Site) -> None:
        series, frame = site.query('provider_status{provider="groq"}', 'annotations{provider="groq"}', **RANGE)
        assert "datapoints" in series
        assert frame["meta"] == {"dataTopic": "annotations"}
        assert {row[4].split(",")[0] for row in frame["rows"]} == {"incident", "circuit", "status", "gateway"}

    def test_a_notice_stands_beside_the_topic(self, site: Site) -> None:
        site.now += 600
        [frame] = site.query("annotations", **RANGE)
        assert frame["meta"]["dataTopic"] == "annotations"
        assert "no poll since" in frame["meta"]["notices"][0]["text"]

    def test_as_a_table_they_are_listed_as_they_are(self, empty: Site) -> None:
        empty.log.good(
            snapshot(T0 + 60, [verdict("<b>")]), Event(T0 + 60, "status", "<b>", "", "healthy", "down", "why")
        )
        [table] = empty.query({"target": "annotations", "type": "table"}, **RANGE)
        assert "meta" not in table
        assert [row[2] for row in table["rows"]] == ["<b>: healthy → down"]

    def test_without_a_range_it_is_the_last_day(self, site: Site) -> None:
        site.now += 86_000
        assert len(site.query("annotations")[0]["rows"]) > 4
        site.now += 86_400 * 2
        assert [row[4] for row in site.query("annotations{kind='status'}")[0]["rows"]] == []
