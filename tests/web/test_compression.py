"""Answers are gzipped for those who take them so, on every face, and say the same."""

from __future__ import annotations

import gzip

import pytest
from werkzeug.test import TestResponse

from tests.history.snapshots import T0, snapshot, verdict
from tests.web.conftest import Site

PROVIDERS = 60
RANGE = {"range": {"from": (T0 - 60) * 1000, "to": (T0 + 60) * 1000}}
LATEST = {"targets": [{"target": "provider_health_score"}]}


@pytest.fixture
def large(empty: Site) -> Site:
    """A bridge whose answers are long."""
    for number in range(5):
        names = (f"provider-{place:03d}" for place in range(PROVIDERS))
        empty.log.good(snapshot(T0 + 15.0 * number, [verdict(name, health_score=90.0 + number) for name in names]))
    return empty


def plain(response: TestResponse) -> bytes:
    """The body, and a check that it says how it is encoded."""
    assert response.status_code == 200
    assert "Accept-Encoding" in response.vary or response.request.method == "POST"
    body = response.get_data()
    assert response.content_length == len(body)
    return gzip.decompress(body) if response.headers.get("Content-Encoding") == "gzip" else body


def both(site: Site, method: str, path: str, **more: object) -> tuple[TestResponse, TestResponse]:
    """The answers without and with gzip."""
    plainly = site.client.open(path, method=method, **more)  # type: ignore[arg-type]
    zipped = site.client.open(path, method=method, headers={"Accept-Encoding": "gzip, deflate, br"}, **more)  # type: ignore[arg-type]
    return plainly, zipped


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/query", LATEST),
        ("POST", "/query", {**LATEST, **RANGE}),
        ("POST", "/query", {"targets": [{"target": "providers", "type": "table"}]}),
        ("GET", "/query?target=provider_health_score", None),
        ("GET", "/query?target=providers&format=text", None),
        ("GET", "/providers", None),
        ("GET", "/metrics", None),
        ("GET", "/", None),
    ],
)
def test_every_long_answer_is_gzipped_for_who_takes_it_so(large: Site, method: str, path: str, body: object) -> None:
    for _ in range(2):  # computed, and from the cache
        plainly, zipped = both(large, method, path, json=body)
        if path != "/metrics":  # which counts its own scrapes
            assert plain(zipped) == plain(plainly)
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plainly.headers
        assert len(zipped.get_data()) < len(plainly.get_data()) / 2


@pytest.mark.parametrize("said", ["", "identity", "br", "gzip;q=0", "deflate, gzip;q=0.0", "xgzip"])
def test_nobody_gets_what_they_cannot_read(large: Site, said: str) -> None:
    for _ in range(2):
        gzipped = large.post("/query", LATEST, headers={"Accept-Encoding": "gzip"})
        assert gzipped.headers["Content-Encoding"] == "gzip"
        response = large.post("/query", LATEST, headers={"Accept-Encoding": said})
        assert "Content-Encoding" not in response.headers
        assert len(response.get_json()) == PROVIDERS


def test_short_answers_stay_as_they_are(site: Site) -> None:
    response = site.post("/query", LATEST, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in response.headers
    assert response.get_json()


def test_errors_are_read_by_everyone(site: Site) -> None:
    response = site.post("/query", {"targets": [{"target": "no_such"}]}, headers={"Accept-Encoding": "gzip"})
    assert response.status_code == 400
    assert "no_such" in response.get_json()["message"]
