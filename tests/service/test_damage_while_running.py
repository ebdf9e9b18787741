"""A history that is damaged while the service runs: the board says so, polls go on, and what is whole is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.service.harness import Gateway, Service, wait_until

pytestmark = pytest.mark.service

Spoil = Callable[[Path], None]


def noise_from(start: int) -> Spoil:
    def spoil(file: Path) -> None:
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(os.urandom(size - start))

    return spoil


def sql(statement: str) -> Spoil:
    def spoil(file: Path) -> None:
        with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
            connection.execute(statement)

    return spoil


def cut_off_to(size: int) -> Spoil:
    return lambda file: os.truncate(file, size)


def noise_in_the_journal(file: Path) -> None:
    noise_from(0)(file.with_name(f"{file.name}-wal"))


def a_folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()


KINDS: dict[str, Spoil] = {
    "emptied": cut_off_to(0),
    "cut off after a page": cut_off_to(4096),
    "noise": noise_from(0),
    "noise after the first page": noise_from(4096),
    "noise in the journal": noise_in_the_journal,
    "a table is dropped": sql("DROP TABLE polls"),
    "the newest state is dropped": sql("DROP TABLE latest"),
    "a column is dropped": sql("ALTER TABLE polls DROP COLUMN seconds"),
    "the file is removed": lambda file: file.unlink(),
    "the file cannot be opened": a_folder_in_its_place,
    "the folder is removed": lambda file: shutil.rmtree(file.parent),
}
SAID_NOTHING = ("noise in the journal", "the file is removed", "the folder is removed")
"""Of a journal that was written into the file already nothing is lost; what was taken away is gone."""


@pytest.mark.parametrize("kind", KINDS)
def test_polls_go_on_the_board_is_there_and_says_what_is_wrong(kind: str, polled: Service, gateway: Gateway) -> None:
    file = Path(polled._environment["DATA_DIR"]) / "history.sqlite"
    wait_until(lambda: len(gateway.asked_at) >= 4, "some polls")
    sql("PRAGMA wal_checkpoint(TRUNCATE)")(file)  # so that the file is whole, as it is after some minutes
    KINDS[kind](file)
    asked, seen = len(gateway.asked_at), set()

    def recorded() -> bool:
        """Polls that were made afterwards are answered as a range."""
        for path in ("/", "/health"):
            seen.add((path, polled.get(path).status))
        seen.add(("page", polled.get("/", Accept="text/html").status))
        reply = polled.get("/query?target=gateway_up&from=now-1m&to=now")
        points = [point for series in reply.json for point in series["datapoints"]] if reply.status == 200 else []
        since = gateway.asked_at[asked] * 1000 - 500 if len(gateway.asked_at) > asked else 9e15
        return sum(at >= since and value == 1 for value, at in points) >= 3

    wait_until(recorded, "polls after the damage", seconds=30)
    assert {status for _, status in seen} == {200}, seen
    gaps = [later - one for one, later in zip(gateway.asked_at[asked:], gateway.asked_at[asked + 1 :], strict=False)]
    assert max(gaps, default=0.0) < 10.0, "and the machine may be busy"
    if kind not in SAID_NOTHING:
        board = polled.get("/").text
        assert "history" in board.replace("/history", ""), board
        assert "damaged history" in board or "cannot be used" in board
