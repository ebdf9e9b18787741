"""Answers are gzipped for those who take them so, on every face, and say the same."""

from __future__ import annotations

import gzip
import json
import tracemalloc

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


def test_an_encodings_name_may_be_written_in_any_case(large: Site) -> None:
    for said in ("GZIP", "Deflate, GZip;q=0.5"):
        for path in ("/query?target=provider_health_score", "/providers"):
            assert large.get(path, **{"Accept-Encoding": said}).headers["Content-Encoding"] == "gzip"


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


class TestBodies:
    """Requests may come gzipped too, within the budget of any other."""

    @pytest.mark.parametrize("encoding", ["gzip", "GZip", "x-gzip", " gzip "])
    def test_a_gzipped_body_is_read(self, site: Site, encoding: str) -> None:
        for _ in range(2):
            body = gzip.compress(json.dumps(LATEST).encode())
            response = site.post("/query", body, headers={"Content-Encoding": encoding})
            assert response.get_json() == site.query("provider_health_score")

    @pytest.mark.parametrize("encoding", ["", "identity"])
    def test_one_that_says_that_it_is_plain_is_plain(self, site: Site, encoding: str) -> None:
        response = site.post("/query", json.dumps(LATEST), headers={"Content-Encoding": encoding})
        assert len(response.get_json()) == 3

    @pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x" * 500, "\x7f"])
    @pytest.mark.parametrize("route", ["/query", "/search", "/annotations"])
    def test_another_encoding_is_refused_and_told_what_is_read(self, site: Site, encoding: str, route: str) -> None:
        response = site.post(route, json.dumps(LATEST), headers={"Content-Encoding": encoding})
        assert response.status_code == 415
        assert response.headers["Accept-Encoding"] == "gzip"
        assert response.get_json()["error"]["code"] == "unsupported_encoding"
        assert "gzip" in response.get_json()["message"]
        assert response.get_json()["message"].isprintable()

    @pytest.mark.parametrize(
        "body",
        [
            json.dumps(LATEST).encode(),
            gzip.compress(json.dumps(LATEST).encode())[:-1],
            gzip.compress(b"{}") + b"more",
            gzip.compress(b"{}") * 2,
            b"\x1f\x8b" + b"\0" * 50,
        ],
        ids=["plain", "cut off", "goes on", "twice", "noise"],
    )
    def test_what_is_no_gzip_is_a_400(self, site: Site, body: bytes) -> None:
        response = site.post("/query", body, headers={"Content-Encoding": "gzip"})
        assert response.status_code == 400
        assert "not gzip" in response.get_json()["message"]

    def test_no_body_is_none_whatever_its_encoding(self, site: Site) -> None:
        response = site.post("/search", b"", headers={"Content-Encoding": "gzip"})
        assert response.get_json() == site.post("/search", {}).get_json()

    def test_a_bomb_is_a_413_and_is_not_unpacked(self, site: Site) -> None:
        largest = json.dumps(LATEST).encode().ljust(2**20)
        assert site.post("/query", gzip.compress(largest), headers={"Content-Encoding": "gzip"}).status_code == 200
        bombs = [gzip.compress(largest + b" "), gzip.compress(b" " * 2**27)]
        tracemalloc.start()
        for bomb in bombs:
            response = site.post("/query", bomb, headers={"Content-Encoding": "gzip"})
            assert response.status_code == 413
            assert "1 MiB" in response.get_json()["message"]
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        tracemalloc.stop()

    def test_the_bytes_of_a_gzipped_body_are_no_body_without_its_header(self, site: Site) -> None:
        body = gzip.compress(json.dumps(LATEST).encode(), mtime=0)
        assert site.post("/query", body, headers={"Content-Encoding": "gzip"}).status_code == 200
        assert site.post("/query", body).status_code == 400

    def test_the_filters_picker_never_hangs_on_one(self, site: Site) -> None:
        for route in ("/tag-keys", "/tag-values"):
            assert site.post(route, b"noise", headers={"Content-Encoding": "br"}).status_code == 200
