"""The label texts that exist: of who is present, and of who left within the retention."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

from bridge.history.store import Store
from bridge.queries.catalog import CIRCUIT_WORDS, STATUS_WORDS
from bridge.queries.forms import one_of
from bridge.queries.matchers import Matcher
from bridge.queries.selection import KINDS
from bridge.queries.view import View

MOST_LEAVERS_LISTED = 200
"""Of who left; others are found by what narrows the list."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "status": tuple(STATUS_WORDS.values()),
    "state": (*CIRCUIT_WORDS.values(), "unknown"),
    "kind": KINDS,
    "phase": ("ongoing", "recovering", "over", "not known"),
}
"""Labels whose texts are the bridge's own words."""


class Vocabulary:
    """The label texts of one moment, for one request."""

    def __init__(self, view: View, store: Store) -> None:
        self._view = view
        self._store = store
        self._known: dict[str, Collection[str]] = dict(WORDS)

    def known(self, label: str) -> Collection[str]:
        """All texts of a label; none for a label that there is not."""
        if label not in self._known:
            everyone = (*self._present, *self._left)
            self._known[label] = frozenset(labels[label] for labels in everyone if labels.get(label))
        return self._known[label]

    def values(self, label: str, matchers: Sequence[Matcher] = (), *, holding: str = "") -> list[str]:
        """A label's texts among what the matchers let through: those present by name, then who left, newest first.

        A condition on ``status`` goes by who has it now. ``holding``: only texts that hold this one, whatever its case.
        """
        if label in WORDS:
            own = [one for one in matchers if one.label == label]
            return list(_texts(label, [{label: word} for word in WORDS[label]], own, holding.lower()))
        conditions = self.filters_on((), matchers)
        part = holding.lower()
        present = _texts(label, self._present, conditions, part)
        left = [text for text in _texts(label, self._left, conditions, part) if text not in present]
        return sorted(present) + left[:MOST_LEAVERS_LISTED]

    def filters_on(self, labels: Collection[str], filters: Iterable[Matcher]) -> tuple[Matcher, ...]:
        """Ad-hoc filters as conditions on what has these labels: without a ``status``, who has it now is chosen."""
        return tuple(
            self.by_status(one) if one.label == "status" and "status" not in labels else one for one in filters
        )

    def by_status(self, condition: Matcher) -> Matcher:
        """A condition on the status as one on the provider: who has it now. Of who left it is unknown."""
        words = self._statuses
        accepted = {word for word in WORDS["status"] if condition.matches({"status": word})}
        if "unknown" in accepted:
            op, named = "!=", [provider for provider, word in words.items() if word not in accepted]
        else:
            op, named = "=", [provider for provider, word in words.items() if word in accepted]
        return Matcher("provider", *one_of(op, named or [""]))

    @cached_property
    def _statuses(self) -> dict[str, str]:
        snapshot = self._view.snapshot
        return {one.provider: self._view.status(one).word for one in snapshot.verdicts} if snapshot else {}

    @cached_property
    def _present(self) -> list[dict[str, str]]:
        snapshot = self._view.snapshot
        if snapshot is None:
            return []
        providers = [{"provider": verdict.provider} for verdict in snapshot.verdicts]
        models = {(circuit.provider, circuit.model) for circuit in snapshot.circuits} | set(snapshot.models.keys)
        return providers + [{"provider": provider, "model": model} for provider, model in models if model]

    @cached_property
    def _left(self) -> list[dict[str, str]]:
        try:
            leavers = self._store.leavers(self._view.now)
        except sqlite3.Error:  # who is present is known all the same
            return []
        return [{"provider": key.provider} | ({"model": key.model} if key.model else {}) for key in leavers]


def _texts(
    label: str, label_sets: Iterable[Mapping[str, str]], conditions: Sequence[Matcher], part: str
) -> dict[str, None]:
    """The texts of a label that are let through and hold ``part``, in the order they come in."""
    let_through = (its for its in label_sets if all(one.matches(its) for one in conditions))
    return {its[label]: None for its in let_through if its.get(label) and part in its[label].lower()}
