"""A gateway that lives: its traffic goes on in real time, and the service polls it as ``python app.py`` starts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bridge.queries.catalog import METRICS
from demo.metrics import Metrics
from demo.traffic import CLOSED, HALF_OPEN, OPEN, Call, Deployment, Key, Router, Script, Spell
from tests.living import shapes
from tests.service.harness import AS_THE_README, PROJECT, Service, running, wait_until

Shape = Callable[[Router, float], str]
Labels = tuple[str, ...]
Series = list[tuple[float, float | None]]
"""Epoch seconds and values, in the order of time."""

SECONDS_BEFORE = 30.0
"""The gateway has served for so long when the service first asks it."""
BREAKER_SECONDS = 4.0
FAILING = "groq"
IDLE = "xai"
"""It was used before the service first asked, and never again."""
FLEET = (
    Deployment("openai", "gpt-4o", 3.0, 0.3, usd=0.004),
    Deployment("openai", "o3", 2.0, 0.3, usd=0.02),
    Deployment("anthropic", "claude-sonnet-4", 3.0, 0.6, failing=0.03, usd=0.01),
    Deployment("groq", "llama-3.1-8b", 3.0, 0.3, usd=0.001),
    Deployment("groq", "qwen-2.5-32b", 3.0, 0.3, usd=0.001),
    Deployment("mistral", "codestral", 1.0, 0.6, usd=0.002),
    Deployment(IDLE, "grok-2", 2.0, 0.3, usd=0.005),
)
BEFORE = Script([Spell(-10.0, float("inf"), IDLE, silent=True)])
RECOVERS, RESTARTS, SILENT, ENDS = 28.0, 42.0, 54.0, 62.0
FAILS = 16.0
SCRIPT = Script(
    spells=[
        Spell(0.0, ENDS, IDLE, silent=True),
        Spell(FAILS, RECOVERS, FAILING, failing=1.0),
        Spell(SILENT, float("inf"), silent=True),
    ],
    restarts=[RESTARTS],
)
PHASES = {"healthy": FAILS, "failing": RECOVERS, "recovered": RESTARTS, "restarted": SILENT, "silent": ENDS}
"""Each phase of the script and the second at which it ends."""


class Kind(NamedTuple):
    """A gateway: what it prints, and who has a breaker in it (``provider``, ``model`` or empty)."""

    shape: Callable[[], Shape]
    breaker_of: str
    states: Mapping[str, float]
    """What the bridge should make of each of its breakers' states."""
    observes_failures: bool = True
    successes_to_close: int = 2


AS_IT_IS = {CLOSED: 0.0, OPEN: 1.0, HALF_OPEN: 2.0}
KINDS = {
    "gatewayz-data": Kind(lambda: shapes.gatewayz_data, "model", AS_IT_IS),
    "gatewayz-documented": Kind(lambda: shapes.gatewayz_documented, "provider", AS_IT_IS),
    "gatewayz-metrics": Kind(Metrics, "provider", AS_IT_IS),
    "circuit-breaker": Kind(lambda: shapes.circuit_breaker, "provider", AS_IT_IS),
    "privaterouter": Kind(lambda: shapes.privaterouter, "", AS_IT_IS),
    "deeppin": Kind(lambda: shapes.deeppin, "model", {**AS_IT_IS, HALF_OPEN: 0.0}),
    "litellm": Kind(
        shapes.Litellm, "model", {**AS_IT_IS, HALF_OPEN: 1.0}, observes_failures=False, successes_to_close=1
    ),
}


class Scrape(NamedTuple):
    """What was true when the gateway was asked."""

    at: float
    """Epoch seconds."""
    calls: int
    """How many there had been."""
    states: Mapping[Key, str]
    """Of its breakers."""
    scores: Mapping[str, float]
    """By provider, as the gateway sees it."""
    counts_from: float
    """The second of the router's time from which on it counts."""


def simulated(kind: Kind) -> Router:
    """The inside of such a gateway, some time before it is first asked."""
    return Router(
        FLEET,
        BEFORE,
        begins=-SECONDS_BEFORE,
        breaker_of=kind.breaker_of,
        breaker_timeout_seconds=BREAKER_SECONDS,
        successes_to_close=kind.successes_to_close,
        observes_failures=kind.observes_failures,
        remembers=True,
    )


class LivingGateway:
    """Answers with what its router has done by now, and remembers each time."""

    def __init__(self, kind: Kind) -> None:
        self.router = simulated(kind)
        self.scrapes: list[Scrape] = []
        self._shape = kind.shape()
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def __call__(self) -> bytes:
        with self._lock:
            self.router.advance(time.monotonic() - self._began)
            states = {key: breaker.state for key, breaker in self.router.breakers.items()}
            scores = {name: shapes.score(self.router, name) for name in self.router.of_providers()}
            now = time.time()
            body = self._shape(self.router, now).encode()
            self.scrapes.append(Scrape(now, len(self.router.calls), states, scores, self.router.started))
            return body

    def play(self, script: Script) -> None:
        """Play this script from now on."""
        with self._lock:
            self.router.advance(time.monotonic() - self._began)
            self.router.play(script)


@dataclass
class Life:
    """One gateway's life as the service saw it, and as it was."""

    dialect: str
    began: float
    """Epoch seconds at which the script began."""
    gateway: LivingGateway
    latest: dict[str, dict[str, dict[Labels, float | None]]]
    """Phase → metric → labels → the value shown at the phase's end."""
    ranges: dict[str, dict[Labels, Series]]
    """Metric → labels → all polls from the service's first to its last."""
    events: list[dict[str, Any]]
    """The rows of the table ``transitions``."""
    failed_polls: list[str]
    """What the service logged of them."""

    @property
    def kind(self) -> Kind:
        return KINDS[self.dialect]

    def second(self, at: float) -> float:
        """The script's second at an epoch second."""
        return at - self.began

    def known_seconds(self, at: float) -> float:
        """For how long the service has known the gateway at an epoch second: less than the window of rates."""
        return at - self.gateway.scrapes[0].at

    def scrape(self, at: float) -> Scrape:
        """The scrape of the poll at this epoch second: the first one since then."""
        return next(scrape for scrape in self.gateway.scrapes if scrape.at >= at - 0.002)

    def calls(self, at: float) -> list[Call]:
        """The calls between the service's first scrape and that of the poll at this epoch second."""
        return self.gateway.router.calls[self.gateway.scrapes[0].calls : self.scrape(at).calls]

    def good_polls(self) -> set[float]:
        """Epoch seconds of the polls that succeeded."""
        return {at for at, up in self.ranges["gateway_up"][()] if up == 1}

    def during(self, metric: str, begin: float, end: float) -> Iterator[tuple[Labels, float, float | None]]:
        """Labels, epoch second and value of each good poll in a stretch of the script."""
        good = self.good_polls()
        for labels, series in self.ranges[metric].items():
            yield from ((labels, at, value) for at, value in series if at in good and begin <= self.second(at) < end)


def latest_of(service: Service) -> dict[str, dict[Labels, float | None]]:
    """The value that each metric's series show now."""
    return {
        metric: {tuple(one["tags"].values()): one["datapoints"][-1][0] for one in service.query(metric)}
        for metric in METRICS
    }


def ranges_of(service: Service, begin: float, end: float) -> dict[str, dict[Labels, Series]]:
    """Every point of every metric in a range of epoch seconds."""
    span = {"range": {"from": round(begin * 1000), "to": round(end * 1000)}, "maxDataPoints": 11_000}
    return {
        metric: {
            tuple(one["tags"].values()): [(at / 1000, value) for value, at in one["datapoints"]]
            for one in service.query(metric, **span)
        }
        for metric in METRICS
    }


@contextmanager
def living(dialect: str, folder: Path, project: Path = PROJECT) -> Iterator[tuple[LivingGateway, Service]]:
    """A living gateway, and the service that has begun to poll it each second."""
    gateway = LivingGateway(KINDS[dialect])
    folder.mkdir(parents=True, exist_ok=True)
    with running(gateway) as served:
        service = Service(
            folder,
            {
                "GATEWAYZ_API_URL": served.url,
                "WEB_CONCURRENCY": "1",
                "STALE_AFTER": "10s",  # a poll that a busy machine delays says nothing of what was read
                "BREAKER_WINDOW": "8s",
                "BREAKER_TIMEOUT": f"{BREAKER_SECONDS:g}s",
            },
            command=AS_THE_README,
            project=project,
        )
        try:
            service.launch()
            yield gateway, service
        finally:
            service.kill()


def until_polled(service: Service) -> None:
    """Wait until there is a good poll."""
    service.wait()
    wait_until(lambda: service.get("/ready").status == 200, "a good poll", 30.0)


def play(lives: Mapping[str, tuple[LivingGateway, Service]]) -> dict[str, Life]:
    """Play the script in all gateways at once, and keep what their services show at the end of each phase."""
    for _, service in lives.values():
        until_polled(service)
    for gateway, _ in lives.values():
        gateway.play(SCRIPT)
    began = time.time()
    latest: dict[str, dict[str, dict[str, dict[Labels, float | None]]]] = {dialect: {} for dialect in lives}
    for phase, end in PHASES.items():
        time.sleep(max(0.0, began + end - 0.7 - time.time()))
        for dialect, (_, service) in lives.items():
            latest[dialect][phase] = latest_of(service)
    return {
        dialect: Life(
            dialect,
            began,
            gateway,
            latest[dialect],
            ranges_of(service, gateway.scrapes[0].at - 1, time.time()),
            service.rows("transitions", range={"from": "now-1h", "to": "now"}),
            [f"{poll['timestamp']} {poll['message']}" for poll in service.events("poll") if poll["outcome"] != "ok"],
        )
        for dialect, (gateway, service) in lives.items()
    }
