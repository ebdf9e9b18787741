"""A real Prometheus scrapes the bridge, loads the shipped rules and tells a real Alertmanager.

During the demo's incident exactly the alerts that should fire do, and afterwards they resolve. So that this takes a
minute, time runs ``SPEED`` times as fast, and that is all that is not as shipped: the demo plays its script faster, and
every duration in the rules (``for``, ``keep_firing_for``, ranges of expressions) is divided by ``SPEED``. Intervals
cannot follow all the way: the bridge polls, Prometheus scrapes and evaluates once a second, which is as if it were
every 12 seconds. Expressions, thresholds, labels, texts and Alertmanager's configuration are the shipped ones.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from demo.gateway import serve
from demo.script import PROVIDERS
from tests.service.harness import Service, ask, wait_until
from tests.service.test_prometheus import Prometheus, get, process, serves
from tests.services import free_port, require

pytestmark = pytest.mark.service

SPEED = 12
BEFORE, AFTER = 48.0, 500.0
"""Seconds of the script: just before its first incident, and when all is over."""
SHIPPED = Path(__file__).parents[2] / "prometheus"
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
GROQ = PROVIDERS["groq"]
Alert = tuple[str, ...]
"""Its name, and the provider and model it is about."""


def scaled(duration: str) -> str:
    """A duration as Prometheus writes it (``1m30s``), divided by ``SPEED``."""
    seconds = sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", duration))
    return f"{round(seconds * 1000 / SPEED)}ms"


def scaled_rules() -> str:
    """The shipped rules, with every duration in them divided by ``SPEED``."""
    rules = yaml.safe_load((SHIPPED / "rules" / "provider-health.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.update({key: scaled(rule[key]) for key in ("for", "keep_firing_for") if key in rule})
            rule["expr"] = re.sub(
                r"\[(\w+)(?::(\w+))?\]",
                lambda found: "[" + ":".join(scaled(part) for part in found.groups() if part) + "]",
                rule["expr"],
            )
    text: str = yaml.safe_dump(rules)
    return text


class ScriptClock:
    """Holds the demo's script at ``BEFORE``, from ``play`` on plays it ``SPEED`` times as fast, up to ``AFTER``."""

    def __init__(self) -> None:
        self._start = time.time()
        self._asked = False
        self._playing_since: float | None = None

    def play(self) -> None:
        self._playing_since = time.time()

    @property
    def second(self) -> float:
        played = 0.0 if self._playing_since is None else time.time() - self._playing_since
        return min(AFTER, BEFORE + SPEED * played)

    def __call__(self) -> float:
        if not self._asked:
            self._asked = True
            return self._start
        return self._start + self.second


class Alertmanager:
    def __init__(self, port: int) -> None:
        self.port = port

    def send(self, *alerts: dict[str, str]) -> None:
        """Alerts that begin to fire, each by its labels."""
        body = [{"labels": labels} for labels in alerts]
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            assert ask(connection, "POST", "/api/v2/alerts", body).status == 200

    def inhibited(self) -> dict[Alert, bool]:
        """What fires now, and whether another alert speaks for it."""
        found = get(self.port, "/api/v2/alerts").json
        return {named(alert["labels"]): bool(alert["status"]["inhibitedBy"]) for alert in found}


def named(labels: dict[str, str]) -> Alert:
    return tuple(labels[name] for name in ("alertname", "provider", "model") if name in labels)


@contextmanager
def alerting(folder: Path) -> Iterator[Alertmanager]:
    """An Alertmanager with the shipped configuration."""
    port = free_port()
    command = [
        require("prometheus-alertmanager"),
        f"--config.file={SHIPPED / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with process(command, folder / "alertmanager.log"):
        wait_until(lambda: serves(port, "/-/ready"), "Alertmanager is ready")
        yield Alertmanager(port)


@contextmanager
def watching(folder: Path, target: int, alertmanager: Alertmanager) -> Iterator[Prometheus]:
    """A Prometheus with the shipped scrape job and rules, faster, that scrapes the bridge on port ``target``."""
    port, configuration = free_port(), folder / "prometheus.yml"
    (folder / "rules.yml").write_text(scaled_rules())
    jobs = yaml.safe_load((SHIPPED / "scrape.yml").read_text())
    jobs["scrape_configs"][0] |= {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
    }
    told = {"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}
    more = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [told]},
    }
    configuration.write_text(json.dumps(jobs | more))
    command = [
        require("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
    ]
    with process(command, folder / "prometheus.log") as group:
        wait_until(lambda: serves(port, "/-/ready"), "Prometheus is ready")
        yield Prometheus(port, group)


@dataclass
class Watch:
    """What fired from a time on, when, and which of it Alertmanager kept to itself."""

    prometheus: Prometheus
    alertmanager: Alertmanager
    clock: ScriptClock
    fired_at: dict[Alert, list[float]] = field(default_factory=dict)
    """The seconds of the script at which each was seen to fire."""
    inhibited: dict[Alert, bool] = field(default_factory=dict)
    texts: dict[Alert, dict[str, str]] = field(default_factory=dict)

    def look(self) -> set[Alert]:
        """What fires now."""
        found = get(self.prometheus.port, "/api/v1/alerts").json["data"]["alerts"]
        firing = {named(alert["labels"]): alert for alert in found if alert["state"] == "firing"}
        for name, alert in firing.items():
            self.fired_at.setdefault(name, []).append(self.clock.second)
            self.texts[name] = alert["annotations"]
        for name, by_another in self.alertmanager.inhibited().items():
            self.inhibited[name] = self.inhibited.get(name, False) or by_another
        return set(firing)

    def ever(self, since: float) -> set[Alert]:
        """What Prometheus itself has recorded as firing since then, whether or not anybody looked."""
        now = time.time()
        found = self.prometheus.query(f'count_over_time(ALERTS{{alertstate="firing"}}[{round(now - since) + 1}s])', now)
        return {named(one["metric"]) for one in found}


@dataclass
class Seen:
    """An incident and an outage of the gateway, as Prometheus and Alertmanager saw them."""

    before: set[Alert]
    incident: Watch
    incident_ever: set[Alert]
    outage: Watch
    outage_ever: set[Alert]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder, clock, port = tmp_path_factory.mktemp("alerts"), ScriptClock(), free_port()
    with ExitStack() as stack:
        alertmanager = stack.enter_context(alerting(folder))
        environment = {"GATEWAYZ_API_URL": f"http://127.0.0.1:{port}", "STALE_AFTER": f"{round(45 / SPEED)}s"}
        service = Service(folder, environment)
        stack.callback(service.kill)
        with serve(port, clock):
            service.start()
            wait_until(lambda: service.get("/ready").status == 200, "there is a first poll")
            prometheus = stack.enter_context(watching(folder, service.port, alertmanager))
            wait_until(lambda: prometheus.query("provider_status", time.time()), "Prometheus has scraped the bridge")
            incident, began = Watch(prometheus, alertmanager, clock), time.time()
            before = incident.look()
            clock.play()
            while clock.second < AFTER:
                incident.look()
                time.sleep(0.25)
            wait_until(lambda: not incident.look(), "every alert has resolved", 30)
            incident_ever = incident.ever(began)
        time.sleep(2)  # what fired last is then no part of what fires from now on
        outage, began = Watch(prometheus, alertmanager, clock), time.time()
        wait_until(lambda: len(outage.look()) == 2 and any(outage.inhibited.values()), "two alerts fire", 40)
        with serve(port, ScriptClock()):
            wait_until(lambda: not outage.look(), "every alert has resolved", 15)
            outage_ever = outage.ever(began)
        yield Seen(before, incident, incident_ever, outage, outage_ever)


MODELS = {("ModelCircuitOpen", "groq", model) for model in GROQ}
ONE_MODEL = ("ModelCircuitOpen", "openrouter", "anthropic/claude-3-5-sonnet")
INCIDENT = {ONE_MODEL, *MODELS, ("ProviderCircuitsOpen", "groq"), ("ProviderHealthScoreCritical", "groq")}


def test_while_all_is_well_nothing_fires(seen: Seen) -> None:
    assert seen.before == set()


def test_the_incident_fires_exactly_the_alerts_it_should(seen: Seen) -> None:
    assert seen.incident_ever == INCIDENT
    assert seen.incident.fired_at.keys() == INCIDENT


def test_an_alert_fires_only_once_it_has_lasted_and_not_long_after(seen: Seen) -> None:
    # By the script: openrouter's model is open from 60 to 210 and groq from 270 (all of it from 280) to 415. An alert
    # comes a minute after that and goes two minutes after; polls, scrapes and evaluations may each be a second late.
    late = 4 * SPEED
    for alert, opened, closed in (
        (ONE_MODEL, 60, 210),
        (("ProviderCircuitsOpen", "groq"), 280, 405),
        *((model, 270, 415) for model in MODELS),
    ):
        seconds = seen.incident.fired_at[alert]
        assert opened + 60 <= seconds[0] <= opened + 60 + 10 + late, alert
        assert seconds[-1] <= min(AFTER, closed + 120 + late), alert


def test_a_circuit_that_flaps_is_one_alert(seen: Seen) -> None:
    looks = seen.incident.fired_at[ONE_MODEL]
    assert len(looks) > 20
    assert max(later - earlier for earlier, later in pairwise(looks)) < 3 * SPEED


def test_the_provider_speaks_for_its_models_and_for_no_other(seen: Seen) -> None:
    assert {alert for alert, by_another in seen.incident.inhibited.items() if by_another} == MODELS
    assert seen.incident.inhibited.keys() == INCIDENT


def test_the_texts_hold_numbers_and_a_link_that_answers(seen: Seen) -> None:
    text = seen.incident.texts["ProviderHealthScoreCritical", "groq"]
    assert re.fullmatch(r"groq's health score is [\d.]+ of 100, under 50 for a minute\.", text["description"])
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/providers/groq\?format=text", text["runbook_url"])


def test_a_gateway_that_is_gone_is_told_and_speaks_for_the_stale_data(seen: Seen) -> None:
    assert seen.outage_ever == {("GatewayUnreachable",), ("BridgeDataStale",)}
    assert seen.outage.inhibited == {("GatewayUnreachable",): False, ("BridgeDataStale",): True}


def test_many_providers_at_once_speak_for_each_of_them_but_not_for_another_bridges(tmp_path: Path) -> None:
    rules = yaml.safe_load((SHIPPED / "rules" / "provider-health.yml").read_text())
    labels = {
        rule["alert"]: {"alertname": rule["alert"], "job": "provider-health-bridge", **rule["labels"]}
        for group in rules["groups"]
        for rule in group["rules"]
    }
    here, elsewhere = {"instance": "bridge:5050"}, {"instance": "other:5050"}
    of_providers = [name for name, its in labels.items() if its["component"] == "provider"]
    with alerting(tmp_path) as alertmanager:
        alertmanager.send(labels["MultipleProvidersDegraded"] | here, labels["GatewayUnreachable"] | here)
        alertmanager.send(*(labels[name] | here | {"provider": "groq"} for name in of_providers))
        alertmanager.send(labels["ProviderHighErrorRate"] | elsewhere | {"provider": "xai"})
        wait_until(lambda: len(alertmanager.inhibited()) == len(of_providers) + 3, "all have arrived")
        found = alertmanager.inhibited()
    assert {alert for alert, by_another in found.items() if by_another} == {(name, "groq") for name in of_providers}


def test_the_worse_alert_speaks_for_the_lesser_one_of_the_same_provider_only(tmp_path: Path) -> None:
    common = {"job": "provider-health-bridge", "instance": "bridge:5050", "component": "provider"}
    low = common | {"alertname": "ProviderHealthScoreLow", "severity": "warning", "category": "health_score"}
    critical = common | {"alertname": "ProviderHealthScoreCritical", "severity": "critical", "category": "health_score"}
    slow = common | {"alertname": "SlowProviderResponse", "severity": "warning", "category": "latency_anomaly"}
    with alerting(tmp_path) as alertmanager:
        alertmanager.send(critical | {"provider": "groq"}, low | {"provider": "groq"}, slow | {"provider": "groq"})
        alertmanager.send(low | {"provider": "openai"})
        wait_until(lambda: len(alertmanager.inhibited()) == 4, "all have arrived")
        found = alertmanager.inhibited()
    assert {alert for alert, by_another in found.items() if by_another} == {("ProviderHealthScoreLow", "groq")}
