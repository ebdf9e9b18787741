"""Which dialects an exposition is in, and which of their families gives each signal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.gateway.dialect import COUNTERS, Dialect, SignalSource
from bridge.gateway.series import Series

COUNTED_TOGETHER = frozenset({"requests", "successes", "failures", "outages"})
"""Signals that come from one dialect, or their ratios mean nothing.

Of these a family without samples says that there were none: clients show a failure counter at the first failure.
"""
FROM_ONE_FAMILY = COUNTED_TOGETHER | (COUNTERS - {"rejected", "transitions"}) | {"latency_histogram"}
"""Signals of which no second family stands in where the first one says nothing.

Of all others one does, key by key: an OPEN circuit is shown whichever family tells of it. Histograms are left out, as
buckets of several families do not add up.
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A signal's source in this exposition, the dialect it is of, and where it stands in that dialect's file."""

    source: SignalSource
    dialect: str
    rank: int
    turn: int = 0
    """0 for the source that gives the signal; one with a higher number counts for what all before it do not name."""


def recognise(
    dialects: Sequence[Dialect], all_series: Collection[Series], before: Collection[str] = ()
) -> tuple[tuple[Dialect, ...], tuple[Chosen, ...]]:
    """The dialects an exposition is in, most specific first, and the sources of each signal.

    Where there is no sign of any dialect, those that were recognised ``before`` are known by any of their families.
    """
    names: dict[str, set[str]] = {}
    for shape in {series.shape for series in all_series}:
        names.setdefault(shape.name, set()).update(shape.labels)
    by_specificity = sorted(dialects, key=lambda dialect: -dialect.specificity)
    recognised = [
        dialect for dialect in by_specificity if any(sign.seen_in(names) for sign in dialect.recognised_by)
    ] or [
        dialect
        for dialect in by_specificity
        if dialect.name in before and any(name in names for source in dialect.signals for name in source.sample_names())
    ]
    return tuple(recognised), tuple(_choose(recognised, names))


def declares_known(dialects: Sequence[Dialect], declared: Collection[str]) -> bool:
    """True when one of the families that an exposition declares is one that a dialect names."""
    families = {source.family.removesuffix("_total") for dialect in dialects for source in dialect.signals}
    signs = [replace(sign, label=None) for dialect in dialects for sign in dialect.recognised_by]
    return any(
        name.removesuffix("_total") in families or any(sign.seen_in({name: set()}) for sign in signs)
        for name in declared
    )


def not_recognised(dialects: Sequence[Dialect]) -> str:
    """What to say of an exposition in no dialect: what was looked for."""
    looked_for = "; ".join(
        f"{' or '.join(str(sign) for sign in dialect.recognised_by)} ({dialect.name})" for dialect in dialects
    )
    return f"no dialect fits this exposition; looked for {looked_for}"


def _choose(recognised: Sequence[Dialect], names: Mapping[str, set[str]]) -> Iterator[Chosen]:
    """Each signal's sources: first those that give it, then those that stand in."""
    declared = [
        Chosen(source, dialect.name, rank)
        for dialect in recognised
        for rank, source in enumerate((*dialect.signals, *_requests_of(dialect)))
    ]
    present = [chosen for chosen in declared if any(name in names for name in chosen.source.sample_names())]
    counts_failures = {chosen.dialect for chosen in declared if chosen.source.signal == "failures"}
    requests = [chosen.dialect for chosen in present if chosen.source.signal == "requests"]
    counting = next((dialect for dialect in requests if dialect in counts_failures), None)
    turns: dict[str, list[str]] = {}
    found: list[Chosen] = []
    for chosen in declared:
        signal = chosen.source.signal
        if signal in COUNTED_TOGETHER and counting:
            if chosen.dialect != counting:
                continue
        elif chosen not in present:
            continue
        dialects = turns.setdefault(signal, [])
        if chosen.source.adds and chosen.dialect in dialects:
            found.append(replace(chosen, turn=dialects.index(chosen.dialect)))
        elif not dialects or signal not in FROM_ONE_FAMILY:
            dialects.append(chosen.dialect)
            found.append(replace(chosen, turn=len(dialects) - 1))
    yield from sorted(found, key=lambda chosen: chosen.turn)


def _requests_of(dialect: Dialect) -> list[SignalSource]:
    """Successes and failures, added up to the requests of a dialect that has no family of those."""
    signals = {source.signal for source in dialect.signals}
    if "requests" in signals or not {"successes", "failures"} <= signals:
        return []
    return [
        replace(source, signal="requests", adds=True)
        for source in dialect.signals
        if source.signal in ("successes", "failures")
    ]
