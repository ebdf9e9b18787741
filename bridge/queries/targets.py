r"""The target language: what a panel or a curl asks for, as text → a metric, label matchers and a legend.

``metric``, ``metric{label="x",label!="x",label=~"re",label!~"re"}``, or one of these in ``worst(5, …)``, then
optionally `` as legend``. The text is Prometheus' selector, widened so that every way Grafana writes a variable works
inside the quotes: escaped for a regular expression (``openai\/gpt-4\.1``), as a list (``(openai|groq)``,
``{openai,groq}``, ``["openai","groq"]``, …) and as "all" (``.*``, ``*``). What is read is narrowed again at once: a
:class:`Matcher` knows only Prometheus' own four operators, so nothing behind the parser has to know Grafana's forms.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridge.queries.forms import quoted
from bridge.queries.matchers import (
    MAX_TEXT_CHARACTERS,
    Known,
    Matcher,
    TargetError,
    any_of,
    matcher,
    nothing,
    refuse_surrogates,
    shown,
    with_hint,
)
from bridge.queries.selector import EXAMPLE, MAX_MATCHERS, Text, read_selector, skip_blank, taken, word_at

__all__ = [
    "MAX_LEGEND_CHARACTERS",
    "MAX_MATCHERS",
    "MAX_TEXT_CHARACTERS",
    "Known",
    "Matcher",
    "Target",
    "TargetError",
    "any_of",
    "matcher",
    "nearest",
    "nothing",
    "parse",
    "parse_list",
    "with_hint",
]

MAX_LEGEND_CHARACTERS = 1_000
"""A legend is written out once a series, so a long one would multiply."""
_NEAREST_CHARACTERS = 64

_BRACES_LOST = "curl takes braces for its own, but with curl -g"
_EXAMPLE_LEGEND = 'write it like provider_health_score{provider="openai"} as {{provider}}'
_EXAMPLE_WORST = "write it like worst(5, provider_health_score)"


@dataclass(frozen=True, slots=True)
class Target:
    """A target as it was understood. ``text`` is the target as it was written, ``legend`` a template or ``None``."""

    text: str
    metric: str
    matchers: tuple[Matcher, ...]
    legend: str | None
    worst: int | None = None
    """How many of the worst series are wanted; ``None`` for all."""

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


def parse(text: str, known: Known = nothing) -> Target:
    """Read a target. Which metrics and labels exist is for the caller to check.

    ``known`` gives the texts that exist of a label: names in lists, and such as look like an expression, are read by
    them. Raises :class:`TargetError` for anything that is not a target, and nothing else.
    """
    _refuse(text)
    worst = _WORST.match(text)
    if worst is None:
        metric, position = _read_metric(text, 0)
        matchers, position = read_selector(Text(text, _TAIL, known), position)
        return Target(text, metric, matchers, _read_legend(text, position))
    count = _how_many(worst)
    metric, position = _read_metric(text, worst.end(), _METRIC_WORD_AMONG_OTHERS)
    matchers, position = read_selector(Text(text, _TAIL_OF_WORST, known), position)
    position = skip_blank(text, position)
    if not text.startswith(")", position):
        raise TargetError('a closing parenthesis ")" is missing', _EXAMPLE_WORST, position)
    return Target(text, metric, matchers, _read_legend(text, position + 1), count)


def parse_list(text: str, known: Known = nothing) -> Iterable[Target]:
    """Read targets separated by commas, of which several in a row count as one; a legend at the end names nothing.

    Raises :class:`TargetError` as ``parse`` does, once it comes to what cannot be read.
    """
    _refuse(text)
    it = Text(text, _TAIL_IN_LIST, known)
    position = 0
    while match := _BETWEEN.match(text, position):
        position = match.end()
        if position == len(text):
            return
        start = position
        metric, position = _read_metric(text, position, _METRIC_WORD_AMONG_OTHERS)
        matchers, position = read_selector(it, position)
        yield Target(text[start:position], metric, matchers, None)
        position = skip_blank(text, position)
        if not text.startswith(",", position):
            _read_legend(text, position)
            return


def _refuse(text: str) -> None:
    """Raise for a text that is too long, or no text at all."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise TargetError(
            f"the target is too long ({len(text):,} characters)",
            f"a target has at most {MAX_TEXT_CHARACTERS:,} characters",
            MAX_TEXT_CHARACTERS,
        )
    refuse_surrogates(text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like ``word``, or ``None`` when none is much like it."""
    # The comparison takes time quadratic in the length, and no known word is longer.
    close = difflib.get_close_matches(word[:_NEAREST_CHARACTERS].lower(), known, n=1)
    return close[0] if close else None


# Reading. Every expression below is fixed, and none can be made to try again: each takes time linear in the text.

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_METRIC_WORD = re.compile(r"[^\s{]*")
_METRIC_WORD_AMONG_OTHERS = re.compile(r"[^\s{,)]*")
_BETWEEN = re.compile(r"[\s,]*")
_WORST = re.compile(r"\s*worst\s*\(([^,(){}\"']*),?")
_COUNT = re.compile(r"\s*([1-9][0-9]{0,4})\s*")
_AS = re.compile(r"as(?!\S)")
_TAIL = re.compile(r"\s*(?:\Z|as(?!\S))")
_TAIL_OF_WORST = re.compile(r"\s*\)\s*(?:\Z|as(?!\S))")
_TAIL_IN_LIST = re.compile(r"\s*(?:\Z|as(?!\S)|,[\s,]*(?:\Z|[a-z]+\s*(?:[{,]|\Z)))")
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")


def _read_metric(text: str, position: int, word: re.Pattern[str] = _METRIC_WORD) -> tuple[str, int]:
    """The metric's name and the offset behind it; ``word`` takes all that is meant to be the name."""
    start = skip_blank(text, position)
    if start == len(text):
        raise TargetError("a metric name is missing" if text.strip() else "the target is empty", EXAMPLE, position)
    name, meant = _METRIC.match(text, start), taken(word, text, start)
    if not meant:
        raise TargetError("a metric name is missing", EXAMPLE, start)
    bad = name.end() if name else start
    if bad != start + len(meant):
        hint = f"{EXAMPLE}; {_BRACES_LOST}" if text[bad] in "=!~" and "{" not in text else EXAMPLE
        raise TargetError(f"{shown(meant)} is not a metric name: unexpected {shown(text[bad])}", hint, bad)
    return meant, bad


def _how_many(worst: re.Match[str]) -> int:
    """The number before the metric."""
    count = _COUNT.fullmatch(worst[1])
    if count is None:
        raise TargetError(f"worst takes a number from 1 on, not {shown(worst[1])}", _EXAMPLE_WORST, worst.start(1))
    return int(count[1])


def _read_legend(text: str, position: int) -> str | None:
    """The legend behind ``as``; ``None`` where the target ends before."""
    position = skip_blank(text, position)
    if position == len(text):
        return None
    if not _AS.match(text, position):
        raise _unexpected(text, position, _EXAMPLE_LEGEND)
    legend_start = skip_blank(text, position + len("as"))
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


def _unexpected(text: str, position: int, hint: str) -> TargetError:
    return TargetError(f"unexpected {shown(word_at(text, position))} after the selector", hint, position)
