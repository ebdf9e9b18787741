"""The board in the README is the one that ``make run`` shows in the demo's incident, and on a fresh clone too."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import cast

import pytest

from bridge import logs
from bridge.gateway import dialect_file
from bridge.gateway.client import Fetched, GatewayClient
from bridge.gateway.source import GatewaySource
from bridge.history.store import Store
from bridge.policy import Policy
from bridge.polling.loop import Poller
from demo import incident
from demo.metrics import Metrics
from demo.traffic import Router
from tests.one_poller import polled, reads
from tests.readme import PROJECT, README
from tests.service.harness import AS_THE_README, Service, ask, running, wait_until
from tests.services import free_port, require

pytestmark = pytest.mark.service

EVERY_SECONDS = 5.0
"""The demo's poll interval."""
SHOWN = 318.0
"""The second of the demo at which groq is down, anthropic is slow, and openrouter has recovered."""


class Demo:
    """The demo's gateway, played up to a second of it; there it stays a while longer than it would."""

    def __init__(self) -> None:
        self._router, self._metrics = Router(incident.fleet(), incident.SCRIPT), Metrics()
        self._began = 0.0

    def play(self, folder: Path, seconds: float) -> None:
        """Write down so many seconds, up to now, as the service would have."""
        now = time.time()
        self._began = now - seconds
        at = self._began + EVERY_SECONDS
        store = Store(folder, retention_seconds=86_400.0)
        logs.configure("CRITICAL")
        source = GatewaySource(cast(GatewayClient, self), dialect_file.select("auto"))
        poller = Poller(source, store, Policy(), interval_seconds=EVERY_SECONDS, clock=reads(lambda: at))
        while at < now:
            self._body = self.at(at)
            polled(poller)
            at += EVERY_SECONDS
        store.close()

    def fetch(self) -> Fetched:
        return Fetched(self._body, 0.01, "text/plain; version=0.0.4")

    def at(self, now: float) -> bytes:
        self._router.advance(now - self._began)
        return self._metrics(self._router, now).encode()

    def __call__(self) -> bytes:
        return self.at(min(time.time(), self._began + SHOWN + EVERY_SECONDS))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What curl shows of it."""
    folder, demo = tmp_path_factory.mktemp("board"), Demo()
    demo.play(folder / "data", SHOWN)
    with running(demo) as gateway:
        environment = {"GATEWAYZ_API_URL": gateway.url, "POLL_INTERVAL": f"{EVERY_SECONDS:g}s", "POLL_TIMEOUT": "4s"}
        service = Service(folder, environment, command=AS_THE_README)
        try:
            service.start()
            wait_until(lambda: service.get("/ready").status == 200, "a poll of this process's own")
            yield service.get("/").text
        finally:
            service.kill()


def shape(board: str) -> list[str]:
    """Its lines without what differs from one moment to the next: numbers, times, and who is how well."""
    lines = []
    for line in board.strip().splitlines():
        line = re.sub(r"\d[\d.:-]*", "9", line)
        line = re.sub(r"9[hmsd](9[hms])*", "9s", line)
        line = re.sub(r"^\S+ +healthy", "(a provider) healthy", line)
        lines.append(" ".join(line.split()))
    return lines


def test_the_readmes_board_is_the_one_that_the_demo_shows(board: str) -> None:
    shown = README.partition("$ curl localhost:5050/\n")[2].partition("\n…\n")[0]
    assert len(shown.splitlines()) > 14
    assert shape(board)[: len(shape(shown))] == shape(shown)


def test_it_fits_a_terminal_and_shows_rates_error_rates_and_latencies(board: str) -> None:
    header, *rows = board.partition("\n\nProvider")[2].partition("\n\n")[0].splitlines()
    assert header.split() == [
        "Status",
        "Score",
        "Rep.",
        "Circuit",
        "Open",
        "Since",
        "Errors",
        "Avail.",
        "Avg",
        "p95",
        "Req/s",
        "Age",
    ]
    for row in rows:
        errors, _, average, p95, rate, _ = row.split()[-6:]
        assert re.fullmatch(r"[\d.]+%", errors), row
        assert re.fullmatch(r"[\d.]+s", average), row
        assert re.fullmatch(r"[\d.]+s", p95), row
        assert float(rate) > 0, row


def test_make_run_on_a_fresh_clone_shows_request_rates_within_half_a_minute(tmp_path: Path) -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("there is no repository to clone")
    clone, port = tmp_path / "clone", free_port()
    (tmp_path / ".gitconfig").write_text("[safe]\n    directory = *\n")
    cloning = [require("git"), "clone", "--quiet", str(PROJECT), str(clone)]
    subprocess.run(cloning, check=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    command = [require("make"), "run", f"VENV={Path(sys.prefix)}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PORT": str(port), "TMPDIR": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        made = subprocess.Popen(command, cwd=clone, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: rates(port), "request rates on the board", 30.0, every=0.5)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGTERM)
        made.wait(15)
    assert b"starting the demo gateway" in (tmp_path / "log").read_bytes()


def rates(port: int) -> list[float]:
    """Every provider's request rate, as the table says it; nothing while one is not known."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        reply = ask(connection, "GET", "/query?target=provider_request_rate&format=rows")
    except OSError:
        return []
    finally:
        connection.close()
    found = [row["value"] for row in reply.json]
    return found if found and all(found) else []
