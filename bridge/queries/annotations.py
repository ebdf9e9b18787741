"""Annotations: what happened in a range, as Grafana draws it over a panel.

Regions are outages: a circuit from its opening to its closing (tried and opened again in between is one outage), the
gateway from the first failed poll to the next good one. Points are changes of status, and providers that appear or
vanish. All of it comes from the recorded events, so every worker says the same, and the same again for the same range.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby

from bridge.history.store import Store
from bridge.model import Event, Key
from bridge.queries.outages import OUT, Outage, Reach, outages
from bridge.queries.selection import Selection
from bridge.queries.targets import Known, Matcher, nothing
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View, clock, duration

MAX_EVENTS = 1_000
"""Of more the newest are shown, and one event that says how many are not."""
CROWDED_EVENTS = 300
OUTAGES_A_DAY = 100
OUTAGES_A_DAY_WHEN_CROWDED = 20
"""Outages of one circuit on one day (UTC) that are still drawn one by one."""
DAY_SECONDS = 86_400.0

_GATEWAY = Key("")
_COLOURS = {
    "OPEN": "alerting",
    "HALF_OPEN": "pending",
    "healthy": "ok",
    "degraded": "pending",
    "down": "alerting",
    "present": "ok",
}
"""Grafana's words for red, yellow and green; whatever is not here is ``no_data``, grey."""
_ROSTER_TITLES = {"present": "appeared", "absent": "vanished"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One event on a panel. Times are epoch seconds; a point ends when it starts. Texts are plain: not escaped yet."""

    id: str
    """Names this event alone, and the same in every request."""
    start: float
    end: float
    title: str
    text: str
    tags: tuple[str, ...]
    new_state: str
    """``alerting``, ``ok``, ``pending`` or ``no_data``: Grafana colours by it."""


def annotate(
    query: str,
    span: TimeRange,
    view: View,
    store: Store,
    *,
    kept_since: float,
    filters: Sequence[Matcher] = (),
    known: Known = nothing,
) -> list[Annotation]:
    """Everything the query picks that overlaps the range, and nothing else; by the time it began.

    An outage that lasts ends at the end of the range, or now if that is earlier. ``kept_since`` is the time before
    which events may have been pruned: an outage whose beginning is no longer recorded is drawn from then at most.
    ``filters`` narrow what the query picks; one on a label that an event lacks is not asked. ``known`` gives the texts
    that exist of a label. Raises TargetError for a query that cannot be read.
    """
    selection = Selection(query, filters, known)
    if span.start > view.now:
        return []
    scene = _Scene(selection, TimeRange(span.start, min(span.end, view.now)), view, store, kept_since)
    points = _changes(scene)
    drawn = [*points, *_gateway_outages(scene), *_circuit_outages(scene, others=len(points))]
    drawn.sort(key=lambda one: (one.end, one.start))
    left_out, kept = drawn[:-MAX_EVENTS], drawn[-MAX_EVENTS:]
    found = [one.build() for one in kept]
    if left_out:
        found.append(_left_out(len(left_out), max(span.start, left_out[-1].end)))
    return sorted(found, key=lambda one: (one.start, one.end, one.tags))


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all of one request's annotations are made from. ``window`` is the range up to now."""

    selection: Selection
    window: TimeRange
    view: View
    store: Store
    kept_since: float


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An annotation to be: its texts are put together only if it is among those that are shown."""

    start: float
    end: float
    build: Callable[[], Annotation]


def _gateway_outages(scene: _Scene) -> list[_Drawn]:
    """The gateway's outages. They are every provider's, so a selector on providers is not asked."""
    if "gateway" not in scene.selection.kinds:
        return []
    events = scene.store.events_from_outages(scene.window.start, scene.window.end, "gateway", OUT)
    latest = scene.view.latest
    failing_since = latest.failing_since if latest else None
    if latest and failing_since is not None and failing_since <= scene.window.end and not _lasts(events):
        events.append(Event(failing_since, "gateway", "", "", "up", "down", latest.poll.message))
    began = math.inf if failing_since is None else failing_since
    found = outages(_GATEWAY, events, scene.window, scene.kept_since, began)
    return [_Drawn(one.start, one.end, partial(_gateway_region, one, scene)) for one in found]


def _lasts(events: Sequence[Event]) -> bool:
    return bool(events) and events[-1].after in OUT


def _circuit_outages(scene: _Scene, *, others: int) -> list[_Drawn]:
    """Circuits that were open; one region for a day on which one opened very often. ``others`` stand beside them."""
    if "circuit" not in scene.selection.kinds:
        return []
    by_circuit: dict[Key, list[Event]] = {}
    for event in scene.store.events_from_outages(scene.window.start, scene.window.end, "circuit", OUT):
        by_circuit.setdefault(Key(event.provider, event.model), []).append(event)
    snapshot = scene.view.snapshot
    opened = {circuit.key: circuit.first_opened for circuit in snapshot.circuits} if snapshot else {}
    found = [
        outages(key, events, scene.window, scene.kept_since, opened.get(key) or math.inf)
        for key, events in by_circuit.items()
        if scene.selection.takes("circuit", key)
    ]
    crowded = others + sum(map(len, found)) > CROWDED_EVENTS
    most = OUTAGES_A_DAY_WHEN_CROWDED if crowded else OUTAGES_A_DAY
    reach = Reach(by_circuit)
    drawn: list[_Drawn] = []
    for of_circuit in found:
        for day, those in groupby(of_circuit, key=lambda one: one.start // DAY_SECONDS):
            of_day = list(those)
            if len(of_day) > most:
                build = partial(_flapping_region, of_day, int(day), scene, reach)
                drawn.append(_Drawn(of_day[0].start, of_day[-1].end, build))
            else:
                drawn.extend(_Drawn(one.start, one.end, partial(_circuit_region, one, scene, reach)) for one in of_day)
    return drawn


def _changes(scene: _Scene) -> list[_Drawn]:
    """Changes of status, and providers that came or went."""
    kinds = sorted(scene.selection.kinds & {"status", "roster"})
    if not kinds:
        return []
    takes = cache(scene.selection.takes)
    return [
        _Drawn(event.at, event.at, partial(_change, event))
        for event in scene.store.events(scene.window.start, scene.window.end, kinds)
        if takes(event.kind, Key(event.provider))
    ]


def _circuit_region(outage: Outage, scene: _Scene, reach: Reach) -> Annotation:
    key, state = outage.key, outage.state
    again = outage.tried or outage.opened > 1
    counted = "" if outage.first_event == outage.start else "at least "
    said = [
        outage.reason,
        _lasted(outage, "open", scene.window, scene.view),
        f"opened {counted}{_times(max(1, outage.opened))}, tried again {_times(outage.tried)}" if again else "",
        reach.told(key, outage.start, outage.end),
        _unseen(outage, scene),
    ]
    return Annotation(
        id=_name("circuit", key, outage.first_event),
        start=outage.start,
        end=outage.end,
        title=f"{key}: circuit {state}",
        text=_joined(said),
        tags=_tags("circuit", key, state),
        new_state=_COLOURS[state],
    )


def _flapping_region(of_day: Sequence[Outage], day: int, scene: _Scene, reach: Reach) -> Annotation:
    first, last = of_day[0], of_day[-1]
    opened = sum(max(1, one.opened) for one in of_day)
    said = [
        f"opened {_times(opened)} from {clock(first.start)} to {clock(last.start)}",
        f"open for {duration(sum(one.end - one.start for one in of_day))} in all",
        "closed in the end" if last.over else f"{last.state} in the end",
        last.reason and f"the last time: {last.reason}",
        reach.told(last.key, first.start, last.end),
        _unseen(last, scene),
    ]
    state = last.state if not last.over else "OPEN"
    return Annotation(
        id=_name("circuit", last.key, "day", day),
        start=first.start,
        end=last.end,
        title=f"{last.key}: circuit opened {_times(opened)}",
        text=_joined(said),
        tags=_tags("circuit", last.key, state),
        new_state=_COLOURS[state],
    )


def _gateway_region(outage: Outage, scene: _Scene) -> Annotation:
    return Annotation(
        id=_name("gateway", outage.key, outage.first_event),
        start=outage.start,
        end=outage.end,
        title="gateway outage",
        text=_joined([outage.reason, _lasted(outage, "out", scene.window, scene.view)]),
        tags=_tags("gateway", outage.key, "down"),
        new_state="no_data",
    )


def _change(event: Event) -> Annotation:
    key = Key(event.provider)
    roster = event.kind == "roster"
    return Annotation(
        id=_name(event.kind, key, event.at, event.after),
        start=event.at,
        end=event.at,
        title=f"{key} {_ROSTER_TITLES[event.after]}" if roster else f"{key}: {event.before} → {event.after}",
        text=event.reason,
        tags=_tags(event.kind, key, event.after),
        new_state=_COLOURS.get(event.after, "no_data"),
    )


def _left_out(count: int, at: float) -> Annotation:
    return Annotation(
        id=_name("left out", _GATEWAY),
        start=at,
        end=at,
        title="1 earlier event is not shown" if count == 1 else f"{count:,} earlier events are not shown",
        text=f'at most {MAX_EVENTS:,} events are: ask for a shorter range or for less, as circuit{{provider="openai"}}',
        tags=("left out",),
        new_state="no_data",
    )


def _lasted(outage: Outage, word: str, window: TimeRange, view: View) -> str:
    """For how long it lasted, or lasts, and how it ended."""
    length = duration(outage.end - outage.start)
    if outage.uncertain:
        length = f"at least {length} ({outage.uncertain})"
    if not outage.over:
        return f"{word} for {length}" + (", so far" if window.end == view.now else ", and on after this range")
    if outage.end == outage.start and not outage.uncertain:
        return f"{word} only between two polls"
    return f"{word} for {length}; {outage.ending}"


def _unseen(outage: Outage, scene: _Scene) -> str:
    """That nobody knows whether it still lasts, where the data is too old to say."""
    snapshot = scene.view.snapshot
    if outage.over or snapshot is None or scene.window.end - snapshot.at <= scene.view.stale_after_seconds:
        return ""
    return f"not known since {clock(snapshot.at)}, the last good poll"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _joined(said: Iterable[str]) -> str:
    return "; ".join(part for part in said if part)


def _tags(kind: str, key: Key, state: str) -> tuple[str, ...]:
    return tuple(tag for tag in (kind, key.provider, key.model, state) if tag)


def _name(kind: str, key: Key, *which: object) -> str:
    told = "\0".join([kind, *key, *map(repr, which)])
    return hashlib.blake2b(told.encode(errors="surrogatepass"), digest_size=12).hexdigest()
