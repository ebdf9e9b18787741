"""What there is to ask for: names for query editors, values for variables, and completions of what is being typed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES, labels_of
from bridge.queries.forms import quoted
from bridge.queries.selector import EXAMPLE
from bridge.queries.targets import Matcher, Target, TargetError, parse
from bridge.queries.vocabulary import Vocabulary

TAG_KEYS = ("provider", "model", "status")
VARIABLES = {"providers": "provider", "models": "model"}
"""Variable queries, and the label whose values they ask for."""
_WORST = re.compile(r"(worst\(\s*[0-9]+\s*,\s*)([^\s].*)", re.DOTALL)
MOST_COMPLETED_CHARACTERS = 4 * 2**20
"""Of all completions together: each holds the whole text, so of a long one there are fewer."""
_LABEL = re.compile(r"[a-zA-Z_]*")
_OPEN_VALUE = re.compile(
    r"""(?P<head>.*)(?P<mark>[{,])(?P<asked>\s*(?P<label>[a-z]+)\s*(?:=~|!~|!=|=)\s*)["'](?P<typed>.*)""", re.DOTALL
)
_EXAMPLE = 'write it like label_values(provider) or label_values(model_error_rate{provider="openai"}, model)'


def search(vocabulary: Vocabulary, text: str, filters: Sequence[Matcher] = ()) -> list[str]:
    """Names that hold what was typed, all of them for nothing; or the values a variable's query asks for.

    Variable queries: ``providers``, ``models``, ``models{provider="openai"}``, ``metrics``, ``label_values(provider)``,
    ``label_values(metric{…}, provider)``. ``filters`` narrow the values of labels. What ends in ``{provider="ope`` is
    completed, in ``worst(5, …`` too. Raises TargetError for a query that is complete but wrong.
    """
    text = text.strip()
    if text == "metrics":
        return list(METRICS)
    if text in VARIABLES:
        return vocabulary.values(VARIABLES[text], filters)
    if (inside := _WORST.fullmatch(text)) and not text.endswith(")"):
        return [f"{inside[1]}{one})" for one in search(vocabulary, inside[2], filters)]
    if text.startswith("label_values(") and text.endswith(")"):
        return _label_values(vocabulary, text.removeprefix("label_values(")[:-1], filters)
    if "{" not in text:
        return [name for name in (*METRICS, *TABLES, *OLD_NAMES) if text.lower() in name]
    if not text.endswith("}"):
        return _completed(vocabulary, text)
    target = _checked(parse(text, vocabulary.known))
    if target.metric in VARIABLES:
        return vocabulary.values(VARIABLES[target.metric], (*target.matchers, *filters))
    return [text]


def _label_values(vocabulary: Vocabulary, asked: str, filters: Sequence[Matcher]) -> list[str]:
    """The values of the label that stands last, among what the selector before it lets through."""
    before, comma, label = asked.rpartition(",")
    label = label.strip()
    if not _LABEL.fullmatch(label):
        raise TargetError("label_values ends with a label's name", _EXAMPLE)
    if not comma:
        _check_label("label_values", label, TAG_KEYS)
        return vocabulary.values(label, filters)
    if before.rpartition(",")[2].strip() in TAG_KEYS:
        raise TargetError("label_values takes one label, not two", _EXAMPLE)
    target = _checked(parse(before, vocabulary.known))
    _check_label(target.metric, label, _labels_of(target.metric))
    return vocabulary.values(label, (*target.matchers, *filters))


def _checked(target: Target) -> Target:
    """The target, whose metric and labels there are. Raises TargetError for one whose there are not."""
    known = _labels_of(target.metric)
    for one in target.matchers:
        _check_label(target.metric, one.label, known)
    return target


def _labels_of(name: str) -> tuple[str, ...]:
    return TAG_KEYS if name in VARIABLES else labels_of(name)


def _check_label(asked: str, label: str, known: Sequence[str]) -> None:
    if label not in known:
        has = f"what it has: {', '.join(known)}" if known else "it has none"
        raise TargetError(f"{asked} has no label {label[:80]!r}; {has}", EXAMPLE)


def _completed(vocabulary: Vocabulary, text: str) -> list[str]:
    """A target whose last value is being typed, once with each value that holds what is there."""
    found = _OPEN_VALUE.fullmatch(text)
    if found is None:
        return []
    label = found["label"]
    try:
        target = _checked(parse(found["head"] + "}" * (found["mark"] == ","), vocabulary.known))
        if label not in _labels_of(target.metric):
            return []
    except TargetError:  # what is not finished cannot be wrong yet
        return []
    begun = found["head"] + found["mark"] + found["asked"]
    others = [one for one in target.matchers if one.label != label]
    values = vocabulary.values(label, others, holding=found["typed"])
    return [f'{begun}"{quoted(value)}"}}' for value in values[: MOST_COMPLETED_CHARACTERS // len(begun)]]
