"""Whatever a client sends: an error says what would be right, as that client reads it, and is not the bridge's own."""

from __future__ import annotations

import gc
import json
import re
import time
import tracemalloc
from itertools import chain, repeat
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.web.conftest import NOW, Site

GRAFANA = "application/json, text/plain, */*"
INFINITY = "application/json;q=0.9,text/plain"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
RANGE = {"from": "now-5m", "to": "now"}
ROUTES = (
    "/query",
    "/search",
    "/tag-keys",
    "/tag-values",
    "/annotations",
    "/metrics",
    "/metric-payload-options",
    "/variable",
)


def asks(target: object, **more: object) -> dict[str, Any]:
    return {"targets": [{"target": target}], **more}


def assert_says_what_is_right(response: TestResponse, status: int, *said: str) -> dict[str, Any]:
    """The one error that every client can show."""
    assert response.status_code == status
    assert response.mimetype == "application/json"
    body: dict[str, Any] = response.get_json()
    assert set(body) == {"message", "hint", "error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["message"]
    assert body["hint"]
    assert body["hint"] in body["message"], "simPod shows the message alone"
    assert body["error"]["message"] == body["message"]
    assert body["message"].isprintable()
    for words in said:
        assert words in body["message"]
    return body


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"provider_health_score", ["not JSON"], id="not JSON"),
        pytest.param(b'{"targets": [', ["not JSON"], id="half a JSON"),
        pytest.param(b"[]", ["a list"], id="a list"),
        pytest.param(b"null", ["null"], id="null"),
        pytest.param(b'"text"', ["a text"], id="a text"),
        pytest.param(b"", ["no targets"], id="no body"),
        pytest.param({}, ["no targets"], id="no targets"),
        pytest.param({"targets": {"target": "gateway_up"}}, ["targets is an object"], id="targets not a list"),
        pytest.param({"targets": None}, ["targets is null"], id="targets null"),
        pytest.param({"targets": "gateway_up"}, ["targets is a text"], id="targets a text"),
        pytest.param({"targets": [5]}, ["target 1", "a number"], id="a target that is a number"),
        pytest.param(asks(5), ["target 1", "a number"], id="a target of a number"),
        pytest.param(asks("provider_heath_score"), ["provider_health_score"], id="unknown metric"),
        pytest.param(asks("xyzzy"), ["xyzzy"], id="unknown metric like no other"),
        pytest.param(asks('provider_status{provider="x'), ["at character 26"], id="no closing quote"),
        pytest.param(asks("provider_status{provider}"), ["at character 25"], id="no operator"),
        pytest.param(asks('provider_status{provider="x"'), ["}", "at character 29"], id="no closing brace"),
        pytest.param(asks('provider_status{provider=~"("}'), ["RE2"], id="bad regular expression"),
        pytest.param(asks('provider_status{provider=~"a(?=b)"}'), ["RE2"], id="look-ahead"),
        pytest.param(asks("gateway_up", range={"from": "now", "to": "now-1h"}), ["from is after to"], id="reversed"),
        pytest.param(asks("gateway_up", range={"from": "yesterday"}), ["'yesterday'", "now-6h"], id="no time"),
        pytest.param(asks("gateway_up", range={"from": [], "to": {}}), ["not a time"], id="a time that is a list"),
        pytest.param(asks("gateway_up", range={"from": 1e300}), ["1970 to 9999"], id="a time out of bounds"),
        pytest.param(asks("gateway_up", range={"from": 10**400}), ["not"], id="a time of 400 digits"),
        pytest.param(asks("gateway_up", range="now-1h"), ["range is a text"], id="range not an object"),
        pytest.param(asks("gateway_up", maxDataPoints="many"), ["maxDataPoints"], id="maxDataPoints"),
        pytest.param(asks("gateway_up", intervalMs=[]), ["intervalMs"], id="intervalMs"),
        pytest.param({"targets": [{"target": "gateway_up"}] * 101}, ["101", "100"], id="more than 100 targets"),
    ],
)
def test_a_request_that_is_wrong_is_a_400_that_says_what_would_be_right(
    lasting: Site, body: object, said: list[str]
) -> None:
    assert_says_what_is_right(lasting.post("/query", body), 400, *said)


def test_a_body_over_a_mebibyte_is_refused(site: Site) -> None:
    body = json.dumps(asks("gateway_up")).encode()
    largest = body + b" " * (2**20 - len(body))
    assert site.post("/query", largest).status_code == 200
    error = assert_says_what_is_right(site.post("/query", largest + b" "), 413, "1 MiB")
    assert error["error"]["code"] == "too_large"
    assert_says_what_is_right(site.post("/search", largest + b" "), 413, "1 MiB")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no-such-route", 404),
        ("GET", "/%00", 404),
        ("GET", "/providers/no%2Fbody%0A?format=json", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/search", 405),
        ("DELETE", "/query", 405),
        ("POST", "/health", 405),
        ("PUT", "/", 405),
    ],
)
class TestEveryError:
    def test_is_json_for_who_asks_for_that(self, lasting: Site, method: str, path: str, status: int) -> None:
        for asked in ({"Accept": GRAFANA}, {"Accept": INFINITY}, {"Content-Type": "application/json"}):
            response = lasting.client.open(path, method=method, headers=asked)
            assert_says_what_is_right(response, status)
            if status == 405:
                assert response.headers["Allow"]

    def test_is_one_line_of_text_for_a_terminals_get(self, lasting: Site, method: str, path: str, status: int) -> None:
        json_body = assert_says_what_is_right(
            lasting.client.open(path, method=method, headers={"Accept": GRAFANA}), status
        )
        for asked in ({"Accept": "*/*"}, {"Accept": "text/plain"}, {"Accept": "text/csv; charset=utf-8"}, {}):
            response = lasting.client.open(path, method=method, headers=asked)
            if method == "GET":
                assert (response.status_code, response.mimetype) == (status, "text/plain")
                assert response.text == json_body["message"] + "\n"
                assert "Accept" in response.vary
            else:
                assert_says_what_is_right(response, status)

    def test_is_a_page_for_a_browser(self, lasting: Site, method: str, path: str, status: int) -> None:
        response = lasting.client.open(path, method=method, headers={"Accept": BROWSER})
        if method != "GET":
            assert_says_what_is_right(response, status)
            return
        assert (response.status_code, response.mimetype) == (status, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "All providers" in response.text
        assert "\x00" not in response.text


def test_nothing_in_a_request_reaches_an_error_unescaped(lasting: Site) -> None:
    path = "/query?target=" + quote("<script>alert(1)</script>\x1b[31m\n")
    page = lasting.get(path, Accept=BROWSER)
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert "<script>" not in page.text
    line = lasting.get(path, Accept="*/*").text
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_an_unknown_route_is_told_which_there_are(site: Site) -> None:
    hint = assert_says_what_is_right(site.get("/provider", Accept=GRAFANA), 404)["hint"]
    for route in re.findall(r"/[a-z]*", hint):
        assert site.client.open(route, method="OPTIONS").status_code == 200, route
    assert {"/providers", "/query", "/annotations"} <= set(re.findall(r"/[a-z]+", hint))


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/search", "/search answers OPTIONS, POST"),
        ("POST", "/health", "/health answers GET, HEAD, OPTIONS"),
        ("POST", "/providers/a%0Ab", "/providers/a\\nb answers GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_told_which_would_be_right(lasting: Site, method: str, path: str, said: str) -> None:
    response = lasting.client.open(path, method=method, headers={"Accept": GRAFANA})
    assert_says_what_is_right(response, 405, said)


@pytest.mark.parametrize("path", ["/query?target=providers&", "/annotations?", "/providers?", "/providers/groq?"])
def test_an_unknown_format_is_told_which_there_are(lasting: Site, path: str) -> None:
    assert_says_what_is_right(
        lasting.get(f"{path}format=txt", Accept=INFINITY), 400, "there is no format 'txt'", "json, text, rows, csv"
    )


def test_an_unknown_provider_is_a_404_that_names_the_nearest(site: Site) -> None:
    assert_says_what_is_right(site.get("/providers/opnai", Accept=GRAFANA), 404, "'opnai'", "'openai'")


def test_before_the_first_good_poll_nobody_says_that_a_provider_is_not_there(empty: Site) -> None:
    empty.log.failed(NOW - 5, message="connection refused")
    refusal = empty.get("/providers/openai", Accept=GRAFANA)
    assert_says_what_is_right(refusal, 503, "nothing is known", "connection refused")
    page = empty.get("/providers/openai", Accept="text/html")
    assert page.status_code == 503
    assert "Nothing is known of" in page.text
    assert "here is no provider" not in page.text


class TestOneBadTargetOfSeveral:
    """A status of 400 would empty the whole panel."""

    @pytest.mark.parametrize(
        "bad",
        [
            {"target": "no_such_metric"},
            {"target": 'provider_status{provider=~"("}'},
            {"target": "provider_status{", "type": "timeserie"},
            {"target": 5},
            {"target": "gateway_up", "payload": "{not json"},
        ],
        ids=json.dumps,
    )
    def test_it_is_an_empty_series_with_an_error_notice_and_the_others_have_their_data(
        self, site: Site, bad: dict[str, Any]
    ) -> None:
        [empty, good] = site.query({"refId": "B", **bad}, {"refId": "A", "target": "fleet_requests"}, range=RANGE)
        assert (good["refId"], len(good["datapoints"])) == ("A", 5)
        assert (empty["refId"], empty["datapoints"]) == ("B", [])
        [notice] = empty["meta"]["notices"]
        assert notice["severity"] == "error"
        assert notice["text"]

    def test_as_a_table_it_is_an_empty_table(self, site: Site) -> None:
        [empty, _] = site.query({"target": "no_such_metric", "type": "table"}, "gateway_up")
        assert (empty["type"], empty["columns"], empty["rows"]) == ("table", [], [])
        assert empty["meta"]["notices"][0]["severity"] == "error"

    def test_when_all_are_bad_it_is_a_400(self, site: Site) -> None:
        body = {"targets": [{"target": "no_such_metric"}, {"target": "provider_status{"}]}
        assert_says_what_is_right(site.post("/query", body), 400, "no_such_metric")


class TestBoundedAnswers:
    def test_a_legend_in_the_payload_is_no_longer_than_one_in_the_target(self, site: Site) -> None:
        long = "x" * 100_000
        in_target = site.post("/query", asks(f"provider_status as {long}"))
        assert in_target.status_code == 400
        body = {"targets": [{"target": "provider_status", "payload": {"legend": long}}]}
        in_payload = site.post("/query", body)
        assert in_payload.status_code == 400 or len(in_payload.get_data()) < len(long)

    def test_a_ref_id_is_not_repeated_without_end(self, site: Site) -> None:
        body = {"targets": [{"target": "model_circuit_breaker_state", "refId": "A" * 100_000}]}
        assert_says_what_is_right(site.post("/query", body), 400, "refId", "200 characters")
        assert site.query({"target": "gateway_up", "refId": "A" * 200})[0]["refId"] == "A" * 200

    def test_filters_hold_no_more_regular_expression_than_a_target(self, site: Site) -> None:
        long = "(o|g).*" + "x?" * 100
        filters = [{"key": "provider", "operator": "=~", "value": f"{long}{number}?"} for number in range(11)]
        [series, *_] = site.query("provider_status", adhocFilters=filters[:6], filters=filters[6:])
        [notice] = series["meta"]["notices"]
        assert notice["text"].count("regular expressions are too long") == 2, "11 of 204 and more are over 2,000"

    def test_a_request_that_takes_too_long_is_answered_as_far_as_it_came(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(2):
            clock = chain([0.0, 0.0], repeat(1.9))  # the first target takes nearly all the time there is
            monkeypatch.setattr(time, "thread_time", clock.__next__)
            first, *others = site.query("gateway_up", "fleet_requests", "fleet_cost_usd")
            assert first["datapoints"]
            for other in others:
                assert other["datapoints"] == []
                assert "not answered" in other["meta"]["notices"][0]["text"]

    @pytest.mark.parametrize("route", ["/search", "/variable"])
    def test_no_text_keeps_a_worker_busy(self, site: Site, route: str) -> None:
        endless = "label_values(" + " " * 200_000 + "("
        started = time.thread_time()
        assert site.post(route, {"target": endless, "payload": {"target": endless}}).status_code == 200
        assert time.thread_time() - started < 2.0

    def test_answers_are_kept_without_the_requests_that_led_to_them(self, site: Site) -> None:
        tracemalloc.start()
        try:
            for number in range(20):
                legend, blanks = f"{number} {'x' * 900}", " " * 500_000
                assert site.post("/query", json.dumps(asks(f"gateway_up as {legend}")) + blanks).status_code == 200
            gc.collect()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 2_000_000


HOSTILE = {
    "nested lists": b"[" * 100_000,
    "nested lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "nested targets": b'{"targets":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested range": b'{"targets":[{"target":"gateway_up"}],"range":{"from":"now-1h","to":"now","raw":'
    + b"[" * 1_020
    + b"]" * 1_020
    + b"}}",
    "nested objects": b'{"targets":[{"target":"gateway_up","payload":'
    + b'{"a":' * 50_000
    + b"1"
    + b"}" * 50_000
    + b"}]}",
    "nested payload text": json.dumps(
        {"targets": [{"target": "gateway_up", "payload": "[" * 100_000}, {"target": "gateway_up"}]}
    ).encode(),
    "lone surrogate": b'{"targets":[{"target":"provider_status{provider=\\"\\ud800\\"}"}]}',
    "lone surrogate in a legend": b'{"targets":[{"target":"gateway_up as \\udfff"}]}',
    "lone surrogate in a refId": b'{"targets":[{"target":"gateway_up","refId":"\\ud800"}]}',
    "surrogate bytes": b'{"targets":[{"target":"gateway_up as \xed\xa0\x80"}]}',
    "huge int": b'{"targets":[{"target":"gateway_up"}],"maxDataPoints":' + b"9" * 5_000 + b"}",
    "huge float": b'{"targets":[{"target":"gateway_up"}],"maxDataPoints":1e999}',
    "huge time": b'{"targets":[{"target":"gateway_up"}],"range":{"from":' + b"9" * 5_000 + b"}}",
    "NaN": b'{"targets":[{"target":"gateway_up"}],"maxDataPoints":NaN}',
    "Infinity": b'{"targets":[{"target":"gateway_up"}],"intervalMs":-Infinity}',
    "not UTF-8": b'{"targets":[{"target":"gateway_up as \xff\xfe"}]}',
    "UTF-16": '{"targets":[{"target":"gateway_up"}]}'.encode("utf-16"),
    "NUL": b'{"targets":[{"target":"gateway_up\\u0000"}]}',
    "bare NUL": b"\0",
    "blank": b" \n\t",
    "line separators": '{"targets":[{"target":"gateway_up as \u2028\u202e"}]}'.encode(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("route", ROUTES)
def test_a_hostile_body_never_makes_a_500(lasting: Site, route: str, body: bytes) -> None:
    response = lasting.post(route, body, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400)
    assert_is_strict_json(response)


def test_a_byte_order_mark_is_read_over(site: Site) -> None:
    assert site.post("/query", b"\xef\xbb\xbf" + json.dumps(asks("gateway_up")).encode()).status_code == 200


def test_of_a_key_that_stands_there_twice_the_last_one_counts(site: Site) -> None:
    response = site.post("/query", b'{"targets":[{"target":"gateway_up","target":"fleet_requests"}]}')
    assert response.get_json()[0]["target"] == "fleet_requests"


def test_a_body_counts_as_json_whatever_its_content_type_says(site: Site) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        body = json.dumps(asks("gateway_up"))
        response = site.post("/query", body, headers={"Content-Type": content_type})
        assert response.status_code == 200, content_type


def assert_is_strict_json(response: TestResponse) -> None:
    """JSON as browsers take it: without NaN, and UTF-8."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in an answer")

    json.loads(response.get_data().decode("utf-8"), parse_constant=refuse)


# Everything JSON can carry; texts lean towards what means something to the bridge.

KEYS = (
    "target",
    "range",
    "from",
    "to",
    "type",
    "refId",
    "hide",
    "payload",
    "legend",
    "key",
    "operator",
    "value",
    "query",
)
VALUES = ("now", "now-1h", "now/d", "table", "=~", "=|", "provider", "model", "{{provider}}", "a(", "[", "\ud800", "\0")
METRICS = (
    "providers",
    "explain",
    "circuits",
    "transitions",
    "provider_status",
    "model_error_rate",
    "fleet_providers",
    "annotations",
)
WORDS = st.sampled_from([*KEYS, *VALUES, *METRICS])
TEXTS = st.one_of(WORDS, st.text(st.characters(exclude_categories=[])))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
FILTERS = st.lists(
    st.one_of(JSON, st.fixed_dictionaries({"key": TEXTS}, optional={"operator": TEXTS, "value": JSON, "values": JSON})),
    max_size=3,
)
CHOICES = st.dictionaries(st.sampled_from(["provider", "model", "status", "kind", "legend", "query", "target"]), JSON)
PAYLOADS = st.one_of(JSON, CHOICES, CHOICES.map(json.dumps))
REQUESTS = st.fixed_dictionaries(
    {
        "targets": st.lists(
            st.one_of(
                JSON,
                st.fixed_dictionaries(
                    {"target": TEXTS}, optional={"refId": JSON, "type": JSON, "hide": JSON, "payload": PAYLOADS}
                ),
            ),
            max_size=4,
        )
    },
    optional={
        "range": st.one_of(JSON, st.fixed_dictionaries({"from": JSON, "to": JSON})),
        "maxDataPoints": JSON,
        "intervalMs": JSON,
        "scopedVars": st.one_of(JSON, st.just({"__annotation": {}})),
        "metric": st.sampled_from([*METRICS, ""]),
        "name": st.sampled_from(["provider", "model", "status", "state", "kind", "x"]),
        "payload": PAYLOADS,
        "adhocFilters": FILTERS,
        "filters": FILTERS,
    },
)
SELECTORS = st.builds(
    "{}{{{}{}{!r}}}{}".format,
    st.sampled_from(["provider_health_score", "model_circuit_breaker_state", "providers", "explain", "transitions"]),
    st.sampled_from(["provider", "model", "status", "x"]),
    st.sampled_from(["=", "!=", "=~", "!~", "<"]),
    TEXTS,
    st.one_of(st.just(""), st.builds(" as {}".format, TEXTS)),
)


def dumped(body: object) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")


class TestNothingMakesA500:
    @settings(deadline=None)
    @given(body=st.one_of(JSON, REQUESTS), route=st.sampled_from(ROUTES))
    def test_no_json(self, lasting: Site, body: object, route: str) -> None:
        response = lasting.post(route, dumped(body))
        assert response.status_code in (200, 400)
        assert_is_strict_json(response)

    @settings(deadline=None)
    @given(target=st.one_of(TEXTS, SELECTORS), table=st.booleans(), ranged=st.booleans())
    def test_no_target(self, lasting: Site, target: str, table: bool, ranged: bool) -> None:
        one = {"target": target, "type": "table" if table else "timeserie"}
        body = {"targets": [one, {"target": "gateway_up"}], **({"range": RANGE} if ranged else {})}
        response = lasting.post("/query", json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
        assert response.status_code == 200, "one bad target of two is not an error of the request"
        assert_is_strict_json(response)

    @settings(deadline=None)
    @given(
        arguments=st.lists(
            st.one_of(
                st.tuples(st.just("target"), st.one_of(TEXTS, SELECTORS)),
                st.tuples(st.sampled_from(["query", "from", "to", "format", "type", "maxDataPoints", "x"]), TEXTS),
            ),
            max_size=5,
        ),
        wanted=st.sampled_from(["json", "text", "rows", "csv"]),
        route=st.sampled_from(["/query", "/annotations"]),
    )
    def test_no_url(self, lasting: Site, arguments: list[tuple[str, str]], wanted: str, route: str) -> None:
        safe = [(name, value.encode("utf-8", "replace").decode()) for name, value in arguments]
        response = lasting.client.get(route, query_string=[*safe, ("format", wanted)])
        assert response.status_code in (200, 400)

    @settings(deadline=None)
    @given(body=st.binary())
    def test_no_bytes(self, lasting: Site, body: bytes) -> None:
        response = lasting.post("/query", body)
        assert response.status_code in (200, 400)
        assert_is_strict_json(response)

    @settings(deadline=None)
    @given(name=TEXTS)
    def test_no_provider(self, lasting: Site, name: str) -> None:
        response = lasting.get("/providers/" + quote(name.encode("utf-8", "replace"), safe=""), Accept=GRAFANA)
        assert response.status_code in (200, 404)
        assert_is_strict_json(response)
