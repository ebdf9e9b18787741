"""The lead: one has it, it says when a poll last began, and it is given up once it keeps nobody else away."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge import clock
from bridge.model import Reading
from bridge.polling.election import Lead, LeadLost

NOW = Reading(1_800_000_000.0, 5_000.0, "11111111-2222-3333-4444-555555555555")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "leader.lock"


@pytest.fixture
def take() -> Iterator[Callable[[Path], Lead]]:
    """Takes a lead that is free, and gives it up in the end."""
    taken: list[Lead] = []

    def take_one(path: Path) -> Lead:
        lead = Lead.take(path)
        assert lead is not None
        taken.append(lead)
        return lead

    yield take_one
    for lead in taken:
        lead.give_up()


Take = Callable[[Path], Lead]


class TestHolding:
    def test_it_can_be_had_once(self, lock: Path, take: Take) -> None:
        take(lock).check()
        assert Lead.take(lock) is None

    def test_a_lock_that_is_gone_is_lost_and_no_poll_begins(self, lock: Path, take: Take) -> None:
        lead = take(lock)
        lock.unlink()
        with pytest.raises(LeadLost, match="is gone"):
            lead.begins(NOW)

    def test_a_lock_in_whose_place_another_file_stands_is_lost(self, lock: Path, take: Take) -> None:
        lead = take(lock)
        lock.unlink()
        take(lock).check()
        with pytest.raises(LeadLost, match="another file"):
            lead.begins(NOW)

    def test_a_lock_that_was_put_back_in_its_place_is_held_as_before(self, lock: Path, take: Take) -> None:
        lead = take(lock)
        lock.rename(lock.with_name("aside"))
        lock.with_name("aside").rename(lock)
        lead.begins(NOW)

    def test_a_file_that_can_only_be_read_is_enough_for_a_lock(self, lock: Path, take: Take) -> None:
        lock.touch(0o444)
        read_only = lock if os.geteuid() else Path("/sys/kernel/notes")  # root may write what is merely marked so
        with pytest.raises(PermissionError):
            read_only.open("ab")
        lead = take(read_only)
        assert lead.path == read_only
        lead.begins(NOW)
        assert Lead.take(read_only) is None

    def test_where_the_folder_cannot_be_used_the_lead_is_in_memory_until_it_can(self, lock: Path, take: Take) -> None:
        in_nowhere = lock.parent / "not yet" / lock.name
        lead = take(in_nowhere)
        lead.begins(NOW)
        assert Lead.take(in_nowhere) is None, "two lead"
        in_nowhere.parent.mkdir()
        with pytest.raises(LeadLost, match="can be used again"):
            lead.check()
        assert take(in_nowhere).path == in_nowhere

    def test_folders_that_cannot_be_used_have_a_lock_each(self, lock: Path, take: Take) -> None:
        take(lock.parent / "a" / lock.name)
        take(lock.parent / "b" / lock.name)


class TestWhenAPollLastBegan:
    def test_a_clock_that_was_set_meanwhile_does_not_matter(self, lock: Path, take: Take) -> None:
        lead = take(lock)
        lead.begins(NOW)
        for set_by in (-86_400.0, 0.0, 400 * 86_400.0):
            later = Reading(NOW.wall + 7.0 + set_by, NOW.steady + 7.0, NOW.boot)
            assert lead.seconds_since_begin(later) == pytest.approx(7.0)

    @pytest.mark.parametrize("boot", ["99999999-2222-3333-4444-555555555555", ""])
    def test_after_another_start_of_the_machine_the_wall_clock_says_it(self, lock: Path, take: Take, boot: str) -> None:
        lead = take(lock)
        lead.begins(NOW)
        assert lead.seconds_since_begin(Reading(NOW.wall + 7.0, 3.0, boot)) == pytest.approx(7.0)

    def test_where_the_system_names_no_start_the_wall_clock_says_it(self, lock: Path, take: Take) -> None:
        lead = take(lock)
        lead.begins(NOW._replace(boot=""))
        assert lead.seconds_since_begin(Reading(NOW.wall + 7.0, NOW.steady + 1.0, "")) == pytest.approx(7.0)

    def test_the_note_of_an_older_version_is_understood(self, lock: Path, take: Take) -> None:
        lock.write_text(f"{NOW.wall:020.3f}\n")
        assert take(lock).seconds_since_begin(NOW._replace(wall=NOW.wall + 7.0)) == pytest.approx(7.0)

    @pytest.mark.parametrize("content", [b"", b"noise\n", b"\0" * 80, b"nan nan x\n", b"1 2 \xff\n", b"inf 1 x\n"])
    def test_a_note_that_says_nothing_is_none(self, lock: Path, take: Take, content: bytes) -> None:
        lock.write_bytes(content)
        assert take(lock).seconds_since_begin(NOW) == math.inf

    def test_a_shorter_note_leaves_nothing_of_a_longer_one(self, lock: Path, take: Take) -> None:
        lead = take(lock)
        lead.begins(NOW)
        lead.begins(NOW._replace(boot="", wall=NOW.wall + 5.0))
        assert lead.seconds_since_begin(NOW._replace(wall=NOW.wall + 6.0)) == pytest.approx(1.0)


class TestTheClocks:
    def test_both_tick_together_and_are_of_one_start(self) -> None:
        first = clock.read()
        time.sleep(0.05)
        second = clock.read()
        assert second.boot == first.boot
        assert 0.05 <= second.steady - first.steady < 1.0
        assert second.wall - first.wall == pytest.approx(second.steady - first.steady, abs=0.02)
        assert clock.passed(first, second) == pytest.approx(second.steady - first.steady)

    def test_a_steady_clock_that_seems_to_run_backwards_is_another_machines(self) -> None:
        assert clock.passed(NOW, Reading(NOW.wall + 7.0, NOW.steady - 1.0, NOW.boot)) == pytest.approx(7.0)
