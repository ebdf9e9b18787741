"""What there is to ask for: names for query editors, values for variables and filters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.queries.catalog import METRICS, OLD_NAMES, STATUS_WORDS, TABLES
from bridge.queries.targets import Matcher, TargetError, parse
from bridge.queries.view import View

TAG_KEYS = ("provider", "model", "status")
_LABEL_VALUES = re.compile(r"label_values\((?:[^,()]*,)?\s*([a-z]+)\s*\)", re.ASCII)
"""Anyone's text of any length is read with it, so no two of its parts take the same characters."""


def search(view: View, text: str, filters: Sequence[Matcher] = ()) -> list[str]:
    """Names that hold what was typed, all of them for nothing; or the values a variable's query asks for.

    Variable queries: ``providers``, ``models``, ``models{provider="openai"}``, ``label_values(provider)``, ``metrics``.
    ``filters`` narrow the values of labels.
    """
    text = text.strip()
    values = _variable(view, text, filters)
    if values is not None:
        return values
    names = [*METRICS, *TABLES, *OLD_NAMES]
    return [name for name in names if text.lower() in name]


def _variable(view: View, text: str, filters: Sequence[Matcher]) -> list[str] | None:
    """A variable query's values; None when the text is no variable query."""
    if text == "metrics":
        return list(METRICS)
    asked = _LABEL_VALUES.fullmatch(text)
    if asked:
        return values(view, asked.group(1), filters)
    if not text.startswith(("providers", "models")):
        return None
    try:
        target = parse(text)
    except TargetError:
        return None
    if target.metric not in ("providers", "models"):
        return None
    return values(view, target.metric.removesuffix("s"), (*target.matchers, *filters))


def values(view: View, label: str, matchers: Sequence[Matcher] = ()) -> list[str]:
    """A label's values, by name, among what the matchers let through; none for a label there is not."""
    if label == "status":
        return list(STATUS_WORDS.values())
    found: set[str] = set()
    for labels in _label_sets(view):
        if label in labels and all(matcher.matches(labels) for matcher in matchers if matcher.label != "status"):
            found.add(labels[label])
    return sorted(found - {""})


def _label_sets(view: View) -> list[dict[str, str]]:
    snapshot = view.snapshot
    if snapshot is None:
        return []
    providers = [{"provider": verdict.provider} for verdict in snapshot.verdicts]
    models = {(circuit.provider, circuit.model) for circuit in snapshot.circuits} | set(snapshot.model_error_rates)
    return providers + [{"provider": provider, "model": model} for provider, model in models if model]
