"""Ready answers are given as all others are: to whom they are due, counted, logged, and only while they hold."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.history.snapshots import T0, snapshot, verdict
from tests.web.conftest import NOW, Site, tell_the_incident

BODY = json.dumps({"targets": [{"target": "provider_health_score"}]})
OURS = {"Authorization": "Bearer hush"}


def test_who_has_no_credential_gets_no_ready_answer(sites: Callable[..., Site]) -> None:
    site = sites(bridge_token="hush")
    tell_the_incident(site.log)
    first = site.post("/query", BODY, headers=OURS)
    assert first.status_code == 200
    assert site.post("/query", BODY, headers=OURS).get_data() == first.get_data()
    for headers in ({}, {"Authorization": "Bearer hus"}, {"Authorization": "Basic aHVzaA=="}):
        assert site.post("/query", BODY, headers=headers).status_code == 403


def test_a_page_of_another_origin_may_read_it(sites: Callable[..., Site]) -> None:
    site = sites(cors_origins=("https://grafana.example.com",))
    tell_the_incident(site.log)
    for _ in range(3):
        response = site.post("/query", BODY, headers={"Origin": "https://grafana.example.com"})
        assert response.headers["Access-Control-Allow-Origin"] == "https://grafana.example.com"
        assert site.post("/query", BODY).status_code == 200


@pytest.mark.parametrize("path", ["/query", "/api/query"])
def test_it_carries_what_every_answer_carries(site: Site, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    usual, ready = (site.post(path, BODY, headers={"X-Request-ID": "mine"}) for _ in range(2))
    assert dict(ready.headers) == dict(usual.headers)
    assert ready.headers["X-Request-ID"] == "mine"
    assert ready.headers["Cache-Control"] == "no-store"
    metrics = site.get("/metrics").get_data(as_text=True)
    assert f'bridge_http_requests_total{{method="POST",route="{path}",status="200"}} 2.0' in metrics
    assert "bridge_answer_cache_hits_total 1.0" in metrics
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    lines = [(line["endpoint"], line["request_id"], line["status_code"]) for line in told if line["method"] == "POST"]
    assert lines == [(path, "mine", 200)] * 2


def test_a_new_poll_makes_a_new_answer(site: Site) -> None:
    before = [site.post("/query", BODY).get_json() for _ in range(2)]
    site.log.good(snapshot(T0 + 75, [verdict("openai", health_score=12.0)]))
    site.now = NOW + 15
    assert before[0] == before[1]
    [after] = site.post("/query", BODY).get_json()
    assert after["datapoints"] == [[12.0, (T0 + 75) * 1000]]


def test_a_body_that_breaks_off_is_a_clear_error(site: Site) -> None:
    site.post("/query", BODY)
    response = site.client.post("/query", data=BODY[:-5], headers={"Content-Length": str(len(BODY))})
    assert response.status_code == 400
    assert response.get_json()["hint"]
