"""Names that would be markup, formulas, terminal codes or paths: on every face they are themselves, nothing else."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.web.csv_table import visible
from bridge.web.text import printable
from tests.service.harness import Gateway, Reply, Service, as_rows, running, wait_until

pytestmark = pytest.mark.service

NAMES = (
    "plain",
    "quote\"tick'back`",
    "<i-am-markup onclick=alert(1)>&amp;</i-am-markup>",
    '"><i-am-markup>',
    "a/slash//../x/",
    "/absolute",
    "new\nline",
    "carriage\rreturn\ttab",
    "\u202egpj.exe\u2066\u200b",
    "\u05e9\u05dc\u05d5\u05dd \u0639\u0631\u0628\u064a",
    "\x1b[31mred\x07\x9b1m",
    '=HYPERLINK("http://evil.test","x")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "1e3",
    "true",
    "back\\slash\\n\\",
    "%2e%2e%2f%00?a=b&c#d;e",
    "{{7*7}}${__from}{provider}",
    'x"} 1\nhealth_score{provider="ghost',
    "comma,semi;colon|pipe",
    "..",
    "nul\x00",
    "\u2028\u2029\x85",
    "\U0001f600e\u0301",
    "null",
)


def model_of(provider: str) -> str:
    return f"{provider}~model"


def exposition(state: str) -> bytes:
    """Every name as a provider with one model, whose circuit is in the given state."""
    lines = []
    for name in NAMES:
        escaped, model = (
            text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for text in (name, model_of(name))
        )
        lines += [f'health_score{{provider="{escaped}"}} 91.0', f'total_requests{{provider="{escaped}"}} 100']
        lines += [
            f'circuit_breaker_state{{provider="{escaped}",model="{model}",state="{word}"}} {int(word == state)}'
            for word in ("open", "closed", "half_open")
        ]
    return ("\n".join([*lines, "gatewayz_data_scrape_success 1"]) + "\n").encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that saw every provider's circuit open."""

    def answer() -> bytes:
        return exposition("closed" if len(gateway.asked_at) < 3 else "open")

    gateway: Gateway
    with running(answer) as gateway:
        service = Service(tmp_path_factory.mktemp("hostile"), {"GATEWAYZ_API_URL": gateway.url, "LOG_LEVEL": "DEBUG"})
        try:
            service.start()
            wait_until(lambda: "down" in service.get("/").text, "every circuit is open")
            yield service
        finally:
            service.kill()


def asked(service: Service, **arguments: str) -> Reply:
    return service.get("/query?" + urlencode(arguments))


def column(rows: Sequence[dict[str, Any]], name: str) -> set[Any]:
    return {row[name] for row in rows}


def squeezed(text: str) -> str:
    """A text without what wrapping adds to it."""
    return re.sub(r"\s", "", text)


def harmless(text: str) -> bool:
    """A terminal obeys nothing in it but line breaks."""
    return all(one == "\n" or (one.isprintable() and unicodedata.category(one) != "Cf") for one in text)


def test_as_json_every_name_is_itself(service: Service) -> None:
    assert column(service.summary()["not_healthy"], "provider") == set(NAMES)
    assert column(service.rows("providers"), "Provider") == set(NAMES)
    circuits = {(row["Provider"], row["Model"]) for row in service.rows("circuits")}
    assert circuits == {(name, model_of(name)) for name in NAMES}
    moves = service.rows("transitions", range={"from": "now-5m", "to": "now"})
    assert {(row["Provider"], row["Model"]) for row in moves if row["To"] == "OPEN"} == circuits
    tags = [series["tags"] for series in service.query("model_circuit_breaker_state")]
    assert {(tag["provider"], tag["model"]) for tag in tags} == circuits
    assert {series["title"] for series in service.query("provider_status as {{provider}}")} == set(NAMES)


def test_variables_and_filters_offer_every_name(service: Service) -> None:
    assert set(service.ask("POST", "/search", {"target": "providers"}).json) == set(NAMES)
    assert set(service.ask("POST", "/search", {"target": "models"}).json) == {model_of(name) for name in NAMES}
    offered = service.ask("POST", "/tag-values", {"key": "provider"}).json
    assert {entry["text"] for entry in offered} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_can_be_asked_for(service: Service, name: str) -> None:
    chosen = [{"key": "provider", "operator": "=", "value": name}]
    assert service.values("provider_status", adhocFilters=chosen).keys() == {name}
    quoted = re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", name)
    [series] = asked(service, target=f'provider_status{{provider="{quoted}"}}').json
    assert series["tags"] == {"provider": name}
    for path in (f"/providers/{quote(name, safe='')}", f"/api/providers/{quote(name)}"):
        reply = service.get(path)
        assert reply.status == 200, reply.text
        assert column(as_rows(reply.json), "Provider") == {name}
    reply = service.get(f"/providers/{quote(name, safe='')}?format=text")
    assert harmless(reply.text)
    assert squeezed(printable(name)) in squeezed(reply.text)


@pytest.mark.parametrize("path", ["/", "/providers?format=text", "/query?target=circuits&format=text"])
def test_in_a_terminal_no_name_is_obeyed(service: Service, path: str) -> None:
    reply = service.get(path)
    assert reply.status == 200
    assert harmless(reply.text)
    assert all(len(line) <= 100 for line in reply.text.splitlines())
    assert sum(line.startswith("plain") for line in reply.text.splitlines()) == 1


def test_every_series_is_told_by_its_name_in_a_terminal(service: Service) -> None:
    text = asked(service, target="provider_status as {{provider}}", format="text").text
    assert harmless(text)
    assert [name for name in NAMES if squeezed(printable(name)) not in squeezed(text)] == []


def test_annotations_hold_no_markup_and_every_name(service: Service) -> None:
    body = {"range": {"from": "now-5m", "to": "now"}, "annotation": {"name": "x", "query": "circuit"}}
    events = service.ask("POST", "/annotations", body).json
    texts = [text for event in events for text in (event["title"], event["text"], *event["tags"])]
    assert not [text for text in texts if re.search("[<>\"']", text)]
    assert all(harmless(text) for text in texts)
    tags = {html.unescape(tag) for event in events for tag in event["tags"]}
    assert {printable(name) for name in NAMES} <= tags


def test_prometheus_reads_every_name_as_it_is(service: Service) -> None:
    families = {family.name: family for family in text_string_to_metric_families(service.get("/metrics").text)}
    assert {sample.labels["provider"] for sample in families["provider_status"].samples} == set(NAMES)
    models = [sample.labels for sample in families["model_circuit_breaker_state"].samples]
    assert {(one["provider"], one["model"]) for one in models} == {(name, model_of(name)) for name in NAMES}
    assert len(models) == len(NAMES)


def test_no_name_breaks_a_line_of_the_log(service: Service) -> None:
    for name in NAMES:
        assert service.get(f"/providers/no-{quote(name, safe='')}", **{"X-Request-ID": quote(name)}).status == 404
        assert asked(service, target=f'nope{{provider="{name}"}}').status in (200, 400)
    wait_until(lambda: len(service.events("request")) > 2 * len(NAMES), "the requests are logged")
    text = service.log_file.read_text()
    assert all(one == "\n" or " " <= one <= "~" for one in text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line["service"] == "provider-health-bridge" for line in lines)
    assert column(lines, "endpoint") <= {
        None,
        "none",
        "/",
        "/query",
        "/search",
        "/annotations",
        "/metrics",
        "/ready",
    } | {
        *("/health", "/providers", "/providers/<name:name>", "/api/providers/<name:name>", "/tag-values"),
    }
    assert service.error_file.read_text() == ""


# Formats that may not be there yet.


def in_format(service: Service, wanted: str) -> Reply:
    reply = asked(service, target="provider_status", format=wanted)
    if reply.status == 400 and "there is no format" in reply.text:
        pytest.skip(f"there is no format {wanted!r} yet")
    assert reply.status == 200, reply.text
    return reply


def test_as_csv_every_name_is_one_cell_and_no_formula(service: Service) -> None:
    text = in_format(service, "csv").body.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    cells = {row["provider"] for row in rows}
    assert len(rows) == len(NAMES)
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r"]
    assert {cell.removeprefix("'") for cell in cells} == set(map(visible, NAMES))


def test_as_rows_every_name_is_itself(service: Service) -> None:
    rows = in_format(service, "rows").json
    assert column(rows, "provider") == set(NAMES)
    assert len(rows) == len(NAMES)


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("path", ["/", *(f"/providers/{quote(name, safe='')}" for name in NAMES)])
def test_on_a_page_every_name_is_text(service: Service, path: str) -> None:
    reply = service.get(path, Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    if "text/html" not in reply.headers["Content-Type"]:
        pytest.skip("there is no page here yet")
    assert reply.status == 200
    page = Page()
    page.feed(reply.text)
    assert "i-am-markup" not in page.elements
    assert not {name for name in page.attributes if name.startswith("on")}
    shown = squeezed(page.text)
    names = NAMES if path == "/" else [name for name in NAMES if path.endswith(quote(name, safe=""))]
    assert [name for name in names if squeezed(name) not in shown and squeezed(printable(name)) not in shown] == []
