"""Outages: what the events of a circuit, or of the gateway, come to when they are read one after another."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.model import Event, Key
from bridge.queries.regions import Region
from bridge.queries.timerange import TimeRange

OUT = frozenset({"OPEN", "HALF_OPEN", "down"})
"""The states an outage consists of: a circuit's, and the gateway's."""
_ENDINGS = {"CLOSED": "closed", "": "gone", "up": "back"}


REASONS_TOLD = 3
"""Of several outages as one."""


@dataclass(slots=True)
class Outage:
    """A circuit that was not closed, or the gateway that was down, from ``start`` to ``end`` (epoch seconds)."""

    key: Key
    start: float
    first_event: float
    """When its first recorded event was. No other outage of its circuit has one then."""
    uncertain: str
    """Why it may have begun before ``start``; empty where it did not."""
    reason: str
    """Why it began; empty where that is no longer recorded."""
    end: float
    present: str
    """The state it is in, or was in last."""
    was_open: bool = False
    over: bool = False
    ending: str = ""
    opened: int = 0
    tried: int = 0

    @property
    def state(self) -> str:
        """The state it is drawn with: the present one while it lasts, then the worst it was seen in."""
        return self.present if not self.over or not self.was_open else "OPEN"

    def take(self, event: Event) -> None:
        """Go on with its next event."""
        self.end = event.at
        self.over = event.after not in OUT
        self.ending = f"{_ENDINGS[event.after]}: {event.reason}" if self.over else ""
        self.was_open |= "OPEN" in (event.before, event.after)
        if not self.over:
            self.present = event.after
            self.opened += event.after != "HALF_OPEN"
            self.tried += event.after == "HALF_OPEN"


Outages = Region[Outage, str]
"""Outages of one provider, or of the gateway, that are drawn as one."""


class Keyed(Protocol):
    """What belongs to a circuit, a provider or the gateway."""

    @property
    def key(self) -> Key:
        """Whose it is."""


def provider(one: Keyed) -> str:
    """Whose it is; empty for the gateway's, and the fleet's."""
    return one.key.provider


def outages(key: Key, events: Sequence[Event], window: TimeRange, kept_since: float, began: float) -> list[Outage]:
    """The outages that one circuit's events (oldest first, none after the window) tell of; no two of them touch.

    ``began`` is when the present outage began, as far as that is known otherwise, else infinite. An outage that
    lasts ends with the window. Where an outage is over and the next begins in the same poll, it was never seen over:
    they are one.
    """
    found: list[Outage] = []
    for event in events:
        if found and not found[-1].over and event.before not in OUT:
            # Its closing was not written down, so it ends where it was last known to last.
            found[-1].over, found[-1].ending = True, "its end is not recorded"
        if event is events[0] and event.before in OUT:
            known = began <= event.at
            start = began if known else min(event.at, max(window.start, kept_since))
            reason = event.reason if event.after in ("OPEN", "down") else ""
            uncertain = "" if known else "it began before what is still recorded"
            found.append(Outage(key, start, event.at, uncertain, reason, event.at, event.before))
        elif event.after in OUT and (not found or (found[-1].over and found[-1].end < event.at)):
            uncertain = "" if event.before else "it was so at first sight"
            found.append(Outage(key, event.at, event.at, uncertain, event.reason, event.at, event.after))
        if found and (event.after in OUT or not found[-1].over):
            found[-1].take(event)
    if found and not found[-1].over:
        found[-1].end = window.end
    return [one for one in found if one.end >= window.start]


def together(several: Sequence[Outage]) -> Outage:
    """Several outages of a provider (at least one), or of the gateway, as one; of their circuit, if it is the same.

    Whether it was out at every moment between ``start`` and ``end`` is not said.
    """
    if len(several) == 1:
        return several[0]
    keys = {one.key for one in several}
    lasting = [one for one in several if not one.over]
    last = max(lasting or several, key=lambda one: (one.end, one.present == "OPEN", one.key))
    reasons = list(dict.fromkeys(one.reason for one in several if one.reason))
    more = f" and {len(reasons) - REASONS_TOLD} more reasons" if len(reasons) > REASONS_TOLD else ""
    return Outage(
        key=several[0].key if len(keys) == 1 else Key(several[0].key.provider),
        start=min(one.start for one in several),
        first_event=min(one.first_event for one in several),
        uncertain=next((one.uncertain for one in several if one.uncertain), ""),
        reason="; ".join(reasons[:REASONS_TOLD]) + more,
        end=last.end,
        present=last.present,
        was_open=any(one.was_open for one in several),
        over=last.over,
        ending=last.ending,
        opened=sum(max(1, one.opened) for one in several),
        tried=sum(one.tried for one in several),
    )


class Reach:
    """How many of its provider's circuits were out at once: whether it was one model, or all of them."""

    def __init__(self, by_circuit: Mapping[Key, Sequence[Event]]) -> None:
        self._by_circuit = by_circuit
        self._circuits: dict[str, list[Key]] = {}
        for key in by_circuit:
            self._circuits.setdefault(key.provider, []).append(key)
        self._counts: dict[str, tuple[list[float], NDArray[np.int64], NDArray[np.int64]]] = {}

    def worst(self, provider: str, start: float, end: float) -> tuple[int, int]:
        """How many were out, of how many there were, at the worst moment from ``start`` to ``end``."""
        if provider not in self._counts:
            self._counts[provider] = self._count(provider)
        times, out, known = self._counts[provider]
        first = bisect_right(times, start) - 1
        worst = first + int(np.argmax(out[first : max(first + 1, bisect_left(times, end))]))
        open_circuits = max(1, int(out[worst]))
        return open_circuits, max(open_circuits, int(known[worst]))

    def _count(self, provider: str) -> tuple[list[float], NDArray[np.int64], NDArray[np.int64]]:
        """Times, and from each on how many circuits of the provider were out, and how many there were."""
        histories = {key: self._by_circuit[key] for key in self._circuits[provider]}
        states = {key: history[0].before for key, history in histories.items() if history[0].before}
        out_now = sum(state in OUT for state in states.values())
        times, out, known = [-math.inf], [out_now], [len(states)]
        for event in sorted(chain.from_iterable(histories.values()), key=lambda event: event.at):
            key = Key(event.provider, event.model)
            out_now += (event.after in OUT) - (states.get(key) in OUT)
            states[key] = event.after
            if not event.after:
                del states[key]
            if event.at > times[-1]:
                times.append(event.at)
                out.append(0)
                known.append(0)
            out[-1], known[-1] = out_now, len(states)
        return times, np.array(out), np.array(known)
