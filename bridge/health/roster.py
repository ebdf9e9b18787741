"""Who is there: providers that appear and vanish, and families that get lost without anybody leaving."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.health.memory import Memory
from bridge.model import VANISHED_AFTER_POLLS, Event, Signals

MAX_PROVIDERS = 1_000
"""Of more than this many, those that have been absent for longest are gone at once."""


def lost_families(memory: Memory, signals: Signals, steady: float, expires_seconds: float) -> dict[str, float]:
    """Families every provider had at the poll before (or that are still missing since), without a line in this one.

    Only a poll that still has circuits can have lost a family: else there is nothing to tell it from an empty gateway.
    One that has been missing for ``expires_seconds`` is no longer expected: a release of the gateway dropped it.
    """
    if not signals.circuits:
        return {}
    lost = {
        family: since
        for family, since in memory.lost_families.items()
        if family not in signals.families and steady - since < expires_seconds
    }
    everyone = frozenset().union(*memory.families.values())
    for family, providers in memory.families.items():
        if family not in signals.families and providers >= everyone:
            lost[family] = steady
    return lost


def update(
    memory: Memory, signals: Signals, lost: Mapping[str, float], at: float
) -> tuple[dict[str, int], list[Event]]:
    """The roster after this poll (provider → good polls in a row it was absent), and which came or went.

    While a family is lost no provider's absence counts. At the very first poll none is said to have appeared.
    """
    present = signals.providers
    events = []
    roster: dict[str, int] = {}
    more = 0 if lost else 1
    absent = {provider: count + more for provider, count in memory.absences.items() if provider not in present}
    leaving = {provider for provider, count in absent.items() if count >= VANISHED_AFTER_POLLS}
    over = len(present) + len(absent) - len(leaving) - MAX_PROVIDERS
    if over > 0:
        staying = [provider for provider in absent if provider not in leaving]  # in the order of their appearance
        leaving.update(sorted(staying, key=lambda provider: -absent[provider])[:over])
    for provider in memory.absences:
        if provider in leaving:
            reason = f"in no family of the last {max(1, absent[provider])} polls"
            events.append(Event(at, "roster", provider, "", "present", "absent", reason))
        else:
            roster[provider] = absent.get(provider, 0)
    for provider in sorted(present - roster.keys()):
        roster[provider] = 0
        if memory.moment is not None:
            events.append(Event(at, "roster", provider, "", "absent", "present", "first seen in this poll"))
    return roster, events
