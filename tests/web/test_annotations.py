"""POST /annotations as Grafana's Simple JSON datasource sends and takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.application import create_app
from bridge.health.incidents import Watch
from bridge.history import incidents
from bridge.model import Event, Poll
from bridge.settings import Settings
from tests.history.snapshots import incident
from tests.one_poller import reads

NOON = 1_795_262_400.0  # 2026-11-21 12:00:00 UTC
KEYS = ["annotation", "id", "time", "timeEnd", "isRegion", "title", "text", "tags", "newState"]
EVIL = "<img src=x onerror=alert(1)>"
ANNOTATION = {
    "name": "Breakers",
    "datasource": {"type": "grafana-simple-json-datasource", "uid": "bridge"},
    "enable": True,
    "iconColor": "rgba(255, 96, 96, 1)",
    "query": "all",
}
RANGE = {
    "from": "2026-11-21T11:00:00.000Z",
    "to": "2026-11-21T12:00:00.000Z",
    "raw": {"from": "now-1h", "to": "now"},
}
EVENTS = (
    Event(NOON - 90_000, "roster", "mistral", "", "absent", "present", "first seen in this poll"),
    Event(NOON - 9000, "circuit", "groq", "llama", "", "OPEN", "reported by the gateway"),
    Event(NOON - 5000, "roster", "openai", "", "absent", "present", "first seen in this poll"),
    Event(NOON - 1200, "status", "openai", "", "healthy", "down", "every circuit is OPEN"),
    Event(NOON - 600, "circuit", EVIL, "a&b\n", "CLOSED", "OPEN", f'said "{EVIL}"'),
    Event(NOON - 300.4567, "circuit", EVIL, "a&b\n", "OPEN", "CLOSED", "reported by the gateway"),
    Event(NOON - 30, "gateway", "", "", "up", "down", "no answer within 10 s"),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    yield from clients(tmp_path_factory.mktemp("history"), EVENTS)


def clients(data_dir: Path, events: tuple[Event, ...]) -> Iterator[FlaskClient]:
    app = create_app(Settings(gateway_url="http://gateway.invalid", data_dir=data_dir), clock=reads(lambda: NOON))
    store = app.extensions["bridge"].store
    poll = Poll(NOON - 15, 15.0, "timeout", "no answer within 10 s", 10.0)
    store.append(poll, failing_since=NOON - 30, events=events)
    with store.database.transaction() as connection:
        incidents.write(connection, poll, Watch(told=(incident(EVIL, NOON - 700, 300, cause=f'said "{EVIL}"'),)))
    yield app.test_client()
    store.close()


def ask(client: FlaskClient, body: Any, path: str = "/annotations") -> list[dict[str, Any]]:
    response = client.post(path, data=orjson.dumps(body))
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    found = orjson.loads(response.data)
    assert isinstance(found, list)
    return found


def test_every_event_carries_the_same_keys_and_the_types_grafana_takes(client: FlaskClient) -> None:
    found = ask(client, {"range": RANGE, "annotation": ANNOTATION})
    assert [event["tags"][0] for event in found] == ["circuit", "status", "incident", "circuit", "gateway"]
    for event in found:
        assert list(event) == KEYS
        assert type(event["time"]) is type(event["timeEnd"]) is int
        assert event["isRegion"] is (event["time"] != event["timeEnd"])
        assert event["newState"] in ("alerting", "ok", "pending", "no_data")
        assert all(isinstance(tag, str) and tag for tag in event["tags"])
    assert len({event["id"] for event in found}) == len(found)


def test_times_are_epoch_milliseconds_and_a_point_ends_when_it_begins(client: FlaskClient) -> None:
    groq, status, whole, evil, gateway = ask(client, {"range": RANGE, "annotation": ANNOTATION})
    assert (groq["time"], groq["timeEnd"]) == (1_795_258_809_000, 1_795_262_400_000)
    assert "since 09:30 UTC" in groq["text"]
    assert status["time"] == status["timeEnd"] == 1_795_261_200_000
    assert (whole["time"], whole["timeEnd"]) == (1_795_261_700_000, 1_795_262_000_000)
    assert (evil["time"], evil["timeEnd"]) == (1_795_261_800_000, 1_795_262_099_543)
    assert (gateway["time"], gateway["timeEnd"]) == (1_795_262_370_000, 1_795_262_400_000)


def test_what_the_gateway_called_things_is_escaped_everywhere(client: FlaskClient) -> None:
    [circuit] = ask(client, {"range": RANGE, "annotation": {"query": 'circuit{model=~"a.b.*"}'}})
    assert "a&amp;b" in circuit["title"]
    [whole] = ask(client, {"range": RANGE, "annotation": {"query": "incident"}})
    for event in (circuit, whole):
        assert "&lt;img src=x onerror=alert(1)&gt;" in event["title"]
        assert "said &quot;&lt;img" in event["text"]
        assert "<" not in "".join([event["title"], event["text"], *event["tags"]])


def test_the_annotation_comes_back_as_it_was_sent(client: FlaskClient) -> None:
    assert all(event["annotation"] == ANNOTATION for event in ask(client, {"range": RANGE, "annotation": ANNOTATION}))


def test_a_large_annotation_comes_back_as_its_name(client: FlaskClient) -> None:
    found = ask(client, {"range": RANGE, "annotation": ANNOTATION | {"extra": "x" * 100_000}})
    assert {orjson.dumps(event["annotation"]) for event in found} == {b'{"name":"Breakers"}'}


@pytest.mark.parametrize(
    "annotation", [None, "Breakers", {}, {"name": "Breakers"}, {"query": None}, {"query": ""}, {"query": " "}]
)
def test_without_a_query_incidents_and_outages_of_the_gateway_are_drawn(client: FlaskClient, annotation: Any) -> None:
    found = ask(client, {"range": RANGE, "annotation": annotation})
    assert [event["tags"][0] for event in found] == ["incident", "gateway"]
    assert found[0]["annotation"] == annotation


def test_without_a_range_it_is_the_last_day(client: FlaskClient) -> None:
    for body in (b"", b"{}", b'{"range": null}', b'{"range": {}}'):
        response = client.post("/annotations", data=body)
        kinds = [event["tags"][0] for event in orjson.loads(response.data)]
        assert kinds == ["incident", "gateway"]
    kinds = [event["tags"][0] for event in ask(client, {"annotation": ANNOTATION})]
    assert kinds == ["circuit", "roster", "status", "incident", "circuit", "gateway"]


def test_relative_times_and_milliseconds_are_ranges_too(client: FlaskClient) -> None:
    def ids(span: Any) -> list[str]:
        return [event["id"] for event in ask(client, {"range": span})]

    assert ids({"from": "now-1h", "to": "now"}) == ids(RANGE) != []
    assert ids({"from": (NOON - 3600) * 1000, "to": str(int(NOON * 1000))}) == ids(RANGE)


def test_nothing_is_an_empty_array(client: FlaskClient) -> None:
    body = {"range": {"from": "2020-01-01", "to": "2020-01-02"}, "annotation": ANNOTATION}
    assert client.post("/annotations", data=orjson.dumps(body)).data == b"[]"


def test_a_glob_variable_works_in_the_query(client: FlaskClient) -> None:
    found = ask(client, {"range": RANGE, "annotation": {"query": 'circuit{provider=~"{groq,openai}"},status'}})
    assert [event["tags"][:2] for event in found] == [["circuit", "groq"], ["status", "openai"]]


def test_it_is_there_under_api_too(client: FlaskClient) -> None:
    assert ask(client, {"range": RANGE}, "/api/annotations") == ask(client, {"range": RANGE})


def test_ids_are_the_same_in_every_request(client: FlaskClient) -> None:
    hour = ask(client, {"range": RANGE, "annotation": ANNOTATION})
    day = {event["id"] for event in ask(client, {"annotation": ANNOTATION})}
    assert {event["id"] for event in hour} <= day


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "the body is not JSON"),
        (b"[]", "a list and no object"),
        (b'{"range": 5}', "range is a number, not an object"),
        (b'{"range": {"from": "yesterday"}}', "'yesterday' is not a time"),
        (b'{"range": {"from": "now", "to": "now-1h"}}', "from is after to"),
        (b'{"annotation": []}', "annotation is a list, not an object"),
        (b'{"annotation": 7}', "annotation is a number, not an object"),
        (b'{"annotation": {"query": ["circuit"]}}', "the annotation's query is a list, not a text"),
        (b'{"annotation": {"query": "circut"}}', "did you mean 'circuit'?"),
        (b'{"annotation": {"query": "circuit{provider=~\\"(\\"}"}}', "not a regular expression"),
    ],
)
def test_a_request_that_is_wrong_is_a_400_that_says_what_would_be_right(
    client: FlaskClient, body: bytes, says: str
) -> None:
    response = client.post("/annotations", data=body)
    assert response.status_code == 400
    answer = orjson.loads(response.data)
    assert says in answer["message"]
    assert answer["hint"]


def test_json_nested_as_deep_as_it_can_be_read_is_answered(client: FlaskClient) -> None:
    for depth in (250, 254, 600, 1000):
        deep = b'{"annotation": {"name": "deep", "x": ' + b"[" * depth + b"]" * depth + b"}}"
        response = client.post("/annotations", data=deep)
        assert response.status_code == 200
        assert orjson.loads(response.data)[0]["annotation"]["name"] == "deep"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "range": JSON | st.fixed_dictionaries({}, optional={"from": JSON, "to": JSON}),
        "annotation": JSON | st.fixed_dictionaries({}, optional={"query": JSON, "name": JSON}),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | BODIES)
def test_no_json_makes_it_fail(client: FlaskClient, body: Any) -> None:
    response = client.post("/annotations", data=json.dumps(body).encode())
    assert response.status_code in (200, 400)
    orjson.loads(response.data)


def test_a_name_of_any_length_stays_short(tmp_path: Path) -> None:
    event = Event(NOON - 60, "status", "p" * 16_000, "", "healthy", "down", "r" * 16_000)
    for client in clients(tmp_path, (event,)):
        [found] = ask(client, {"range": RANGE, "annotation": {"query": "status"}})
        assert len(orjson.dumps(found)) < 5_000
