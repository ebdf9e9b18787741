"""What ended workers counted: kept, once, in files that stay few, and never read while they are folded."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from bridge.web import worker_files
from bridge.web.worker_files import RESERVED_BYTES, WorkerFiles, ended, fold, making
from tests.web.test_exposition import Labels, labelled, read


def counted(folder: Path, pid: int, **by_outcome: float) -> None:
    """Leave the files of a worker that polled so often, by outcome, and took a second each time."""
    polls = MmapedDict(str(folder / f"counter_{pid}.db"))
    for outcome, value in by_outcome.items():
        polls.write_value(mmap_key("bridge_polls", "bridge_polls_total", ["outcome"], [outcome], "Polls"), value, 0.0)
    polls.close()
    seconds = MmapedDict(str(folder / f"histogram_{pid}.db"))
    for name, label, value in (("sum", [], sum(by_outcome.values())), ("bucket", ["1.0"], sum(by_outcome.values()))):
        key = mmap_key("bridge_poll_seconds", f"bridge_poll_seconds_{name}", ["le"][: len(label)], label, "Seconds")
        seconds.write_value(key, value, 0.0)
    seconds.close()


def told(folder: Path) -> dict[str, dict[Labels, float]]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return read(WorkerFiles(registry, folder).text())


def test_folding_changes_no_number_and_leaves_one_file_of_each_kind(tmp_path: Path) -> None:
    for pid in (11, 12, 13):
        counted(tmp_path, pid, ok=float(pid), timeout=1.0)
    before = told(tmp_path)
    assert before["bridge_polls_total"] == {labelled(outcome="ok"): 36.0, labelled(outcome="timeout"): 3.0}
    fold(tmp_path, {11})
    assert told(tmp_path) == before
    fold(tmp_path, {12, 13, 99})
    assert told(tmp_path) == before
    assert sorted(file.name for file in tmp_path.glob("*.db")) == ["counter_ended.db", "histogram_ended.db"]


def test_a_new_worker_with_an_ended_ones_number_counts_on(tmp_path: Path) -> None:
    counted(tmp_path, 11, ok=5.0)
    fold(tmp_path, {11})
    counted(tmp_path, 11, ok=2.0)
    assert told(tmp_path)["bridge_polls_total"] == {labelled(outcome="ok"): 7.0}
    fold(tmp_path, {11})
    assert told(tmp_path)["bridge_polls_total"] == {labelled(outcome="ok"): 7.0}


def test_more_series_than_fit_a_new_file_are_kept_too(tmp_path: Path) -> None:
    counted(tmp_path, 11, **{f"reason_{number}": float(number) for number in range(2_000)})
    before = told(tmp_path)
    fold(tmp_path, {11})
    assert told(tmp_path) == before


def test_nothing_is_folded_while_somebody_reads(tmp_path: Path) -> None:
    counted(tmp_path, 11, ok=5.0)
    with (tmp_path / "lock").open("w") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        with pytest.raises(BlockingIOError):
            fold(tmp_path, {11})
    assert (tmp_path / "counter_11.db").exists()
    fold(tmp_path, {11})
    assert not (tmp_path / "counter_11.db").exists()


def test_a_worker_that_is_just_making_its_files_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    answers: list[dict[str, dict[Labels, float]]] = []
    reader = threading.Thread(target=lambda: answers.append(told(tmp_path)))
    with making():
        half_made = tmp_path / "counter_11.db"
        half_made.touch()
        reader.start()
        reader.join(0.2)
        assert reader.is_alive()
        half_made.unlink()
        counted(tmp_path, 11, ok=5.0)
    reader.join(5)
    assert answers[0]["bridge_polls_total"] == {labelled(outcome="ok"): 5.0}


def test_a_worker_has_room_for_what_it_will_count_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with making():
        files = sorted(tmp_path.glob("*.db"))
        assert [file.name for file in files] == [f"counter_{os.getpid()}.db", f"histogram_{os.getpid()}.db"]
        assert all(file.stat().st_blocks * 512 >= RESERVED_BYTES for file in files)
    assert told(tmp_path) == {}
    counted(tmp_path, os.getpid(), ok=2.0)
    with making():
        pass
    assert told(tmp_path)["bridge_polls_total"] == {labelled(outcome="ok"): 2.0}, "what is there stays"


def test_without_room_a_worker_does_not_begin_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVED_BYTES // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"), making():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_one_that_dies_while_it_makes_its_files_leaves_none_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    counted(tmp_path, 11, ok=2.0)

    def dies(_file: Path, _content: bytes) -> int:
        raise SystemExit

    monkeypatch.setattr(Path, "write_bytes", dies)
    with pytest.raises(SystemExit), making():
        pass
    assert told(tmp_path)["bridge_polls_total"] == {labelled(outcome="ok"): 2.0}


def test_one_that_has_ended_and_that_nobody_has_asked_how_is_no_more(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        for pid in (child.pid, os.getpid()):
            counted(tmp_path, pid, ok=1.0)
        assert ended(tmp_path) == {child.pid}


def test_what_a_killed_service_has_left_is_taken_away_and_nothing_that_is_in_use(tmp_path: Path) -> None:
    left, used, foreign = (tmp_path / f"bridge-metrics-{name}" for name in ("left", "used", "foreign"))
    for folder in (left, used, foreign):
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"")
    script = "import sys, time, pathlib; from bridge.web import worker_files\n"
    script += "worker_files.hold(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script, str(left)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        worker_files.remove_left_behind(tmp_path, "bridge-metrics-")
        assert left.exists()
        process.kill()
        process.wait()
    held = worker_files.hold(used)
    worker_files.remove_left_behind(tmp_path, "bridge-metrics-")
    os.close(held)
    assert not left.exists()
    assert used.exists()
    assert foreign.exists(), "of whom nobody says whose it is"
