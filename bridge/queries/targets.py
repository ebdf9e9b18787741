r"""The target language: what a panel or a curl asks for, as text → a metric, label matchers and a legend.

``metric``, ``metric{label="x",label!="x",label=~"re",label!~"re"}``, then optionally `` as legend``. The text is
Prometheus' selector, widened so that every way Grafana writes a variable works inside the quotes: escaped for a
regular expression (``openai\/gpt-4\.1``), as a list (``(openai|groq)``, ``openai|groq``, ``{openai,groq}``) and as
"all" (``.*``, ``*``). What is read is narrowed again at once: a :class:`Matcher` knows only Prometheus' own four
operators, so nothing behind the parser has to know Grafana's forms.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridge.queries.matchers import (
    EXAMPLE_OPERATOR,
    LABEL,
    MAX_REGEX_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    OPERATORS,
    Matcher,
    TargetError,
    any_of,
    in_prometheus_terms,
    matcher,
    quoted,
    refuse_surrogates,
    regex_characters,
    regex_too_long,
    shown,
    with_hint,
)

__all__ = [
    "MAX_LEGEND_CHARACTERS",
    "MAX_MATCHERS",
    "MAX_TEXT_CHARACTERS",
    "Matcher",
    "Target",
    "TargetError",
    "any_of",
    "matcher",
    "nearest",
    "parse",
    "with_hint",
]

MAX_MATCHERS = 32
MAX_LEGEND_CHARACTERS = 1_000
"""A legend is written out once a series, so a long one would multiply."""
_NEAREST_CHARACTERS = 64

_EXAMPLE = 'write it like provider_health_score{provider="openai"}'
_BRACES_LOST = "curl takes braces for its own, but with curl -g"
_EXAMPLE_LEGEND = 'write it like provider_health_score{provider="openai"} as {{provider}}'


@dataclass(frozen=True, slots=True)
class Target:
    """A target as it was understood. ``text`` is the target as it was written, ``legend`` a template or ``None``."""

    text: str
    metric: str
    matchers: tuple[Matcher, ...]
    legend: str | None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy every matcher. The metric is not looked at."""
        return all(matcher.matches(labels) for matcher in self.matchers)

    def name(self, labels: Mapping[str, str]) -> str:
        """What a series with these labels is called: the legend filled in, else ``metric{label="value"}``.

        A label that the legend names and the series does not have is empty. Labels keep the mapping's order. Without
        a legend the name is itself a target, which asks for just these label values.
        """
        if self.legend is not None:
            return _PLACEHOLDER.sub(lambda found: labels.get(found[1].strip(), ""), self.legend)
        if not labels:
            return self.metric
        return self.metric + "{" + ",".join(f'{label}="{quoted(value)}"' for label, value in labels.items()) + "}"


def parse(text: str) -> Target:
    """Read a target. Which metrics and labels exist is for the caller to check.

    Raises :class:`TargetError` for anything that is not a target, and nothing else.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TargetError(
            f"the target is too long ({len(text):,} characters)",
            f"a target has at most {MAX_TEXT_CHARACTERS:,} characters",
            MAX_TEXT_CHARACTERS,
        )
    refuse_surrogates(text)
    metric, position = _read_metric(text)
    matchers, position = _read_selector(text, position)
    return Target(text, metric, matchers, _read_legend(text, position))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like ``word``, or ``None`` when none is much like it."""
    # The comparison takes time quadratic in the length, and no known word is longer.
    close = difflib.get_close_matches(word[:_NEAREST_CHARACTERS].lower(), known, n=1)
    return close[0] if close else None


# Reading. Every expression below is fixed, and none can be made to try again: each takes time linear in the text.

_BLANK = re.compile(r"\s*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_METRIC_WORD = re.compile(r"[^\s{]*")
_OPERATOR_WORD = re.compile(r"[=!~<>|]*")
_ESCAPE_OR_QUOTE = re.compile(r"\\.|[\"']", re.DOTALL)
_WORD = re.compile(r"\S*")
_AS = re.compile(r"as(?!\S)")
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")


def _skip_blank(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


def _word_at(pattern: re.Pattern[str], text: str, position: int) -> str:
    """What the pattern takes from here, empty when it takes nothing."""
    found = pattern.match(text, position)
    return found[0] if found else ""


def _read_metric(text: str) -> tuple[str, int]:
    """The metric's name and the offset behind it."""
    start = _skip_blank(text, 0)
    if start == len(text):
        raise TargetError("the target is empty", _EXAMPLE, 0)
    name, word = _word_at(_METRIC, text, start), _word_at(_METRIC_WORD, text, start)
    if not word:
        raise TargetError("a metric name is missing", _EXAMPLE, start)
    if name != word:
        bad = start + len(name)
        hint = f"{_EXAMPLE}; {_BRACES_LOST}" if text[bad] in "=!~" and "{" not in text else _EXAMPLE
        raise TargetError(f"{shown(word)} is not a metric name: unexpected {shown(text[bad])}", hint, bad)
    return name, start + len(name)


def _read_selector(text: str, position: int) -> tuple[tuple[Matcher, ...], int]:
    """The matchers in braces, if there are braces, and the offset behind them."""
    position = _skip_blank(text, position)
    if not text.startswith("{", position):
        return (), position
    matchers: list[Matcher] = []
    characters = 0
    position = _skip_blank(text, position + 1)
    while not text.startswith("}", position):
        if len(matchers) == MAX_MATCHERS:
            raise TargetError("too many matchers", f"a target has at most {MAX_MATCHERS} matchers", position)
        label, position = _read_label(text, position)
        op, position = _read_operator(text, position)
        raw, after = _read_string(text, position)
        op, value = in_prometheus_terms(op, raw)
        characters += regex_characters(op, value)
        if characters > MAX_REGEX_CHARACTERS:
            raise regex_too_long(position)
        try:
            matchers.append(Matcher(label, op, value))
        except TargetError as error:
            raise TargetError(error.message, error.hint, position) from None
        position = _skip_blank(text, after)
        if text.startswith(",", position):
            position = _skip_blank(text, position + 1)
        elif position == len(text):
            raise _no_closing_brace(position)
        elif not text.startswith("}", position):
            raise TargetError(
                f"unexpected {shown(_word_at(_WORD, text, position))} after a value",
                'matchers are separated by commas and end with a brace, like {provider="openai",model="gpt-4.1"}',
                position,
            )
    return tuple(matchers), position + 1


def _read_label(text: str, position: int) -> tuple[str, int]:
    label = _word_at(LABEL, text, position)
    if label:
        return label, _skip_blank(text, position + len(label))
    if position == len(text):
        raise _no_closing_brace(position)
    raise TargetError(f"a label name is missing before {shown(_word_at(_WORD, text, position))}", _EXAMPLE, position)


def _read_operator(text: str, position: int) -> tuple[str, int]:
    op = _word_at(_OPERATOR_WORD, text, position)
    if not op:
        raise TargetError("an operator is missing after the label", EXAMPLE_OPERATOR, position)
    if op not in OPERATORS:
        raise TargetError(f"unknown operator {shown(op)}", EXAMPLE_OPERATOR, position)
    return op, _skip_blank(text, position + len(op))


def _read_string(text: str, position: int) -> tuple[str, int]:
    """What stands between the quotes, and the offset behind them. Only an escaped quote loses its backslash."""
    quote = text[position : position + 1]
    if quote not in ('"', "'"):
        raise TargetError("a value in quotes is missing after the operator", _EXAMPLE, position)
    for found in _ESCAPE_OR_QUOTE.finditer(text, position + 1):
        if found[0] == quote:
            raw = text[position + 1 : found.start()]
            # A quote inside is always an escaped one, so this cannot take the second half of an escaped backslash.
            return raw.replace("\\" + quote, quote), found.end()
    raise TargetError(f"a quote is opened but not closed ({quote})", _EXAMPLE, position)


def _read_legend(text: str, position: int) -> str | None:
    """The legend behind ``as``; ``None`` where the target ends before."""
    position = _skip_blank(text, position)
    if position == len(text):
        return None
    if not _AS.match(text, position):
        raise TargetError(
            f"unexpected {shown(_word_at(_WORD, text, position))} after the selector", _EXAMPLE_LEGEND, position
        )
    legend_start = _skip_blank(text, position + len("as"))
    legend = text[legend_start:].rstrip()
    if len(legend) >= 2 and legend[0] in "\"'" and legend.find(legend[0], 1) == len(legend) - 1:
        legend = legend[1:-1].strip()
    if not legend:
        raise TargetError('the legend after "as" is empty', _EXAMPLE_LEGEND, legend_start)
    if len(legend) > MAX_LEGEND_CHARACTERS:
        raise TargetError(
            f"the legend is too long ({len(legend):,} characters)",
            f"a legend has at most {MAX_LEGEND_CHARACTERS:,} characters",
            legend_start,
        )
    return legend


def _no_closing_brace(position: int) -> TargetError:
    return TargetError('a closing brace "}" is missing', _EXAMPLE, position)
