"""``/openapi.json``: every route, and nothing else; and what is answered is as it says, whatever is asked."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from flask import Flask, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bridge.queries.catalog import METRICS, TABLES
from bridge.web import openapi
from tests.web.conftest import Site

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ACCEPTED = ("*/*", "application/json, text/plain, */*", "text/html,application/xhtml+xml,*/*;q=0.8", "text/csv")
EXAMPLES = 12
ROUTES = [(one.method, one.path) for one in openapi.OPERATIONS]


def routes(site: Site) -> set[tuple[str, str]]:
    """Each method of each rule of the application, as OpenAPI writes them."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in site.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_it_has_every_route_of_the_service_and_no_other(lasting: Site) -> None:
    described = lasting.get("/openapi.json").get_json()["paths"]
    assert {(method.upper(), path) for path, its in described.items() for method in its} == routes(lasting)
    assert len(ROUTES) == len(set(ROUTES))


def test_what_a_path_names_is_among_its_parameters(lasting: Site) -> None:
    for path, its in lasting.get("/openapi.json").get_json()["paths"].items():
        for operation in its.values():
            in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path)), path


def test_help_names_every_route_metric_and_table_and_the_way_to_the_document(lasting: Site) -> None:
    response = lasting.get("/help")
    assert response.mimetype == "text/plain"
    words = response.text.split()
    for _, path in ROUTES:
        assert path in words
    for name in (*METRICS, *TABLES, "/openapi.json"):
        assert name in words, name


@pytest.fixture(scope="module")
def schema(lasting: Site) -> Any:
    return schemathesis.openapi.from_wsgi("/openapi.json", lasting.app)


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_what_is_answered_is_as_it_says(schema: Any, method: str, path: str, mode: GenerationMode) -> None:
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        return

    @settings(deadline=None, derandomize=True, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(mode), accepted=st.sampled_from(ACCEPTED))
    def conforms(case: Case, accepted: str) -> None:
        response = case.call(headers={"Accept": accepted, "Accept-Encoding": "identity"})
        if response.status_code in (404, 405) and mode is GenerationMode.NEGATIVE and operation.path_parameters:
            return  # what was put into the path made another route of it
        case.validate_response(response, checks=CHECKS)

    conforms()


@pytest.mark.parametrize(
    "wrong",
    [
        Response('{"status": "ok"}', 500, mimetype="application/json"),
        Response('{"status": "dead"}', mimetype="application/json"),
        Response("ok", mimetype="text/plain"),
    ],
    ids=["a status", "a body", "a content type"],
)
def test_a_server_that_answers_otherwise_is_found_out(wrong: Response) -> None:
    app = Flask("wrong")
    app.add_url_rule("/openapi.json", view_func=openapi.document)
    app.add_url_rule("/health", view_func=lambda: wrong)
    case = schemathesis.openapi.from_wsgi("/openapi.json", app)["/health"]["GET"].Case()
    with pytest.raises(FailureGroup):
        case.validate_response(case.call(), checks=CHECKS)
