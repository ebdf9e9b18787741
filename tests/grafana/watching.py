"""The story is told to a living service, and at its moments every panel of every dashboard is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.grafana.plugins import ALL, FILES, Json, Refused, ask, infinity_frame, load, scope_of
from tests.grafana.story import CALM_POLLS, FLAP, Storyteller, Truth
from tests.service.harness import AS_THE_README, Reply, Service, running, wait_until

STALE_AFTER_SECONDS = 5
EVERYTHING = {"provider": ALL, "model": ALL}
AT_ONCE = 4
"""Requests, as a browser has some open at a time."""
PanelKey = tuple[str, int]
"""A dashboard (folder and name) and a panel's id."""
BOARDS: Mapping[str, Json] = {f"{file.parent.name}-{file.stem}": load(file) for file in FILES}
PANELS: Mapping[PanelKey, Json] = {
    (name, panel["id"]): panel for name, board in BOARDS.items() for panel in board["panels"] if panel["type"] != "row"
}


@dataclass(frozen=True)
class Answer:
    """What was true when a panel was asked, and its answer: frames, or its datasource's own format."""

    truth: Truth
    """Now."""
    in_range: Truth
    """As of the end of the time range, which is now, or was long ago."""
    frames: Sequence[Json]


Moment = Mapping[PanelKey, Answer]


@dataclass(frozen=True)
class Answered:
    """A service's answer, as the plugins read it."""

    reply: Reply

    @property
    def status_code(self) -> int:
        return self.reply.status

    def get_json(self) -> Any:
        return self.reply.json

    def get_data(self, *, as_text: bool) -> str:
        return self.reply.text


@dataclass(frozen=True)
class Living:
    """A running service that the plugins can ask."""

    service: Service

    @property
    def client(self) -> Living:
        return self

    def get(self, path: str, *, query_string: Sequence[tuple[str, str]]) -> Answered:
        return Answered(self.service.get(f"{path}?{urlencode(query_string)}"))

    def post(self, path: str, body: object) -> Answered:
        return Answered(self.service.ask("POST", path, body))


def watch(folder: Path) -> dict[str, Moment]:
    """All moments by their names."""
    story = Storyteller()
    with running(story) as gateway:  # type: ignore[arg-type]
        environment = {"GATEWAYZ_API_URL": gateway.url, "GATEWAY_METRICS_PATH": "/metrics"}
        service = Service(folder, {**environment, "STALE_AFTER": f"{STALE_AFTER_SECONDS}s"}, command=AS_THE_README)
        try:
            return _told(story, service.start())
        finally:
            service.kill()


def _told(story: Storyteller, service: Service) -> dict[str, Moment]:
    def polled(good: int) -> bool:
        return len(story.good) >= good and service.summary()["snapshot_time"] / 1000 >= story.good[good - 1].at - 0.5

    told = {}
    wait_until(lambda: service.summary()["gateway"]["outcome"], "the first poll has failed")
    told["first start"] = _look(story, service, "first start")
    story.come()
    wait_until(lambda: polled(CALM_POLLS + len(FLAP)), "the incident was polled", 60)
    calm = (story.good[0].at - 60, story.good[CALM_POLLS].at - 0.6)
    told["incident"] = _look(story, service, "incident")
    told["past"] = _look(story, service, "past", calm)
    story.go()
    wait_until(lambda: service.summary()["gateway"]["failing_since"], "one poll has failed", every=0.01)
    told["one failed poll"] = _look(story, service, "one failed poll")
    good = len(story.good)
    story.come()
    wait_until(lambda: polled(good + 2), "all is well again")
    story.go()
    wait_until(lambda: service.get("/ready").status == 503, "the data is stale", STALE_AFTER_SECONDS + 10)
    told["dead gateway"] = _look(story, service, "dead gateway")
    return told


def _look(story: Storyteller, service: Service, moment: str, span: tuple[float, float] | None = None) -> Moment:
    """Ask all panels, over the dashboards' own time ranges or over ``span``."""
    stale = service.get("/ready").status == 503
    living = Living(service)

    def answer(key: PanelKey) -> Answer:
        panel, now = PANELS[key], time.time()
        truth = Truth(moment, now, story.good, story.missed, stale)
        in_range = truth if span is None else truth.until(span[1])
        try:
            found = ask(living, panel, scope_of(BOARDS[key[0]], panel, EVERYTHING, now, span))
        except Refused:
            found = []
        if "infinity" in panel["datasource"]["type"]:
            found = [infinity_frame(query, table) for query, table in zip(panel["targets"], found, strict=False)]
        return Answer(truth, in_range, found)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(PANELS, pool.map(answer, PANELS), strict=True))
