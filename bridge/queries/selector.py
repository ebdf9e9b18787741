r"""Selectors: ``{label="x",label!="x",label=~"re",label!~"re"}``, the matchers of a target.

Names from outside stand between the quotes, and Grafana escapes few of their characters. So a quote ends a value only
where what follows reads as the rest of the selector, at the first such place from the left; an escaped one never does.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from bridge.queries.forms import in_prometheus_terms, is_plain
from bridge.queries.matchers import (
    EXAMPLE_OPERATOR,
    LABEL,
    MAX_REGEX_CHARACTERS,
    OPERATORS,
    Known,
    Matcher,
    TargetError,
    regex_characters,
    regex_too_long,
    shown,
)

MAX_MATCHERS = 32
EXAMPLE = 'write it like provider_health_score{provider="openai"}'

# Every expression below is fixed, and none can be made to try again: each takes time linear in the text.
_BLANK = re.compile(r"\s*")
_OPERATOR_WORD = re.compile(r"[=!~<>|]*")
_QUOTE = re.compile(r"(?<!\\)(\\*+)([\"'])")
_WORD = re.compile(r"\S*")
_REST = re.compile(r"(?:\s*,)?\s*\}|(?:\s*,\s*|\s+)[a-zA-Z_][a-zA-Z0-9_]*\s*[=!~<>]+\s*(?P<quote>[\"'])")
"""What follows a value: the selector's end, or another matcher (one without its comma is a mistake, and no name)."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that holds selectors. ``tail`` matches what may follow a selector's closing brace."""

    text: str
    tail: re.Pattern[str]
    known: Known
    """The label texts that exist."""
    _ends: dict[str, list[int]] = field(default_factory=dict)

    def closing_quote(self, start: int, quote: str) -> int:
        """Where the value ends whose opening quote is before ``start``.

        Where nothing reads as the rest of the selector it is the first quote that could, and -1 where there is none.
        """
        if not self._ends:
            self._ends.update(_ends(self.text, self.tail))
        ends = self._ends[quote]
        place = bisect_right(ends, start - 1)
        if place < len(ends):
            return ends[place]
        found = (one for one in _QUOTE.finditer(self.text, start) if one[2] == quote and not len(one[1]) % 2)
        first = next(found, None)
        return -1 if first is None else first.end() - 1


def _ends(text: str, tail: re.Pattern[str]) -> dict[str, list[int]]:
    """The places of each kind of quote behind which the text reads as the rest of a selector, in rising order.

    From the right to the left, as a matcher may follow only whose own value has such an end: in linear time.
    """
    ends: dict[str, list[int]] = {'"': [], "'": []}
    for found in reversed(list(_QUOTE.finditer(text))):
        if len(found[1]) % 2:
            continue
        rest = _REST.match(text, found.end())
        if rest is None:
            continue
        following = rest["quote"]
        if tail.match(text, rest.end()) if following is None else ends[following] and ends[following][0] >= rest.end():
            ends[found[2]].append(found.end() - 1)
    return {quote: places[::-1] for quote, places in ends.items()}


def skip_blank(text: str, position: int) -> int:
    """The offset behind any white space."""
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


def taken(pattern: re.Pattern[str], text: str, position: int) -> str:
    """What the pattern takes from here, empty when it takes nothing."""
    found = pattern.match(text, position)
    return found[0] if found else ""


def word_at(text: str, position: int) -> str:
    """What stands there up to the next white space."""
    return taken(_WORD, text, position)


def read_selector(it: Text, position: int) -> tuple[tuple[Matcher, ...], int]:
    """The matchers in braces, if there are braces, and the offset behind them. Raises :class:`TargetError`."""
    text = it.text
    position = skip_blank(text, position)
    if not text.startswith("{", position):
        return (), position
    matchers: list[Matcher] = []
    characters = 0
    position = skip_blank(text, position + 1)
    while not text.startswith("}", position):
        if len(matchers) == MAX_MATCHERS:
            raise TargetError("too many matchers", f"a target has at most {MAX_MATCHERS} matchers", position)
        one, start, after = _read_matcher(it, position)
        characters += regex_characters(one.op, one.value)
        if characters > MAX_REGEX_CHARACTERS:
            raise regex_too_long(start)
        matchers.append(one)
        position = skip_blank(text, after)
        if text.startswith(",", position):
            position = skip_blank(text, position + 1)
        elif position == len(text):
            raise _no_closing_brace(position)
        elif not text.startswith("}", position):
            raise TargetError(
                f"unexpected {shown(word_at(text, position))} after a value",
                'matchers are separated by commas and end with a brace, like {provider="openai",model="gpt-4.1"}',
                position,
            )
    return tuple(matchers), position + 1


def _read_matcher(it: Text, position: int) -> tuple[Matcher, int, int]:
    """One matcher, where its value begins, and the offset behind it."""
    label, position = _read_label(it.text, position)
    op, position = _read_operator(it.text, position)
    raw, quote, after = _read_string(it, position)
    op, value = in_prometheus_terms(op, raw, quote, () if is_plain(raw) else it.known(label))
    try:
        return Matcher(label, op, value), position, after
    except TargetError as error:
        raise TargetError(error.message, error.hint, position) from None


def _read_label(text: str, position: int) -> tuple[str, int]:
    label = taken(LABEL, text, position)
    if label:
        return label, skip_blank(text, position + len(label))
    if position == len(text):
        raise _no_closing_brace(position)
    raise TargetError(f"a label name is missing before {shown(word_at(text, position))}", EXAMPLE, position)


def _read_operator(text: str, position: int) -> tuple[str, int]:
    op = taken(_OPERATOR_WORD, text, position)
    if not op:
        raise TargetError("an operator is missing after the label", EXAMPLE_OPERATOR, position)
    if op not in OPERATORS:
        raise TargetError(f"unknown operator {shown(op)}", EXAMPLE_OPERATOR, position)
    return op, skip_blank(text, position + len(op))


def _read_string(it: Text, position: int) -> tuple[str, str, int]:
    """What stands between the quotes, the quote, and the offset behind them."""
    quote = it.text[position : position + 1]
    if quote not in ('"', "'"):
        raise TargetError("a value in quotes is missing after the operator", EXAMPLE, position)
    end = it.closing_quote(position + 1, quote)
    if end < 0:
        raise TargetError(f"a quote is opened but not closed ({quote})", EXAMPLE, position)
    return it.text[position + 1 : end], quote, end + 1


def _no_closing_brace(position: int) -> TargetError:
    return TargetError('a closing brace "}" is missing', EXAMPLE, position)
