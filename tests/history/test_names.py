"""Names that never repeat: the history takes up so many, keeps those it knows and those that stay, and says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bridge.history.names import FREE_PROVIDERS, LASTING_POLLS, MOST_PROVIDERS, Roll
from bridge.history.store import Store
from bridge.model import Event, Key
from tests.history.snapshots import INTERVAL, T0, Recorder, circuit, snapshot, verdict

HOUR = 3600.0
A_POLL = 300


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Recorder]:
    store = Store(tmp_path, retention_seconds=HOUR)
    log = Recorder(store)
    yield log
    log.store.close()
    store.close()


def never_repeated(number: int) -> list[str]:
    return [f"{number:05}-{one:03}" for one in range(A_POLL)]


def record(log: Recorder, number: int, names: Sequence[str]) -> None:
    at = T0 + INTERVAL * number
    verdicts = [verdict(name, health_score=float(number)) for name in names]
    circuits = [circuit(name, "m") for name in names]
    appeared = [Event(at, "roster", name, "", "absent", "present", "") for name in names]
    log.good(snapshot(at, verdicts, circuits, model_error_rates={Key(name, "m"): 0.5 for name in names}), *appeared)


def recorded(log: Recorder) -> tuple[str, ...]:
    return log.store.columns(0, T0 * 2).providers


def notices(log: Recorder) -> str:
    latest = log.store.latest()
    assert latest is not None
    assert latest.snapshot is not None
    return "; ".join(latest.snapshot.notices)


def test_the_history_knows_so_many_names_however_many_there_were(log: Recorder) -> None:
    for number in range(40):
        record(log, number, ["openai", *never_repeated(number)])
    assert len(recorded(log)) == FREE_PROVIDERS
    columns = log.store.columns(0, T0 * 2)
    names, scores = columns.of_providers("provider_health_score", {"openai"}.__contains__)
    assert names == ("openai",)
    assert scores[:, 0].tolist() == list(range(40)), "one that was known before is recorded with every poll"
    assert len(columns.of_models("model_error_rate")[0]) == FREE_PROVIDERS
    assert len({event.provider for event in log.store.events(0, T0 * 2)}) == FREE_PROVIDERS
    layouts = log.store.database.connection().execute("SELECT count(*) FROM layouts").fetchone()[0]
    assert layouts < 10, "polls of names that are not known are no layout each"


def test_it_is_told_as_long_as_it_goes_on(log: Recorder) -> None:
    record(log, 0, never_repeated(0))
    assert notices(log) == ""
    for number in range(1, 10):
        record(log, number, never_repeated(number))
    assert f"{2 * A_POLL} providers and models of the last poll are not recorded" in notices(log)
    record(log, 10, never_repeated(0))
    assert notices(log) == ""


def test_of_one_poll_all_names_are_taken_up(log: Recorder) -> None:
    record(log, 0, [f"{number:04}" for number in range(FREE_PROVIDERS)])
    assert len(recorded(log)) == FREE_PROVIDERS
    assert notices(log) == ""


def test_one_that_stays_is_taken_up_though_there_were_many(log: Recorder) -> None:
    for number in range(10 + LASTING_POLLS):
        record(log, number, [*never_repeated(number), *(["acme"] if number >= 10 else [])])
    assert "acme" in recorded(log)


def test_after_a_restart_it_knows_what_it_knew(log: Recorder, tmp_path: Path) -> None:
    for number in range(10):
        record(log, number, never_repeated(number))
    before = recorded(log)
    again = Store(tmp_path, retention_seconds=HOUR)
    again.memory()
    log.store.close()
    log.store = again
    for number in range(10, 20):
        record(log, number, never_repeated(number))
    assert recorded(log) == before


def test_names_that_the_history_no_longer_holds_make_room(log: Recorder) -> None:
    for number in range(10):
        record(log, number, never_repeated(number))
    later = int(HOUR / INTERVAL) + 10
    record(log, later, ["acme"])
    assert "acme" in recorded(log)
    assert notices(log) == ""


def test_not_even_names_that_stay_go_beyond_the_budget() -> None:
    roll = Roll[str](FREE_PROVIDERS, MOST_PROVIDERS)
    for poll in range(1_000):
        roll.admit([f"{poll // LASTING_POLLS:05}-{one}" for one in range(A_POLL)], float(poll), 0.0)
    assert len(roll.seen) == MOST_PROVIDERS
