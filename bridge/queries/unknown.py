"""What was asked for and is not there: labels that a metric lacks, and names that nobody has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bridge.queries.catalog import METRICS, TABLE_LABELS, labels_of
from bridge.queries.forms import literals
from bridge.queries.matchers import shown
from bridge.queries.targets import Matcher, Target, nearest
from bridge.queries.vocabulary import Vocabulary

LABELS = frozenset().union(*(one.labels for one in METRICS.values()), *TABLE_LABELS.values())
"""Every label that anything has."""
NAMES_SHOWN = 3


def unknown_labels(target: Target, filters: Iterable[Matcher], *, answered: bool) -> tuple[str, ...]:
    """Labels of the target that its metric lacks, where nothing is ``answered``, and of filters that nothing has."""
    known = labels_of(target.metric)
    has = f"what it has: {', '.join(known)}" if known else "it has none"
    lacking = () if answered else (one.label for one in target.matchers if one.label not in known)
    return (
        *(f"{target.metric} has no label {label!r}; {has}" for label in dict.fromkeys(lacking)),
        *(
            f"the filter on {shown(label)} is left out: nothing has such a label"
            for label in dict.fromkeys(one.label for one in filters if one.label not in LABELS)
        ),
    )


def unknown_names(
    target: Target,
    filters: Iterable[Matcher],
    vocabulary: Vocabulary,
    *,
    answered: bool,
    seen: Sequence[Mapping[str, str]] = (),
) -> tuple[str, ...]:
    """Texts that are asked for by name and that no label has, nor any of the label sets that were ``seen``."""
    labels = labels_of(target.metric)
    told: list[str] = []
    for one in (*target.matchers, *filters):
        if one.op not in ("=", "=~") or one.label not in labels:
            continue
        names = {one.value} if one.op == "=" else literals(one.value)
        known = vocabulary.known(one.label)
        if names is None:
            if not answered and not any(one.matches({one.label: text}) for text in known):
                told.append(f"no {one.label} matches {shown(one.value)}")
            continue
        missing = sorted(names - {""} - {its.get(one.label, "") for its in seen}.union(known))
        if missing:
            told.append(f"there is no {one.label} {_named(missing, known)}")
    return tuple(dict.fromkeys(told))


def _named(missing: Sequence[str], known: Iterable[str]) -> str:
    """Some names, and the known one that a single one is most like."""
    if len(missing) == 1:
        close = nearest(missing[0], known)
        return shown(missing[0]) + (f"; did you mean {shown(close)}?" if close else "")
    more = f" and {len(missing) - NAMES_SHOWN} more" if len(missing) > NAMES_SHOWN else ""
    return ", ".join(map(shown, missing[:NAMES_SHOWN])) + more
