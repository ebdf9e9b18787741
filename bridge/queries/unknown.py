"""What was asked for and is not there: labels that a metric lacks, and names that nobody has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from bridge.queries.catalog import METRICS, TABLE_LABELS, labels_of
from bridge.queries.forms import literals
from bridge.queries.matchers import shown
from bridge.queries.targets import Matcher, Target, nearest
from bridge.queries.vocabulary import Vocabulary

LABELS = frozenset().union(*(one.labels for one in METRICS.values()), *TABLE_LABELS.values())
"""Every label that anything has."""
NAMES_SHOWN = 3
MOST_COMPARED = 1_000
"""Of more names the nearest is not looked for: that takes a while."""


def unknown(
    target: Target,
    filters: Sequence[Matcher],
    vocabulary: Vocabulary,
    *,
    answered: bool,
    seen: Sequence[Mapping[str, str]] = (),
) -> tuple[str, ...]:
    """What a target and the ad-hoc filters ask for that is not there, a line each.

    ``answered``: there is a series or a row for it all the same; ``seen`` are the label sets of those series.
    """
    lacking = () if answered else _labels_lacking(target)
    nowhere = dict.fromkeys(one.label for one in filters if one.label not in LABELS)
    left_out = (f"the filter on {shown(label)} is left out: nothing has such a label" for label in nowhere)
    names = _names_of_nobody((*target.matchers, *filters), labels_of(target.metric), vocabulary, answered, seen)
    return tuple(dict.fromkeys((*lacking, *left_out, *names)))


def _labels_lacking(target: Target) -> Iterator[str]:
    known = labels_of(target.metric)
    has = f"what it has: {', '.join(known)}" if known else "it has none"
    return (f"{target.metric} has no label {one.label!r}; {has}" for one in target.matchers if one.label not in known)


def _names_of_nobody(
    matchers: Iterable[Matcher],
    labels: Collection[str],
    vocabulary: Vocabulary,
    answered: bool,
    seen: Sequence[Mapping[str, str]],
) -> Iterator[str]:
    """Texts that are asked for and that no such label has."""
    for one in matchers:
        if one.op not in ("=", "=~") or one.label not in labels:
            continue
        known = vocabulary.known(one.label)
        if not known:
            continue  # before the first poll, for one: that is not the query's mistake
        names = {one.value} if one.op == "=" else literals(one.value)
        if names is None:
            if not answered and not any(one.matches({one.label: text}) for text in known):
                yield f"no {one.label} matches {shown(one.value)}"
        elif missing := sorted(names - {""} - {its.get(one.label, "") for its in seen}.union(known)):
            yield f"there is no {one.label} {_named(missing, known)}"


def _named(missing: Sequence[str], known: Collection[str]) -> str:
    """Some names, and the known one that a single one is most like."""
    if len(missing) == 1:
        close = nearest(missing[0], known) if len(known) <= MOST_COMPARED else None
        return shown(missing[0]) + (f"; did you mean {shown(close)}?" if close else "")
    more = f" and {len(missing) - NAMES_SHOWN} more" if len(missing) > NAMES_SHOWN else ""
    return ", ".join(map(shown, missing[:NAMES_SHOWN])) + more
