"""Incidents as they are told: which there were in a range, in what order, and each in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bridge.history.store import Store
from bridge.model import FLEET, Incident
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View, clock, duration

NAMES_TOLD = 5
"""Of models or providers; the others are counted."""
THE_FLEET = "the fleet"
"""What stands in the place of a provider's name."""


def found(view: View, store: Store, span: TimeRange) -> list[Incident]:
    """The incidents that overlap a range, by the time they began."""
    rows = {(one.provider, one.start.steady): one for one in store.incidents(span.start, span.end)}
    if view.latest is not None and view.latest.unwritten and view.snapshot is not None:
        lasting = (one for one in view.snapshot.incidents if one.start.at <= span.end)
        rows |= {(one.provider, one.start.steady): one for one in lasting}  # the log does not hold them as they are
    return sorted(rows.values(), key=lambda one: (one.start.at, one.provider))


def newest_first(incidents: Sequence[Incident]) -> list[Incident]:
    """The same, newest first; the parts of a fleet incident stand under it."""
    fleets = {one.start.steady for one in incidents if one.provider == FLEET}
    parts: dict[float, list[Incident]] = {}
    for one in incidents:
        if one.fleet in fleets:
            parts.setdefault(one.fleet or 0.0, []).append(one)
    ordered = []
    for one in reversed(incidents):
        if one.provider == FLEET:
            ordered += [one, *parts.get(one.start.steady, ())]
        elif one.fleet not in fleets:
            ordered.append(one)
    return ordered


def of_their_own(incidents: Sequence[Incident]) -> list[Incident]:
    """The same without the parts of fleet incidents that do not outlast them: who tells of these, tells of those."""
    ends = {one.start.steady: _end(one) for one in incidents if one.provider == FLEET}
    return [one for one in incidents if one.fleet not in ends or _end(one) > ends[one.fleet or 0.0]]


def _end(it: Incident) -> float:
    return math.inf if it.end is None else it.end.at


def most_urgent_first(incidents: Sequence[Incident]) -> list[Incident]:
    """Those of their own: what lasts first, the worst and longest of it; then what is over, the latest first."""

    def order(it: Incident) -> tuple[int, float, float, str]:
        if it.end is None:
            return 0, -float(it.peak), -it.bad_seconds, it.provider
        return 1 + it.over, -it.end.at, 0.0, it.provider

    return sorted(of_their_own(incidents), key=order)


def name(it: Incident) -> str:
    """Whose it is."""
    return it.provider or THE_FLEET


def phase(view: View, it: Incident) -> str:
    """Its phase; that it is not known, where the data is too old to say."""
    return "not known" if view.stale and not it.over else it.phase


def bad_for(view: View, it: Incident) -> float:
    """For how many seconds it was seen bad, in all; up to now, where it still is."""
    snapshot = view.snapshot
    goes_on = snapshot is not None and not view.stale and it.last_bad.at == snapshot.at
    return it.bad_seconds + (max(0.0, view.now - it.last_bad.at) if goes_on else 0.0)


def reach(it: Incident) -> str:
    """Which models it affected, or which providers: ``one model of 4: gpt-4o``; empty where that is not known."""
    if not it.reached:
        return ""
    more = f" and {it.reached - NAMES_TOLD} more" if it.reached > NAMES_TOLD else ""
    names = ", ".join(it.affected[:NAMES_TOLD]) + more
    if it.provider == FLEET:
        return f"{it.reached} of {it.among} providers: {names}"
    if it.reached == it.among:
        return f"all {it.among} models: {names}" if it.among > 1 else f"its only model, {names}"
    among = f"one model of {it.among}" if it.reached == 1 else f"{it.reached} of {it.among} models"
    return f"{among}: {names}"


def cost(it: Incident) -> str:
    """What it cost: ``412 of 1,030 requests failed``; empty where that is not counted, or there were none."""
    return f"{it.failed:,.0f} of {it.requests:,.0f} requests failed" if it.requests and it.failed is not None else ""


def recurring(it: Incident) -> str:
    """That it is not the first of its kind; empty where it is no more than the second within 24 h."""
    if not it.recurring:
        return ""
    ending = "th" if it.number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(it.number % 10, "th")
    return f"recurring: the {it.number}{ending} within 24 h"


def part_of(it: Incident) -> str:
    """That it belongs to an incident of the fleet."""
    return "" if it.fleet is None else "part of a fleet incident"


def course(view: View, it: Incident) -> str:
    """How it went, or goes: ``ongoing for 46s, too early to say``; ``blip, 2m15s, over 1m41s ago``."""
    length = duration(bad_for(view, it))
    if phase(view, it) == "not known":
        return f"{it.kind}, {length}, not known since {clock(view.snapshot.at) if view.snapshot else 'ever'}"
    if it.end is None:
        return f"ongoing for {length}, {it.kind}"
    ended = f"{duration(view.now - it.end.at)} ago"
    if not it.over:
        return f"recovering, {it.kind}, {length}, healthy since {ended}"
    return f"{it.kind}, {length}, {'lost sight of' if it.lost else 'over'} {ended}"


def what(it: Incident) -> str:
    """What it was, or is: its cause, how far it reached, and what it cost."""
    return "; ".join(filter(None, (it.cause, reach(it), cost(it), recurring(it), part_of(it))))


def told(view: View, it: Incident) -> str:
    """All of it in one line, but for its name."""
    return f"{course(view, it)}; {it.peak.word}: {what(it)}"
