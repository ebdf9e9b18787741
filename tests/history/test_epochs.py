"""Polls that a wrong clock dated do not count; no other poll is lost by it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from bridge.history.blocks import BLOCK_POLLS
from bridge.history.epochs import Epoch, cutoffs
from bridge.history.store import Store
from bridge.model import Event, Moment, Poll
from tests.history.snapshots import INTERVAL, T0, memory_of, snapshot, verdict

DAY = 86_400.0


class Dated(NamedTuple):
    """A poll, as the wall clock dated it."""

    epoch: int
    at: float
    steady: float


def dated(jumps: Sequence[tuple[int, float]]) -> list[Dated]:
    """Polls one interval apart: so many while the clock is this far off."""
    offs = [(epoch, off) for epoch, (polls, off) in enumerate(jumps) for _ in range(polls)]
    return [Dated(epoch, T0 + off + INTERVAL * n, INTERVAL * n) for n, (epoch, off) in enumerate(offs)]


def epochs_of(polls: Iterable[Dated]) -> list[Epoch]:
    by_id: dict[int, list[Dated]] = {}
    for poll in polls:
        by_id.setdefault(poll.epoch, []).append(poll)
    return [
        Epoch(id_, some[0].at, some[0].steady, some[-1].at - some[-1].steady, some[-1].steady)
        for id_, some in by_id.items()
    ]


def reference(polls: Sequence[Dated], offs: Sequence[float]) -> list[Dated]:
    """Those that count, poll by poll: the newest clock is the truth, and what came between two times of it is not."""
    left: list[int] = []
    rest = list(range(len(offs)))
    while rest:
        newest = rest.pop()
        left.append(newest)
        if offs[newest] in (offs[epoch] for epoch in rest):
            while offs[rest[-1]] != offs[newest]:
                rest.pop()
    kept = [poll for poll in polls if poll.epoch in left]
    return [one for one in kept if all(one.at < other.at for other in kept if other.epoch > one.epoch)]


@pytest.mark.parametrize("seed", range(200))
def test_what_counts_after_any_jumps_of_the_clock_is_what_plain_reckoning_says(seed: int) -> None:
    chance = random.Random(seed)
    offs = [chance.choice([0.0, -3600.0, 400 * DAY, 100.0, -20.0, -7.5 * DAY]) for _ in range(chance.randint(1, 8))]
    offs = [off for n, off in enumerate(offs) if n == 0 or off != offs[n - 1]]
    polls = dated([(chance.randint(1, 9), off) for off in offs])
    until = cutoffs(epochs_of(polls))
    counted = [poll for poll in polls if poll.at < until[poll.epoch]]
    assert counted == reference(polls, offs)
    assert all(one.at < other.at for one, other in itertools.pairwise(counted))
    assert [poll for poll in counted if poll.epoch == polls[-1].epoch]


def test_a_clock_that_drifts_while_another_one_is_wrong_is_known_again() -> None:
    day_later = T0 + DAY + 40.0  # 463 ppm
    epochs = [
        Epoch(0, T0, 0.0, T0, 100.0),
        Epoch(1, T0 + 1e6, 200.0, T0 + 1e6, 300.0),
        Epoch(2, day_later, DAY, T0 + 40.0, DAY),
    ]
    assert cutoffs(epochs) == {0: day_later, 1: -float("inf"), 2: float("inf")}
    assert cutoffs([*epochs[:2], epochs[2]._replace(first_at=day_later + 10.0)])[1] > 0, "550 ppm is another clock"


class Life:
    """A log that is written while its clock is set back and forth."""

    def __init__(self, folder: Path, retention_seconds: float = 7 * DAY) -> None:
        self.store = Store(folder, retention_seconds=retention_seconds)
        self.polls: list[Dated] = []

    def live(self, *jumps: tuple[int, float]) -> None:
        for poll in dated(jumps):
            one = snapshot(poll.at, [verdict("openai", health_score=poll.steady)])
            event = Event(poll.at, "status", "openai", "", "healthy", "down", str(poll.steady))
            self.store.append(
                Poll(poll.at, INTERVAL, "ok", "", 0.1, steady=poll.steady, epoch=poll.epoch),
                failing_since=None,
                events=[event],
                snapshot=one,
                memory=memory_of(one),
            )
            self.store.maintain(Moment(poll.at, poll.steady))
            self.polls.append(poll)

    def counted(self) -> list[float]:
        columns = self.store.columns(0, 1e12)
        _, scores = columns.of_providers("provider_health_score")
        assert (columns.times[1:] > columns.times[:-1]).all()
        return [float(score) for score in scores[columns.good, 0]]


@pytest.mark.parametrize("wrong", [400 * DAY, -400 * DAY, 3600.0, -3600.0])
@pytest.mark.parametrize("polls", [1, 3 * BLOCK_POLLS])
def test_a_clock_that_was_wrong_for_a_while_costs_the_polls_it_dated_and_nothing_else(
    tmp_path: Path, wrong: float, polls: int
) -> None:
    life = Life(tmp_path)
    life.live((600, 0.0), (polls, wrong), (100, 0.0))
    right = [poll.steady for poll in life.polls if poll.epoch != 1]
    assert life.counted() == right
    assert life.store.set_apart() == polls
    assert [float(event.reason) for event in life.store.events(0, 1e12)] == right
    reopened = Store(tmp_path, retention_seconds=7 * DAY)
    assert reopened.columns(0, 1e12).good.sum() == len(right), "a new worker answers the same"
    assert [epoch.id for epoch in reopened.epochs()] == [0, 1, 2]
    reopened.close()
    life.store.close()


def test_while_the_clock_is_set_back_the_newest_polls_count_and_what_is_from_the_future_does_not(
    tmp_path: Path,
) -> None:
    life = Life(tmp_path)
    life.live((1_000, 0.0), (10, -100 * INTERVAL))
    assert life.counted() == [poll.steady for poll in life.polls if not 900 <= poll.steady / INTERVAL < 1_000]
    assert life.store.set_apart() == 100
    life.store.close()


def test_a_block_is_of_one_epoch(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.live((100, 0.0), (100, 3600.0), (600, 7200.0))
    rows = life.store.database.connection().execute("SELECT epoch, polls FROM blocks ORDER BY id").fetchall()
    assert rows[:2] == [(0, 100), (1, 100)]
    assert life.counted() == [poll.steady for poll in life.polls]
    life.store.close()


@pytest.mark.parametrize("jump", [10.0, -10.0])
def test_a_clock_that_jumps_with_every_poll_for_a_day_takes_no_poll_long(jump: float) -> None:
    epochs = epochs_of(dated([(1, jump * n) for n in range(5_760)]))
    began = time.thread_time()
    found = cutoffs(epochs)
    assert time.thread_time() - began < 1.0
    assert [found[n] for n in (0, 100, 5_759)] == [
        min((e.first_at for e in epochs[n + 1 :]), default=float("inf")) for n in (0, 100, 5_759)
    ]


DOWN, UP = ("up", "down"), ("down", "up")


class Events:
    """A log of failed polls that tell of one thing, and how it comes out."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder, retention_seconds=7 * DAY)
        self.steady = 0.0
        self.epoch = 0

    def live(self, off: float, *changes: tuple[str, str] | None) -> None:
        """One epoch; a change of the gateway's state with each poll, or none."""
        for change in changes:
            at = T0 + self.steady + off
            events = [Event(at, "gateway", "", "", *change, "because")] if change else []
            poll = Poll(at, INTERVAL, "timeout", "", 0.1, steady=self.steady, epoch=self.epoch)
            self.store.append(poll, failing_since=None, events=events)
            self.steady += INTERVAL
        self.epoch += 1

    def told(self) -> list[tuple[float, str, str]]:
        """What counts, with its date in intervals since the beginning."""
        events = self.store.events(0, 1e12)
        self.store.close()
        return [((event.at - T0) / INTERVAL, event.before, event.after) for event in events]


class TestWhatStillHoldsWhenTheClockIsRightAgainIsTold:
    def test_an_outage_that_goes_on_is_dated_by_the_clock_that_is_right(self, tmp_path: Path) -> None:
        log = Events(tmp_path)
        log.live(0.0, None, None)
        log.live(DAY, None, DOWN)
        log.live(0.0, None, None)
        assert log.told() == [(3.0, *DOWN)]

    def test_its_end_is_that_of_the_outage_also_where_it_comes_with_the_first_poll(self, tmp_path: Path) -> None:
        log = Events(tmp_path)
        log.live(0.0, DOWN, UP, None)
        log.live(DAY, DOWN)
        log.live(0.0, UP)
        assert log.told() == [(0.0, *DOWN), (1.0, *UP), (3.0, *DOWN), (4.0, *UP)]

    def test_an_outage_that_ended_meanwhile_is_over(self, tmp_path: Path) -> None:
        log = Events(tmp_path)
        log.live(0.0, None, DOWN)
        log.live(DAY, None, UP)
        log.live(0.0, None)
        assert log.told() == [(1.0, *DOWN), (3.0, *UP)]

    def test_what_began_and_ended_meanwhile_is_not(self, tmp_path: Path) -> None:
        log = Events(tmp_path)
        log.live(0.0, None)
        log.live(DAY, DOWN, UP)
        log.live(0.0, None)
        assert log.told() == []

    def test_under_a_clock_that_is_set_back_for_good_it_is_dated_after_all_polls_that_count(
        self, tmp_path: Path
    ) -> None:
        log = Events(tmp_path)
        log.live(0.0, *[None] * 10, DOWN, None)
        log.live(-4 * INTERVAL, None)
        [(at, *change)] = log.told()
        assert tuple(change) == DOWN
        assert 7.0 < at <= 8.0
