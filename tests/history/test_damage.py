"""Each kind of damage costs the polls that it hit and no other; it is counted and told, and never stops the service."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from bridge.history import database
from bridge.history.blocks import BLOCK_POLLS
from bridge.history.store import Store
from bridge.model import Key, Moment
from tests.history.snapshots import INTERVAL, T0, Recorder, circuit, snapshot, verdict

PROJECT = Path(__file__).parents[2]
WEEK_SECONDS = 7 * 86_400.0
PAGE = 4096
POLLS = 730
"""Two blocks, and 250 rows."""
SEALED = 2 * BLOCK_POLLS

Spoil = Callable[[Path], None]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history in which each poll's score is its number."""
    folder = tmp_path_factory.mktemp("written")
    store = Store(folder, retention_seconds=WEEK_SECONDS)
    log = Recorder(store)
    for number in range(POLLS):
        record(log, number)
    log.store.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log.store.close()
    store.close()
    return folder


def record(log: Recorder, number: int) -> None:
    verdicts = [verdict(f"p{n:02}", health_score=number + n, latency_seconds=number * 0.001) for n in range(20)]
    circuits = [circuit(f"p{n:02}", "m") for n in range(20)]
    log.good(snapshot(T0 + INTERVAL * number, verdicts, circuits, model_error_rates={Key("p00", "m"): 0.5}))


def sql(*statements: str) -> Spoil:
    def spoil(file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return spoil


def page_of(file: Path, table: str, share: float) -> int:
    """A leaf page of a table, or an index, this far into it."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
        pages = [page for (page,) in connection.execute(query, (table,))]
    return int(pages[int(share * (len(pages) - 1))])


def torn(table: str, share: float) -> Spoil:
    """A page of noise where a page of this table was."""

    def spoil(file: Path) -> None:
        page = page_of(file, table, share)
        with file.open("r+b") as opened:
            opened.seek((page - 1) * PAGE)
            opened.write(b"\xa5" * PAGE)

    return spoil


def cut_off(share: float) -> Spoil:
    def spoil(file: Path) -> None:
        os.truncate(file, int(file.stat().st_size / PAGE * share) * PAGE)

    return spoil


def copied_while_live(file: Path) -> None:
    """The file alone, without the journal that holds its newest polls."""
    store = Store(file.parent, retention_seconds=WEEK_SECONDS)
    log = Recorder(store)
    for number in range(POLLS, POLLS + 20):
        record(log, number)
    content = file.read_bytes()
    log.store.close()
    store.close()
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    file.write_bytes(content)


KINDS: dict[str, tuple[Spoil, int, int]] = {
    # What is done to the file, and how many of the polls, and of the scores of one provider, survive it.
    "nothing": (sql(), POLLS, POLLS),
    "noise in a block's column": (
        sql("UPDATE block_columns SET numbers = randomblob(900) WHERE block = 1 AND name = 'provider_health_score'"),
        POLLS,
        POLLS - BLOCK_POLLS,
    ),
    "noise in another column of a block": (
        sql("UPDATE block_columns SET numbers = x'' WHERE block = 1 AND name = 'provider_latency_seconds'"),
        POLLS,
        POLLS,
    ),
    "a block's column is missing": (
        sql("DELETE FROM block_columns WHERE block = 2 AND name = 'provider_health_score'"),
        POLLS,
        POLLS - BLOCK_POLLS,
    ),
    "noise in a block's axis": (
        sql("UPDATE block_columns SET numbers = randomblob(99) WHERE block = 1 AND name = '@axis'"),
        POLLS,
        POLLS,
    ),
    "noise in a block's axis, and a poll of it is gone": (
        sql(
            "UPDATE block_columns SET numbers = randomblob(99) WHERE block = 1 AND name = '@axis'",
            "DELETE FROM polls WHERE id = 7",
        ),
        POLLS - BLOCK_POLLS,
        POLLS - BLOCK_POLLS,
    ),
    "a block is gone": (sql("DELETE FROM blocks WHERE id = 1"), POLLS - BLOCK_POLLS, POLLS - BLOCK_POLLS),
    "the newest block is gone": (sql("DELETE FROM blocks WHERE id = 2"), POLLS - BLOCK_POLLS, POLLS - BLOCK_POLLS),
    "noise in a poll's numbers": (
        sql("UPDATE fresh SET numbers = randomblob(300) WHERE poll = 600"),
        POLLS - 1,
        POLLS - 1,
    ),
    "a text for a poll's numbers": (sql("UPDATE fresh SET numbers = 'noise' WHERE poll = 600"), POLLS - 1, POLLS - 1),
    "numbers of three polls are gone": (sql("DELETE FROM fresh WHERE poll IN (500, 600, 700)"), POLLS - 3, POLLS - 3),
    "a poll's layout is another one": (sql("UPDATE fresh SET layout = 99 WHERE poll = 600"), POLLS - 1, POLLS - 1),
    "a text for a poll's time": (sql("UPDATE polls SET at = 'noon' WHERE id = 600"), POLLS - 1, POLLS - 1),
    "a text for a sealed poll's time": (sql("UPDATE polls SET at = 'noon' WHERE id = 100"), POLLS, POLLS),
    "a poll's row is gone": (sql("DELETE FROM polls WHERE id = 600"), POLLS - 1, POLLS - 1),
    "noise in counters": (sql("UPDATE counters SET numbers = randomblob(50)"), POLLS, POLLS),
    "counters are gone": (sql("DROP TABLE counters"), POLLS, POLLS),
    "noise in the layouts": (sql("UPDATE layouts SET content = randomblob(200)"), 0, 0),
    "events are gone": (sql("DROP TABLE events"), POLLS, POLLS),
    "noise in the checkpoint": (sql("UPDATE latest SET memory = randomblob(9), snapshot = x'00'"), POLLS, POLLS),
    "the checkpoint is gone": (sql("DROP TABLE latest"), POLLS, POLLS),
    "epochs are gone": (sql("DROP TABLE epochs"), POLLS, POLLS),
    "blocks are gone": (sql("DROP TABLE blocks"), POLLS - SEALED, POLLS - SEALED),
    "rows are gone": (sql("DROP TABLE fresh"), SEALED, SEALED),
    "polls are gone": (sql("DROP TABLE polls"), SEALED, SEALED),
    "a column is missing": (sql("ALTER TABLE polls DROP COLUMN seconds"), POLLS, POLLS),
    "an index is missing": (sql("DROP INDEX polls_at", "DROP INDEX events_of"), POLLS, POLLS),
    "a page of an index is torn": (torn("polls_at", 0.5), POLLS, POLLS),
    "the journal is gone, and the file is whole": (copied_while_live, POLLS, POLLS),
    "noise for a block's beginning": (
        sql("UPDATE blocks SET start = randomblob(9) WHERE id = 1"),
        POLLS - BLOCK_POLLS,
        POLLS - BLOCK_POLLS,
    ),
    "a text for the number of a block's polls": (
        sql("UPDATE blocks SET polls = 'many' WHERE id = 2"),
        POLLS - BLOCK_POLLS,
        POLLS - BLOCK_POLLS,
    ),
    "a block's last poll is beyond all numbers": (
        sql("UPDATE blocks SET last_poll = 9e300 WHERE id = 2"),
        POLLS - BLOCK_POLLS,
        POLLS - BLOCK_POLLS,
    ),
    "noise for a poll's epoch": (sql("UPDATE polls SET epoch = randomblob(9) WHERE id = 600"), POLLS - 1, POLLS - 1),
    "a poll in a far future": (sql("UPDATE polls SET at = 9e300 WHERE id = 600"), POLLS - 1, POLLS - 1),
    "a poll of no outcome": (sql("UPDATE polls SET outcome = 'noon' WHERE id = 600"), POLLS - 1, POLLS - 1),
    "the largest number there is": (
        sql("UPDATE polls SET id = 9223372036854775807 WHERE id = 600"),
        POLLS - 1,
        POLLS - 1,
    ),
    "an epoch that no poll is before": (sql("UPDATE epochs SET cutoff = -5.0"), POLLS, POLLS),
    "the view of events is gone": (sql("DROP VIEW counted_events"), POLLS, POLLS),
    "the view of events is another": (
        sql("DROP VIEW counted_events", "CREATE VIEW counted_events AS SELECT 1 AS x"),
        POLLS,
        POLLS,
    ),
    "a trigger that refuses polls": (
        sql("CREATE TRIGGER t BEFORE INSERT ON polls BEGIN SELECT raise(abort, 'no'); END"),
        POLLS,
        POLLS,
    ),
    "it says that it is empty": (sql("PRAGMA user_version = 0"), POLLS, POLLS),
    "it says that it is older": (sql("PRAGMA user_version = 1"), POLLS, POLLS),
    "it was no database of ours": (
        sql("PRAGMA user_version = 7", *(f"DROP TABLE {t}" for t in ("polls", "blocks", "events"))),
        0,
        0,
    ),
}


def readable(store: Store) -> tuple[int, int]:
    """Good polls, and scores, that are answered; each is the right one."""
    columns = store.columns(0, T0 * 2)
    providers, values = columns.of_providers("provider_health_score")
    if not providers:
        return int(columns.good.sum()), 0
    scores = values[:, providers.index("p00")]
    known = scores == scores
    assert (scores[known] == (columns.times[known] - T0) / INTERVAL).all(), "a value stands at another time"
    return int(columns.good.sum()), int(known.sum())


def lived_on(folder: Path) -> Store:
    """A service that starts on the folder, polls for a while, and is started again."""
    first = Store(folder, retention_seconds=WEEK_SECONDS)
    first.memory()
    log = Recorder(first)
    for number in range(POLLS + 30, POLLS + 40):
        record(log, number)
    log.store.close()
    first.close()
    return Store(folder, retention_seconds=WEEK_SECONDS)


def told(store: Store) -> str:
    """What is shown of damage: it was found before, by whatever process had opened the file."""
    latest = store.latest()
    assert latest is not None
    assert latest.snapshot is not None
    return "; ".join(latest.snapshot.notices)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_costs_the_polls_that_it_hit_and_is_told(kind: str, written: Path, tmp_path: Path) -> None:
    spoil, polls, scores = KINDS[kind]
    folder = tmp_path / "data"
    shutil.copytree(written, folder)
    spoil(folder / "history.sqlite")
    store = lived_on(folder)
    assert readable(store) == (polls + 10, scores + 10)
    lost = POLLS - polls
    if lost:
        assert f"{lost} polls were lost in all" in told(store) or "set aside" in told(store)
    elif scores < POLLS:
        assert f"{BLOCK_POLLS} polls" in told(store)
    elif kind == "nothing":
        assert told(store) == ""
    store.close()


@pytest.mark.parametrize(
    ("table", "share", "most"),
    [("polls", 0.5, 0), ("polls", 1.0, 120), ("fresh", 0.5, 40), ("block_columns", 0.5, 480), ("events", 0.0, 0)],
)
def test_a_torn_page_costs_what_stood_in_it(table: str, share: float, most: int, written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(written, folder)
    torn(table, share)(folder / "history.sqlite")
    store = lived_on(folder)
    polls, _ = readable(store)
    assert POLLS + 10 - polls <= most
    if polls < POLLS + 10:
        assert f"{POLLS + 10 - polls} polls were lost in all" in told(store)
    assert "damaged history" in told(store)
    assert list(folder.glob("history.sqlite.damaged-*"))
    store.close()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99])
def test_of_a_file_that_was_cut_off_what_is_left_is_read(share: float, written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(written, folder)
    cut_off(share)(folder / "history.sqlite")
    store = lived_on(folder)
    polls, _ = readable(store)
    assert polls >= 10
    if share >= 0.9:
        assert polls > SEALED, "it began anew instead"
    store.close()


@pytest.mark.parametrize("content", [b"this is no database\n" * 300, os.urandom(8192)], ids=["text", "noise"])
def test_a_file_that_is_no_database_is_set_aside(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(content)
    store = Store(tmp_path, retention_seconds=60)
    assert "set aside" in store.damage
    assert [file.read_bytes() for file in tmp_path.glob("history.sqlite.damaged-*")] == [content]
    record(Recorder(store), 1)
    assert readable(store) == (1, 1)
    store.close()


def test_an_empty_file_is_a_fresh_log(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").touch()
    store = Store(tmp_path, retention_seconds=60)
    assert (store.damage, store.latest()) == ("", None)
    store.close()


def test_a_file_that_was_emptied_is_told_of(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(written, folder)
    os.truncate(folder / "history.sqlite", 0)
    store = Store(folder, retention_seconds=60)
    assert "it was emptied" in store.damage
    record(Recorder(store), 1)
    assert "it was emptied" in told(store)
    store.close()


def test_a_journal_of_noise_is_told_of(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    log = SimpleNamespace(error=lambda event, **_: logged.append(event))
    monkeypatch.setattr(database, "log", log)
    folder = tmp_path / "data"
    shutil.copytree(written, folder)
    (folder / "history.sqlite-wal").write_bytes(os.urandom(9_000))
    store = Store(folder, retention_seconds=WEEK_SECONDS)
    assert "was overwritten" in told(store)
    assert logged == ["history_mended"]
    assert readable(store) == (POLLS, POLLS)
    store.close()


def test_another_programs_database_is_set_aside_as_it_is(tmp_path: Path) -> None:
    sql("CREATE TABLE bookmarks (url TEXT)", "INSERT INTO bookmarks VALUES ('a')")(tmp_path / "history.sqlite")
    store = Store(tmp_path, retention_seconds=60)
    assert "another program's" in store.damage
    [aside] = tmp_path.glob("history.sqlite.damaged-*")
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT url FROM bookmarks").fetchall() == [("a",)]
    store.close()


def test_noise_in_the_oldest_rows_does_not_stop_sealing(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(written, folder)
    store = Store(folder, retention_seconds=WEEK_SECONDS)
    log = Recorder(store)
    sql("UPDATE fresh SET numbers = randomblob(300) WHERE poll BETWEEN 481 AND 490")(store.path)
    for number in range(POLLS, POLLS + 240):
        record(log, number)
    assert store.database.connection().execute("SELECT count(*) FROM blocks").fetchone()[0] == 3
    assert readable(store) == (POLLS + 230, POLLS + 230)
    store.maintain(Moment(T0, T0))
    log.store.close()
    store.close()
    again = Store(folder, retention_seconds=WEEK_SECONDS)
    assert "10 polls could not be read" in told(again)
    again.close()


def test_the_damaged_file_is_mended_once_when_several_workers_start_at_the_same_time(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"this is no database\n" * 300)
    script = "import sys; from pathlib import Path; from bridge.history.store import Store\n"
    script += "print(bool(Store(Path(sys.argv[1]), retention_seconds=60).damage))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    workers = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [worker.communicate(timeout=30)[0].split()[-1] for worker in workers]
    assert sorted(said) == ["False", "False", "False", "True"]
