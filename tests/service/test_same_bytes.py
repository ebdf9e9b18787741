"""The past does not change: one absolute range has one answer, whoever gives it, however often, and after a restart."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bridge.history.blocks import BLOCK_POLLS
from bridge.history.store import Store
from bridge.model import CircuitState, Event, Key
from tests.history.snapshots import Recorder, circuit, snapshot, verdict
from tests.service.harness import Gateway, Service, ask, fleet_exposition, wait_until

pytestmark = pytest.mark.service

WEEK_SECONDS = 7 * 86_400.0
POLLS = 2 * BLOCK_POLLS - 9
"""As many as are not sealed yet, but will be once the service has polled nine times more."""
EVERY = 15.0
MODELS = (Key("openai", "gpt-4o"), Key("openrouter", "claude"), Key("groq", "llama"))
TARGETS = (
    "provider_health_score",
    'provider_error_rate{provider=~"open.*"}',
    "provider_latency_seconds",
    "model_circuit_breaker_state",
    "model_error_rate",
    "fleet_health_score",
    "fleet_open_circuits",
    "fleet_providers",
    "gateway_up",
    "gateway_poll_seconds",
    "transitions",
    "annotations",
)

Answers = dict[str, set[bytes]]
"""What was asked, and every answer there was to it."""


def write_history(folder: Path, end: float) -> None:
    """Numbers that wander, breakers that open and close (one stays open), polls that fail, and a time without any."""
    wander = random.Random(7)
    store = Store(folder, retention_seconds=WEEK_SECONDS)
    log = Recorder(store)
    states = dict.fromkeys(MODELS, CircuitState.CLOSED)
    since = dict.fromkeys(MODELS, end - POLLS * EVERY)
    for number in range(POLLS):
        at = end - (POLLS - 1 - number) * EVERY + wander.uniform(0, 0.5) - (600.0 if number < POLLS // 2 else 0.0)
        if wander.random() < 0.03:
            log.failed(at, *[Event(at, "gateway", "", "", "up", "down", "refused")][: log.failing_since is None])
            continue
        events = [Event(at, "gateway", "", "", "down", "up", "polls succeed again")] if log.failing_since else []
        for key in MODELS:
            opens = wander.random() < (0.0 if number > POLLS - 20 else 0.06)
            if opens or (key.provider == "groq" and number == POLLS - 20):
                after = CircuitState.CLOSED if states[key] else CircuitState.OPEN
                after = CircuitState.OPEN if number == POLLS - 20 else after
                if after is not states[key]:
                    events.append(Event(at, "circuit", *key, states[key].name, after.name, "five <failures>"))
                    states[key], since[key] = after, at
        log.good(
            snapshot(
                at,
                [
                    verdict(
                        key.provider,
                        health_score=wander.uniform(20, 100),
                        error_rate=wander.random() ** 4,
                        latency_seconds=None if wander.random() < 0.1 else wander.uniform(0.2, 9.0),
                    )
                    for key in MODELS
                ],
                [
                    circuit(*key, states[key], since=since[key], first_opened=since[key] if states[key] else None)
                    for key in MODELS
                ],
                fleet={"fleet_health_score": wander.uniform(50, 100), "fleet_open_circuits": sum(states.values())},
                model_error_rates={key: wander.random() for key in MODELS},
            ),
            *events,
            interval=EVERY,
        )
    log.store.close()
    store.close()


def iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"


def questions(start: float, end: float) -> list[tuple[str, str, bytes | None]]:
    """What Grafana, and what people, ask of one absolute range."""
    span = {"range": {"from": iso(start), "to": iso(end)}, "intervalMs": 15_000}
    asked: list[tuple[str, str, bytes | None]] = []
    for most in (1_000, 37):
        targets = [{"target": target, "refId": target} for target in TARGETS]
        asked.append(("POST", "/query", json.dumps({**span, "targets": targets, "maxDataPoints": most}).encode()))
    asked.append(("POST", "/annotations", json.dumps({**span, "annotation": {"name": "all", "query": "all"}}).encode()))
    for target in TARGETS:
        given = {"target": target, "from": iso(start), "to": iso(end), "format": "csv"}
        asked.append(("GET", f"/query?{urlencode(given)}", None))
    return asked


def ask_every_worker(service: Service, asked: list[tuple[str, str, bytes | None]]) -> Answers:
    """Every question, of every worker, plain and gzipped."""
    with ExitStack() as stack:
        open_ones: dict[int, HTTPConnection] = {}
        while open_ones.keys() != set(service.workers()):
            connection = stack.enter_context(closing(HTTPConnection("127.0.0.1", service.port, timeout=20)))
            ask(connection, "GET", "/health")
            for pid in service.worker_of([connection]).values():
                open_ones[pid] = connection
        assert len(open_ones) == 4
        return _ask_over(list(open_ones.values()), asked)


def _ask_over(connections: list[HTTPConnection], asked: list[tuple[str, str, bytes | None]]) -> Answers:
    def over(connection: HTTPConnection) -> list[tuple[str, bytes]]:
        answers = []
        for encoding in ("identity", "gzip"):
            for method, path, body in asked:
                reply = ask(connection, method, path, body, {"Accept-Encoding": encoding})
                assert reply.status == 200, reply.text
                answers.append((f"{encoding} {method} {path} {body!r}", reply.body))
        return answers

    with ThreadPoolExecutor(4) as threads:
        answers: Answers = {}
        for question, answer in (pair for pairs in threads.map(over, connections) for pair in pairs):
            answers.setdefault(question, set()).add(answer)
    return answers


def sealed(folder: Path) -> int:
    """Blocks in the log."""
    connection = sqlite3.connect(folder / "history.sqlite")
    try:
        return int(connection.execute("SELECT count(*) FROM blocks").fetchone()[0])
    finally:
        connection.close()


def wait_for_polls(gateway: Gateway, polls: int = 2) -> None:
    before = len(gateway.asked_at)
    wait_until(lambda: len(gateway.asked_at) >= before + polls, f"{polls} more polls", 30)
    time.sleep(0.2)


def differing(one: Answers, other: Answers) -> list[str]:
    return [question[:300] for question in one if one[question] != other[question]]


def test_four_workers_and_every_restart_give_byte_identical_answers_to_the_same_absolute_range(
    tmp_path: Path, gateway: Gateway, service: Callable[..., Service]
) -> None:
    end = time.time() - 60.0
    write_history(tmp_path / "data", end)
    asked = questions(end - POLLS * EVERY - 700.0, end + 5.0)
    one = service(WEB_CONCURRENCY="4", POLL_INTERVAL="5s")
    wait_for_polls(gateway, 1)
    first = ask_every_worker(one, asked)
    assert [question[:300] for question, answers in first.items() if len(answers) > 1] == []
    assert sealed(tmp_path / "data") == 0, "the first answers were to be from polls that are not sealed"
    plain = b"".join(answer for answers in first.values() for answer in answers)
    assert all(word in plain for word in (b"groq", b"OPEN", b"gateway outage", b"null"))

    process = one.process
    assert process is not None
    process.terminate()
    assert process.wait(10) == 0
    gateway.answer = fleet_exposition(openrouter="open", score=25.0)
    two = service(WEB_CONCURRENCY="4", POLL_INTERVAL="1s")
    wait_for_polls(gateway)
    assert differing(first, ask_every_worker(two, asked)) == [], "after SIGTERM"

    wait_until(lambda: sealed(tmp_path / "data") > 0, "a block is sealed", 40)
    wait_for_polls(gateway)
    assert differing(first, ask_every_worker(two, asked)) == [], "once polls were sealed"

    two.kill()
    two.start()
    wait_for_polls(gateway)
    assert differing(first, ask_every_worker(two, asked)) == [], "after kill -9"
