"""What the text of a region says of its outages: each function gives one part, empty where there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bridge.model import Key
from bridge.queries.outages import Outage, Outages, provider
from bridge.queries.regions import Spanning, merge
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View, clock, duration

MODELS_NAMED = 10


def which(region: Outages) -> str:
    """How many outages of which models, where it is not one alone."""
    if len(region.items) == 1:
        return ""
    circuits = {one.key for one in region.items}
    models = f" of {len(circuits):,} circuits: {_listed(map(_model, circuits))}" if len(circuits) > 1 else ""
    return f"{len(region.items):,} outages{models}"


def since(whole: Spanning, drawn_from: float, window: TimeRange) -> str:
    """When it began, if that was before the range; the day too, if it is drawn on another one (UTC)."""
    if whole.start >= window.start:
        return ""
    day, time, zone = clock(whole.start).split()
    at = f"{time[:5]} {zone}"
    return f"since {at}" if clock(drawn_from).startswith(day) else f"since {day} {at}"


def lasted(region: Outages, whole: Outage, word: str, window: TimeRange, view: View) -> str:
    """For how long it lasted, or lasts, and how it ended."""
    out = merge(region.items, provider)
    seconds = sum(one.end - one.start for one in out)
    length = duration(seconds) + (" in all" if len(out) > 1 else "")
    if whole.uncertain:
        length = f"at least {length} ({whole.uncertain})"
    if not whole.over:
        return f"{word} for {length}" + (", so far" if window.end == view.now else ", and on after this range")
    if seconds == 0 and not whole.uncertain:
        return f"{word} only between two polls"
    return f"{word} for {length}; {whole.ending}"


def tried(region: Outages, whole: Outage) -> str:
    """How often circuits opened and were tried again, if any was tried or opened again within an outage."""
    if not whole.tried and whole.opened <= len(region.items):
        return ""
    counted = "" if all(one.first_event == one.start for one in region.items) else "at least "
    return f"opened {counted}{_times(max(1, whole.opened))}, tried again {_times(whole.tried)}"


def reached(circuits: Sequence[Key], opened: int, known: int) -> str:
    """Whether it was one model or all of them, where the title does not say so.

    ``opened`` of the provider's ``known`` circuits were open at the worst moment.
    """
    key = circuits[0]
    if len(circuits) == 1 and not key.model:
        return "this breaker is the whole provider's"
    if len(circuits) == known == 1:
        return f"{key.provider} has no other circuit"
    if len(circuits) == opened > 1:
        return ""
    return f"{opened} of {known} circuits of {key.provider} open at worst"


def present(region: Outages) -> str:
    """Which circuits still are not closed."""
    return _listed(f"{_model(one.key)} still {one.present}" for one in region.items if not one.over)


def unseen(whole: Outage, window: TimeRange, view: View) -> str:
    """That nobody knows whether it still lasts, where the data is too old to say."""
    snapshot = view.snapshot
    if whole.over or snapshot is None or window.end - snapshot.at <= view.stale_after_seconds:
        return ""
    return f"not known since {clock(snapshot.at)}, the last good poll"


def joined(said: Iterable[str]) -> str:
    """The parts as one text."""
    return "; ".join(part for part in said if part)


def _model(key: Key) -> str:
    return key.model or "the whole provider's"


def _listed(names: Iterable[str]) -> str:
    told = sorted(names)
    more = f" and {len(told) - MODELS_NAMED:,} more" if len(told) > MODELS_NAMED else ""
    return ", ".join(told[:MODELS_NAMED]) + more


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
