"""Who may ask: credentials, browsers of other origins, and secrets that stay where they are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest

from tests.web.conftest import NOW, Site

TOKEN, USER_AND_PASSWORD = "t0p-secret-token", "grafana:pässwörd-of-grafana"
BEARER = f"Bearer {TOKEN}"
BASIC = "Basic " + b64encode(USER_AND_PASSWORD.encode()).decode()
PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
GRAFANA = "https://grafana.example.com"
ASKED = (
    ("GET", "/"),
    ("GET", "/query?target=providers"),
    ("POST", "/query"),
    ("POST", "/search"),
    ("POST", "/tag-keys"),
    ("POST", "/api/tag-values"),
    ("POST", "/metrics"),
    ("POST", "/metric-payload-options"),
    ("POST", "/api/variable"),
    ("POST", "/annotations"),
    ("GET", "/annotations?format=csv"),
    ("GET", "/providers"),
    ("GET", "/providers/openai"),
    ("GET", "/ready"),
    ("GET", "/api"),
    ("GET", "/no-such-route"),
    ("GET", "/healthy"),
    ("GET", "/health/../providers"),
    ("OPTIONS", "/query"),
)


def authorised(site: Site, credential: str) -> int:
    return site.get("/providers", Authorization=credential).status_code


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic wrong"}])
def test_without_its_credential_every_route_but_health_refuses(
    sites: Callable[..., Site], method: str, path: str, given: dict[str, str]
) -> None:
    site = sites(bridge_token=TOKEN)
    response = site.client.open(path, method=method, headers={"Accept": "application/json, text/plain, */*", **given})
    assert b"openai" not in response.get_data()
    said = (response.status_code, response.get_json()["error"]["code"], response.headers.get("WWW-Authenticate"))
    if method == "GET":
        assert said == (401, "unauthorized", 'Bearer realm="Provider Health Bridge"')
    else:
        assert said == (403, "forbidden", None), "a 401 through Grafana's proxy can log its viewers out"


@pytest.mark.parametrize("path", ["/", "/api", "/api/"])
@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_grafanas_connection_test_is_refused_without_a_challenge(
    sites: Callable[..., Site], path: str, content_type: str
) -> None:
    site = sites(bridge_token=TOKEN, bridge_basic_auth=USER_AND_PASSWORD)
    for given in ({}, {"Authorization": "Bearer wrong"}):
        response = site.get(path, **{"Content-Type": content_type, **given})
        assert response.status_code == 403
        assert "WWW-Authenticate" not in response.headers
    assert site.get("/providers", **{"Content-Type": content_type}).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/health/", "/api/health"])
def test_health_is_open(sites: Callable[..., Site], path: str) -> None:
    site = sites(bridge_token=TOKEN, bridge_basic_auth=USER_AND_PASSWORD)
    assert site.get(path).status_code == 200
    assert site.get(path, Authorization="Bearer wrong").status_code == 200


@pytest.mark.parametrize(
    ("settings", "right", "wrong"),
    [
        ({"bridge_token": TOKEN}, [BEARER], [BASIC]),
        ({"bridge_basic_auth": USER_AND_PASSWORD}, [BASIC], [BEARER]),
        ({"bridge_token": TOKEN, "bridge_basic_auth": USER_AND_PASSWORD}, [BEARER, BASIC], []),
    ],
    ids=["token", "basic", "both"],
)
def test_what_is_set_is_accepted_and_nothing_else(
    sites: Callable[..., Site], settings: dict[str, str], right: list[str], wrong: list[str]
) -> None:
    site = sites(**settings)
    nonsense = [
        "",
        "Bearer ",
        "Bearer",
        TOKEN,
        BEARER + "x",
        BEARER[:-1],
        "Basic !!!",
        "Basic",
        "Bearer \xff",
        "x" * 5000,
    ]
    assert [authorised(site, credential) for credential in right] == [200] * len(right)
    assert {authorised(site, credential) for credential in [*wrong, *nonsense]} == {401}


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title, lambda scheme: f"{scheme} "])
def test_a_schemes_name_may_be_written_in_any_case_and_a_credential_may_not(
    sites: Callable[..., Site], spelling: Callable[[str], str]
) -> None:
    site = sites(bridge_token=TOKEN, bridge_basic_auth=USER_AND_PASSWORD)
    for credential in (BEARER, BASIC):
        scheme, _, secret = credential.partition(" ")
        assert authorised(site, f"{spelling(scheme)} {secret}") == 200
        assert authorised(site, f"{scheme} {secret.swapcase()}") == 401
        assert authorised(site, f"{scheme} {secret} x") == 401


def test_without_a_credential_set_anyone_may_ask(site: Site) -> None:
    assert authorised(site, "Bearer whatever") == 200


def test_a_browser_that_asks_for_the_page_is_let_sign_in(sites: Callable[..., Site]) -> None:
    site = sites(bridge_basic_auth=USER_AND_PASSWORD)
    for headers in ({}, {"Authorization": "Basic wrong"}):
        response = site.get("/", Accept=PAGE, **headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert site.get("/", Accept=PAGE, Authorization=BASIC).status_code == 200
    assert site.post("/query", {}, headers={"Accept": PAGE}).status_code == 403


def test_a_browser_is_not_asked_for_a_password_where_only_a_token_is_set(sites: Callable[..., Site]) -> None:
    response = sites(bridge_token=TOKEN).get("/", Accept=PAGE)
    assert response.status_code == 401
    assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="Provider Health Bridge"']


def test_where_both_are_set_either_is_offered(sites: Callable[..., Site]) -> None:
    response = sites(bridge_token=TOKEN, bridge_basic_auth=USER_AND_PASSWORD).get("/query?target=providers")
    assert [one.split()[0] for one in response.headers.getlist("WWW-Authenticate")] == ["Bearer", "Basic"]


def test_the_credential_is_asked_for_before_the_body_is_read(sites: Callable[..., Site]) -> None:
    site = sites(bridge_token=TOKEN)
    assert site.post("/query", b"x" * 2**21).status_code == 403
    assert site.post("/query", b"not json").status_code == 403


class TestOtherOrigins:
    def test_none_may_call_unless_told(self, site: Site) -> None:
        for response in (site.get("/", Origin=GRAFANA), site.client.options("/query", headers={"Origin": GRAFANA})):
            assert not [name for name, _ in response.headers if name.startswith("Access-Control")]

    def test_one_that_was_told_may_call_and_no_other(self, sites: Callable[..., Site]) -> None:
        site = sites(cors_origins=(GRAFANA, "http://localhost:3000"))
        allowed = site.get("/", Origin=GRAFANA).headers
        assert allowed["Access-Control-Allow-Origin"] == GRAFANA
        assert "Origin" in allowed["Vary"]
        assert "Access-Control-Allow-Origin" not in site.get("/", Origin=GRAFANA + ".evil.example").headers
        assert "Access-Control-Allow-Origin" not in site.get("/", Origin="null").headers

    def test_a_star_lets_everyone_without_echoing_them(self, sites: Callable[..., Site]) -> None:
        site = sites(cors_origins=("*",))
        assert site.get("/", Origin="https://anyone.example").headers["Access-Control-Allow-Origin"] == "*"

    def test_a_preflight_is_answered_without_a_credential(self, sites: Callable[..., Site]) -> None:
        site = sites(cors_origins=(GRAFANA,), bridge_token=TOKEN)
        asked = {
            "Origin": GRAFANA,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        response = site.client.options("/query", headers=asked)
        assert response.status_code in (200, 204)
        assert response.headers["Access-Control-Allow-Origin"] == GRAFANA
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        for header in ("authorization", "content-type"):
            assert header in response.headers["Access-Control-Allow-Headers"].lower()
        assert site.post("/query", {}, headers={"Origin": GRAFANA}).status_code == 403

    def test_a_refusal_can_be_read_by_the_page_that_asked(self, sites: Callable[..., Site]) -> None:
        site = sites(cors_origins=(GRAFANA,), bridge_token=TOKEN)
        assert site.get("/", Origin=GRAFANA).headers["Access-Control-Allow-Origin"] == GRAFANA


class TestEveryAnswer:
    def test_is_not_to_be_stored_or_guessed_at(self, site: Site) -> None:
        for path in ("/", "/health", "/query?target=providers&format=text", "/no-such-route", "/query"):
            headers = site.get(path).headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"

    def test_holds_no_secret(self, sites: Callable[..., Site], capfd: pytest.CaptureFixture[str]) -> None:
        secrets = {"gateway_token": "gateway-s3cret", "bridge_token": TOKEN, "bridge_basic_auth": USER_AND_PASSWORD}
        site = sites(**secrets)
        site.log.failed(NOW - 1, message="the gateway refuses the token")
        told = []
        for method, path in (*ASKED, ("GET", "/health")):
            for headers in ({"Authorization": BEARER}, {"Authorization": BASIC}, {"Authorization": "Bearer x"}, {}):
                response = site.client.open(path, method=method, headers={"Accept": PAGE, **headers})
                told.append(response.get_data(as_text=True) + str(response.headers))
        said = "\n".join([*told, *capfd.readouterr()])
        for secret in ("gateway-s3cret", TOKEN, "pässwörd", "p\\u00e4ssw", BASIC.split()[1]):
            assert secret not in said
