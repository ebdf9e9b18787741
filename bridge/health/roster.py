"""Who is there: providers that appear and vanish, and families that get lost without anybody leaving."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.health.memory import Memory
from bridge.model import Event, Signals

VANISHED_AFTER_POLLS = 3


def lost_families(memory: Memory, signals: Signals, at: float) -> dict[str, float]:
    """Families every provider had at the poll before (or that are still missing since), without a line in this one.

    Only a poll that still has circuits can have lost a family: else there is nothing to tell it from an empty gateway.
    """
    if not signals.circuits:
        return {}
    lost = {family: since for family, since in memory.lost_families.items() if family not in signals.families}
    everyone = frozenset().union(*memory.families.values())
    for family, providers in memory.families.items():
        if family not in signals.families and providers >= everyone:
            lost[family] = at
    return lost


def update(
    memory: Memory, signals: Signals, lost: Mapping[str, float], at: float
) -> tuple[dict[str, int], list[Event]]:
    """The roster after this poll (provider → good polls in a row it was absent), and who came or went.

    While a family is lost nobody's absence counts. At the very first poll nobody is said to have appeared.
    """
    present = signals.providers
    events = []
    roster: dict[str, int] = {}
    for provider, absent in memory.absences.items():
        missing = 0 if provider in present else absent + (0 if lost else 1)
        if missing >= VANISHED_AFTER_POLLS:
            reason = f"in no family of the last {VANISHED_AFTER_POLLS} polls"
            events.append(Event(at, "roster", provider, "", "present", "absent", reason))
        else:
            roster[provider] = missing
    for provider in sorted(present - roster.keys()):
        roster[provider] = 0
        if memory.at is not None:
            events.append(Event(at, "roster", provider, "", "absent", "present", "first seen in this poll"))
    return roster, events
