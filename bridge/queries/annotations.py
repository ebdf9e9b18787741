"""Annotations: what happened in a range, as Grafana draws it over a panel.

Regions are incidents, and outages: a circuit from its opening to its closing (tried and opened again in between is one
outage), the gateway from the first failed poll to the next good one. Those of one provider that overlap, or lie too
close to be told apart on a panel, are one region. Points are changes of status, and providers that appear or vanish.
All of it comes from the recorded incidents and events, so every worker says the same, and the same again for the same
range.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

from bridge.history.store import Store
from bridge.model import FLEET, Event, Incident, Key
from bridge.queries import incidents
from bridge.queries import region_texts as texts
from bridge.queries.budget import Budget
from bridge.queries.outages import OUT, Outage, Outages, Reach, outages, provider, together
from bridge.queries.regions import Region, merge
from bridge.queries.selection import Selection
from bridge.queries.targets import Known, Matcher, nothing
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View

MAX_EVENTS = 1_000
"""Of more the newest are shown, and one event that says how many are not."""
GAPS_A_RANGE = 200
"""A region ends where its provider is well for this part of the range."""
MAX_REGIONS = 50
"""Where a provider has more, the gap is doubled until it has not."""
MARKERS_A_RANGE = 400
"""What began before the range is drawn from this part of it on: Grafana draws no marker on a panel's edge."""

T = TypeVar("T", Outage, "_Lasting")
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
    budget: Budget | None = None,
) -> list[Annotation]:
    """Everything the query picks that overlaps the range, and nothing else; by the time it began.

    An outage that lasts ends at the end of the range, or now if that is earlier; one that began before the range is
    placed just inside it. ``kept_since`` is the time before which events may have been pruned: an outage whose
    beginning is no longer recorded is drawn from then at most.
    ``filters`` narrow what the query picks; one on a label that an event lacks is not asked. ``known`` gives the texts
    that exist of a label. Of more events than ``budget`` has room for the newest are looked at, and it is told.
    Raises TargetError for a query that cannot be read, BusyError where others are at work for too long.
    """
    budget = budget or Budget()
    selection = Selection(query, filters, known)
    if span.start > view.now:
        return []
    end = min(span.end, view.now)
    budget.begin()
    most = budget.limits.events
    window = TimeRange(store.events_reach(span.start, end, most, sorted(selection.kinds)), end)
    scene = _Scene(selection, window, span.end - span.start, view, store, kept_since, most)
    drawn = [*_incidents(scene), *_changes(scene), *_gateway_outages(scene), *_circuit_outages(scene)]
    drawn.sort(key=lambda one: (one.end, one.start))
    left_out, kept = drawn[:-MAX_EVENTS], drawn[-MAX_EVENTS:]
    found = [one.build() for one in kept]
    if left_out:
        found.append(_left_out(len(left_out), max(window.start, left_out[-1].end)))
    elif window.start > span.start:
        found.append(_earlier(window.start))
    return sorted(found, key=lambda one: (one.start, one.end, one.tags))


@dataclass(frozen=True, slots=True)
class _Scene:
    """What all of one request's annotations are made from. ``window`` is the range up to now."""

    selection: Selection
    window: TimeRange
    range_seconds: float
    view: View
    store: Store
    kept_since: float
    most_events: int


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
    events = scene.store.events_from_outages(scene.window.start, scene.window.end, "gateway", OUT, scene.most_events)
    latest = scene.view.latest
    failing_since = latest.failing_since if latest else None
    if latest and failing_since is not None and failing_since <= scene.window.end and not _lasts(events):
        events.append(Event(failing_since, "gateway", "", "", "up", "down", latest.poll.message))
    began = math.inf if failing_since is None else failing_since
    found = outages(_GATEWAY, events, scene.window, scene.kept_since, began)
    return _regions(found, scene, _gateway_region)


def _lasts(events: Sequence[Event]) -> bool:
    return bool(events) and events[-1].after in OUT


def _circuit_outages(scene: _Scene) -> list[_Drawn]:
    """Circuits that were open, a provider's together."""
    if "circuit" not in scene.selection.kinds:
        return []
    by_circuit: dict[Key, list[Event]] = {}
    events = scene.store.events_from_outages(scene.window.start, scene.window.end, "circuit", OUT, scene.most_events)
    for event in events:
        by_circuit.setdefault(Key(event.provider, event.model), []).append(event)
    snapshot = scene.view.snapshot
    opened = {circuit.key: circuit.first_opened for circuit in snapshot.circuits} if snapshot else {}
    of_provider: dict[str, list[Outage]] = {}
    for key, events in by_circuit.items():
        if scene.selection.takes("circuit", key):
            found = outages(key, events, scene.window, scene.kept_since, opened.get(key) or math.inf)
            of_provider.setdefault(key.provider, []).extend(found)
    build = partial(_circuit_region, reach=Reach(by_circuit))
    return [drawn for found in of_provider.values() for drawn in _regions(found, scene, build)]


@dataclass(frozen=True, slots=True)
class _Lasting:
    """An incident up to the end of the range."""

    incident: Incident
    end: float

    @property
    def start(self) -> float:
        """When it began."""
        return self.incident.start.at

    @property
    def key(self) -> Key:
        """Whose it is."""
        return Key(self.incident.provider)


def _incidents(scene: _Scene) -> list[_Drawn]:
    """Incidents. A part of the fleet's is drawn beside it where it outlasts it, or not all parts are asked for."""
    if "incident" not in scene.selection.kinds:
        return []
    takes = cache(lambda name: scene.selection.takes("incident", Key(name)))
    found = [
        _Lasting(one, scene.window.end if one.end is None else min(one.end.at, scene.window.end))
        for one in incidents.found(scene.view, scene.store, scene.window)
        if any(map(takes, one.affected if one.provider == FLEET else (one.provider,)))
    ]
    fleets = {it.incident.start.steady: it.incident for it in found if it.incident.provider == FLEET}
    own = set(incidents.of_their_own([it.incident for it in found]))
    of_provider: dict[str, list[_Lasting]] = {}
    for it in found:
        fleet = None if it.incident.fleet is None else fleets.get(it.incident.fleet)
        if fleet is None or it.incident in own or not all(map(takes, fleet.affected)):
            of_provider.setdefault(it.incident.provider, []).append(it)
    return [drawn for its in of_provider.values() for drawn in _regions(its, scene, _incident_region)]


def _incident_region(region: Region[_Lasting, str], scene: _Scene, start: float) -> Annotation:
    its = [one.incident for one in region.items]
    worst = max(its, key=lambda one: (one.peak, one.bad_seconds))
    lasting = next((one for one in reversed(its) if one.end is None), None)
    colour, name = (lasting or worst).peak.word, incidents.name(worst)
    title = f"{worst.reached} of {worst.among} providers at once" if worst.provider == FLEET else f"{name}: {colour}"
    said = [
        f"{len(its)} incidents, the worst" if len(its) > 1 else "",
        texts.since(region, start, scene.window),
        incidents.told(scene.view, worst),
    ]
    return Annotation(
        id=_name("incident", Key(its[0].provider), its[0].start.steady),
        start=start,
        end=region.end,
        title=title,
        text=texts.joined(said),
        tags=_tags("incident", Key(worst.provider), worst.peak.word),
        new_state=_COLOURS[colour],
    )


def _regions(
    found: Sequence[T], scene: _Scene, build: Callable[[Region[T, str], _Scene, float], Annotation]
) -> list[_Drawn]:
    """What one provider, or the gateway, had, as regions; ``build`` is told where each is drawn from."""
    gap = scene.range_seconds / GAPS_A_RANGE
    while len(regions := merge(found, provider, gap)) > MAX_REGIONS:
        gap *= 2
    placed = [(_placed(one.start, one.end, scene), one) for one in regions]
    return [_Drawn(start, one.end, partial(build, one, scene, start)) for start, one in placed]


def _placed(start: float, end: float, scene: _Scene) -> float:
    """Where a region is drawn from: where it began or, if that was not after the range did, just inside of it."""
    edge = scene.window.start
    return start if start > edge else min(edge + scene.range_seconds / MARKERS_A_RANGE, (edge + end) / 2)


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


def _circuit_region(region: Outages, scene: _Scene, start: float, reach: Reach) -> Annotation:
    whole = together(region.items)
    circuits = sorted({one.key for one in region.items})
    opened, known = reach.worst(whole.key.provider, region.start, region.end)
    worst = "OPEN" if whole.was_open else whole.state
    alone = len(circuits) == 1
    said = [
        texts.which(region),
        whole.reason,
        texts.since(whole, start, scene.window),
        texts.lasted(region, whole, "open", scene.window, scene.view),
        texts.tried(region, whole),
        texts.reached(circuits, opened, known),
        "" if alone else texts.present(region),
        texts.unseen(whole, scene.window, scene.view),
    ]
    return Annotation(
        id=_name("circuit", *_first(region)),
        start=start,
        end=region.end,
        title=f"{whole.key}: circuit {whole.state}" if alone else f"{whole.key}: {opened} of {known} circuits {worst}",
        text=texts.joined(said),
        tags=_tags("circuit", whole.key, whole.state),
        new_state=_COLOURS[whole.state],
    )


def _gateway_region(region: Outages, scene: _Scene, start: float) -> Annotation:
    whole = together(region.items)
    said = [
        texts.which(region),
        whole.reason,
        texts.since(whole, start, scene.window),
        texts.lasted(region, whole, "out", scene.window, scene.view),
    ]
    return Annotation(
        id=_name("gateway", *_first(region)),
        start=start,
        end=region.end,
        title="gateway outage",
        text=texts.joined(said),
        tags=_tags("gateway", whole.key, "down"),
        new_state="no_data",
    )


def _first(region: Outages) -> tuple[Key, float]:
    """What names a region: its earliest outage is in no other one."""
    at, key = min((one.first_event, one.key) for one in region.items)
    return key, at


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
    return _not_shown("1 earlier event is not shown" if count == 1 else f"{count:,} earlier events are not shown", at)


def _earlier(at: float) -> Annotation:
    """What says that there are more events before ``at`` than are looked at."""
    return _not_shown("earlier events are not shown", at)


def _not_shown(title: str, at: float) -> Annotation:
    return Annotation(
        id=_name("left out", _GATEWAY),
        start=at,
        end=at,
        title=title,
        text=f'at most {MAX_EVENTS:,} events are: ask for a shorter range or for less, as circuit{{provider="openai"}}',
        tags=("left out",),
        new_state="no_data",
    )


def _tags(kind: str, key: Key, state: str) -> tuple[str, ...]:
    return tuple(tag for tag in (kind, key.provider, key.model, state) if tag)


def _name(kind: str, key: Key, *which: object) -> str:
    told = "\0".join([kind, *key, *map(repr, which)])
    return hashlib.blake2b(told.encode(errors="surrogatepass"), digest_size=12).hexdigest()
