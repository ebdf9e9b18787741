"""What a query editor offers beside a metric's name, and what was chosen there, in the target language's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bridge.queries.catalog import labels_of
from bridge.queries.forms import in_prometheus_terms, is_plain, literals
from bridge.queries.targets import (
    MAX_LEGEND_CHARACTERS,
    Known,
    Matcher,
    Target,
    TargetError,
    any_of,
    nothing,
    parse,
)
from bridge.queries.vocabulary import Vocabulary

LABELS = ("provider", "model", "status", "state", "kind")
"""Labels that a payload can choose by."""
EXAMPLE = 'a payload is like {"provider": ["openai", "groq"], "legend": "{{provider}}"}'
_EVERYTHING = frozenset({"", "*", ".*", "$__all"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What a payload chooses: label values, and a legend (a template, None for the series' own names)."""

    matchers: tuple[Matcher, ...] = ()
    legend: str | None = None

    def of(self, target: Target) -> Target:
        """The target as if the choice stood in its text; of labels its metric does not have nothing is chosen.

        Raises TargetError for an unknown metric.
        """
        known = labels_of(target.metric)
        chosen = tuple(matcher for matcher in self.matchers if matcher.label in known)
        return replace(target, matchers=(*target.matchers, *chosen), legend=target.legend or self.legend)


NOTHING_CHOSEN = Choice()


def read(payload: Mapping[str, object], known: Known = nothing) -> Choice:
    """What a payload chooses: ``{"provider": "openai", "model": ["a", "b"], "legend": "{{provider}}"}``.

    Names may be as they are or escaped for a regular expression, and one text may be a list of several (``(a|b)``,
    ``{a,b}``), as a variable's values are, read by the texts that are ``known`` of the label; no name, an empty one or
    "all" chooses nothing. A key that is not known is ignored. Raises TargetError for what is neither a text nor a list
    of texts.
    """
    chosen = [_matcher(label, payload[label], known) for label in LABELS if label in payload]
    legend = payload.get("legend") or payload.get("alias")
    if isinstance(legend, str) and len(legend) > MAX_LEGEND_CHARACTERS:
        raise TargetError(f"the payload's legend is longer than {MAX_LEGEND_CHARACTERS} characters", EXAMPLE)
    return Choice(tuple(one for one in chosen if one is not None), legend if isinstance(legend, str) else None)


def _matcher(label: str, value: object, known: Known) -> Matcher | None:
    texts = [_text(label, one) for one in (value if isinstance(value, list) else [value]) if one is not None]
    if not texts or any(text in _EVERYTHING for text in texts):
        return None
    names: dict[str, None] = {}
    for text in texts:
        there = () if is_plain(text) else known(label)
        op, read = in_prometheus_terms("=", text, known=there)
        named = [read] if op == "=" else sorted(literals(read) or ())
        names |= dict.fromkeys(named)
        if not any(name in there for name in named):
            names[text] = None  # nobody says whether a text is escaped, and a name may look as if it were
    return any_of(label, names)


def _text(label: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise TargetError(f"the payload's {label} is neither a text nor a list of texts", EXAMPLE)


def options(vocabulary: Vocabulary, text: str, label: str, choice: Choice) -> list[str]:
    """The values to choose a label's from, for a target's metric; models are those of the chosen providers.

    None for a metric that cannot be read or is not known, and for a label it does not have.
    """
    try:
        if label not in labels_of(parse(text).metric):
            return []
    except TargetError:
        return []
    providers = [matcher for matcher in choice.matchers if matcher.label == "provider"]
    return vocabulary.values(label, providers if label == "model" else ())
