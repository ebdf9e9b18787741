"""The annotation query language: ``circuit``, ``status{provider="openai"}``, several with commas, nothing for all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from bridge.model import Key
from bridge.queries.targets import MAX_TEXT_CHARACTERS, Matcher, Target, TargetError, nearest, parse

KINDS = ("circuit", "status", "roster", "gateway")
EVERY_KIND = "annotations"
"""As a target is written: ``annotations{kind="circuit"}``."""
MAX_PICKS = 8
"""Kinds, with a selector each, that one query may name."""

_HINT = 'annotations are circuit, status, roster and gateway, each alone or like circuit{provider=~"openai|groq"}'


class Selection:
    """What an annotation query picks: kinds, each with a selector or without; everything when it is empty.

    ``annotations`` stands for every kind. Raises TargetError for a query that cannot be read.
    """

    def __init__(self, query: str, filters: Sequence[Matcher] = ()) -> None:
        self._picks = _read(query)
        self._filters = filters

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are picked at all."""
        conditions = [matcher for matcher in self._filters if matcher.label == "kind"]
        return frozenset(
            kind
            for kind in KINDS
            if (not self._picks or any(_names(pick, kind) for pick in self._picks))
            and all(matcher.matches({"kind": kind}) for matcher in conditions)
        )

    def takes(self, kind: str, key: Key) -> bool:
        """Whether events of this kind, provider and model are picked."""
        labels = {"kind": kind, "provider": key.provider, "model": key.model}
        if not all(matcher.matches(labels) for matcher in self._filters if labels.get(matcher.label)):
            return False
        return not self._picks or any(_names(pick, kind) and _matches(pick, labels) for pick in self._picks)


def _names(pick: Target, kind: str) -> bool:
    """Whether a pick is about this kind at all, whatever it says of providers and models."""
    if pick.metric != EVERY_KIND:
        return pick.metric == kind
    return all(matcher.matches({"kind": kind}) for matcher in pick.matchers if matcher.label == "kind")


def _matches(pick: Target, labels: Mapping[str, str]) -> bool:
    """Whether a selector lets these labels through.

    Grafana gives a variable's only value without escapes even where an expression is wanted, so a label that is the
    expression's own text always matches it (``gpt-4o+search``).
    """
    for matcher in pick.matchers:
        if matcher.op in ("=~", "!~") and labels.get(matcher.label, "") == matcher.value:
            accepted = matcher.op == "=~"
        else:
            accepted = matcher.matches(labels)
        if not accepted:
            return False
    return True


_MARKS = re.compile(r"\\.|[\"'{},]", re.DOTALL)
_LISTED_KINDS = re.compile(r"\{[a-z,\s]*\}")


def _read(query: str) -> list[Target]:
    """The kinds and selectors of a query; none for everything."""
    if len(query) > MAX_TEXT_CHARACTERS:
        raise TargetError(
            f"the annotation query is too long ({len(query):,} characters)",
            f"it has at most {MAX_TEXT_CHARACTERS:,} characters",
        )
    text = query.strip()
    if _LISTED_KINDS.fullmatch(text):
        text = text[1:-1]
    picks: list[Target] = []
    for start, end in _parts(text):
        if not text[start:end].strip():
            continue
        if len(picks) == MAX_PICKS:
            raise TargetError(f"an annotation query names at most {MAX_PICKS} kinds", _HINT)
        # With blanks before it, a part's errors name positions in the whole query.
        pick = parse(" " * start + text[start:end])
        if pick.metric not in (*KINDS, EVERY_KIND):
            close = nearest(pick.metric, KINDS)
            did_you_mean = f"; did you mean {close!r}?" if close else ""
            raise TargetError(f"unknown kind of annotation {pick.metric[:80]!r}{did_you_mean}", _HINT)
        picks.append(pick)
    return picks


def _parts(text: str) -> Iterable[tuple[int, int]]:
    """Where the parts between commas begin and end. A comma in braces or quotes separates nothing."""
    start, depth, quote = 0, 0, ""
    for found in _MARKS.finditer(text):
        mark = found[0]
        if quote:
            quote = "" if mark == quote else quote
        elif mark in ("'", '"'):
            quote = mark
        elif mark in ("{", "}"):
            depth += 1 if mark == "{" else -1
        elif mark == "," and depth <= 0:
            yield start, found.start()
            start = found.end()
    yield start, len(text)
