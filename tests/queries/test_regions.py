"""Merging items into regions: for any items, and a few that show how."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from bridge.queries.regions import Region, merge


class Item(NamedTuple):
    start: float
    end: float
    key: str


def item(start: int, lasts: int, key: str) -> Item:
    return Item(float(start), float(start + lasts), key)


def of(*items: Item, gap: float = 0.0) -> list[Region[Item, str]]:
    return merge(items, lambda one: one.key, gap)


ITEMS = st.lists(st.builds(item, st.integers(0, 200), st.integers(0, 20), st.sampled_from("abc")), max_size=30)
GAPS = st.integers(0, 20).map(float)


@given(items=ITEMS, gap=GAPS)
def test_an_item_is_in_one_region_that_covers_it_and_has_its_key(items: list[Item], gap: float) -> None:
    found = of(*items, gap=gap)
    assert Counter(one for region in found for one in region.items) == Counter(items)
    for region in found:
        assert all(region.start <= one.start <= one.end <= region.end for one in region.items)
        assert {one.key for one in region.items} == {region.key}


@given(items=ITEMS, gap=GAPS)
def test_regions_of_a_key_neither_touch_nor_lie_closer_than_the_gap(items: list[Item], gap: float) -> None:
    for before, after in combinations(of(*items, gap=gap), 2):
        assert before.start <= after.start
        if before.key == after.key:
            assert after.start > before.end
            assert after.start - before.end >= gap


@given(items=ITEMS, gap=GAPS)
def test_a_region_covers_nothing_but_its_items_and_what_lies_between_close_ones(items: list[Item], gap: float) -> None:
    for region in of(*items, gap=gap):
        assert region.start == min(one.start for one in region.items)
        assert region.end == max(one.end for one in region.items)
        for first in region.items[1:]:
            earlier = [one for one in region.items if one.start < first.start]
            assert not earlier or min(first.start - one.end for one in earlier) < max(gap, 0.5)


@given(items=ITEMS, gap=GAPS, data=st.data())
def test_the_order_of_the_items_does_not_matter(items: list[Item], gap: float, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(items))

    def told(regions: list[Region[Item, str]]) -> Counter[object]:
        return Counter((one.key, one.start, one.end, *one.items) for one in regions)

    assert told(of(*shuffled, gap=gap)) == told(of(*items, gap=gap))


@given(items=ITEMS, gap=GAPS)
def test_other_keys_do_not_matter(items: list[Item], gap: float) -> None:
    alone = [region for key in "abc" for region in of(*(one for one in items if one.key == key), gap=gap)]
    assert sorted(alone, key=lambda one: (one.key, one.start)) == sorted(
        of(*items, gap=gap), key=lambda one: (one.key, one.start)
    )


def test_what_touches_is_one_and_what_lies_as_far_apart_as_the_gap_is_not() -> None:
    touching = of(item(0, 10, "a"), item(10, 5, "a"))
    assert [(one.start, one.end) for one in touching] == [(0, 15)]
    apart = of(item(0, 10, "a"), item(15, 5, "a"), item(24, 1, "a"), gap=5)
    assert [(one.start, one.end) for one in apart] == [(0, 10), (15, 25)]


def test_a_long_one_reaches_over_the_short_ones_in_it() -> None:
    assert [(one.start, one.end) for one in of(item(0, 100, "a"), item(10, 5, "a"), item(90, 20, "a"))] == [(0, 110)]
