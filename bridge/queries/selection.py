"""The annotation query language: ``incident``, ``status{provider="openai"}``, several with commas, ``all``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.model import Key
from bridge.queries.targets import Known, Matcher, Target, TargetError, nearest, nothing, parse_list

KINDS = ("incident", "circuit", "status", "roster", "gateway")
LABELS = {"circuit": ("provider", "model"), "incident": ("provider",), "status": ("provider",), "roster": ("provider",)}
"""What a selector may go by; of the others by all there is."""
EVERY_KIND = "annotations"
"""As a target is written: ``annotations{kind="circuit"}``."""
ALL = "all"
"""The same in a query."""
DEFAULT = "incident,gateway"
"""What an empty query stands for."""
MAX_PICKS = 8
"""Kinds, with a selector each, that one query may name."""

_HINT = f'annotations are {", ".join(KINDS)} and all, each alone or like incident{{provider=~"openai|groq"}}'


class Selection:
    """What an annotation query picks: kinds, each with a selector or without.

    One that is empty is ``DEFAULT``, or everything where a filter chooses the kinds.
    ``all`` and ``annotations`` stand for every kind. Raises TargetError for a query that cannot be read.
    """

    def __init__(self, query: str, filters: Sequence[Matcher] = (), known: Known = nothing) -> None:
        """``known`` gives the texts that exist of a label."""
        chosen = any(matcher.label == "kind" for matcher in filters)
        self._picks = _read(query, known) or _read(ALL if chosen else DEFAULT, known)
        self._filters = filters

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are picked at all."""
        conditions = [matcher for matcher in self._filters if matcher.label == "kind"]
        return frozenset(
            kind
            for kind in KINDS
            if any(_names(pick, kind) for pick in self._picks)
            and all(matcher.matches({"kind": kind}) for matcher in conditions)
        )

    def takes(self, kind: str, key: Key) -> bool:
        """Whether events of this kind, provider and model are picked."""
        labels = {"kind": kind, "provider": key.provider, "model": key.model}
        if not all(matcher.matches(labels) for matcher in self._filters if labels.get(matcher.label)):
            return False
        return any(_names(pick, kind) and pick.matches(labels) for pick in self._picks)


def _names(pick: Target, kind: str) -> bool:
    """Whether a pick is about this kind at all, whatever it says of providers and models."""
    if pick.metric in KINDS:
        return pick.metric == kind
    return all(matcher.matches({"kind": kind}) for matcher in pick.matchers if matcher.label == "kind")


_LISTED_KINDS = re.compile(r"\{([a-z,\s]*)\}")


def _read(query: str, known: Known) -> list[Target]:
    """The kinds and selectors of a query; none where it names none."""
    kinds_alone = _LISTED_KINDS.fullmatch(query.strip())
    picks: list[Target] = []
    for pick in parse_list(kinds_alone[1] if kinds_alone else query, known):
        if len(picks) == MAX_PICKS:
            raise TargetError(f"an annotation query names at most {MAX_PICKS} kinds", _HINT)
        if pick.metric not in (*KINDS, ALL, EVERY_KIND):
            close = nearest(pick.metric, (*KINDS, ALL))
            did_you_mean = f"; did you mean {close!r}?" if close else ""
            raise TargetError(f"unknown kind of annotation {pick.metric[:80]!r}{did_you_mean}", _HINT)
        has = LABELS.get(pick.metric, ("kind", "provider", "model"))
        for one in pick.matchers:
            if one.label not in has:
                raise TargetError(f"{pick.metric} has no label {one.label[:80]!r}; it has {', '.join(has)}", _HINT)
        picks.append(pick)
    return picks
