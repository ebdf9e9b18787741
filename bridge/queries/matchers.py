"""Conditions on labels, with Prometheus' four operators.

Regular expressions come from anyone who can see a dashboard. They are RE2 (never Python's ``re``, which can be made
to run for hours), and small: RE2 is linear in the text it reads, but compiling a few hundred characters of counted
repetition can take it seconds.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import re2
from cachetools import LRUCache, cached

from bridge.queries.forms import in_prometheus_terms, listed, literals

OPERATORS = ("=", "!=", "=~", "!~")
MAX_TEXT_CHARACTERS = 65_536
MAX_REGEX_CHARACTERS = 2_000
"""Of all regular expressions of one target together. Lists of plain texts, however long, do not count."""
Known = Callable[[str], Collection[str]]
"""The texts that exist of a label, for who reads a list of some."""
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
EXAMPLE_OPERATOR = (
    'labels are compared with = (is), != (is not), =~ (matches) or !~ (does not match), like {provider="openai"}'
)

_REGEX_MEMORY_BYTES = 128 * 1024
"""RE2's budget for one expression. With its default (8 MiB) 450 characters of ``a{0,1000}`` compile for 4 seconds;
with this and the limit on length, the worst that was found takes 50 ms to compile and 0.5 ms to match a value."""
_REGEX_CACHE_SIZE = 128
_VERDICT_CACHE_SIZE = 1_024
_SHOWN_CHARACTERS = 60

_EXAMPLE_REGEX = (
    r'write it like provider_health_score{provider=~"openai|groq.*"} (RE2 syntax, matching the whole value)'
)


def nothing(_label: str) -> Collection[str]:
    """Knows of no text."""
    return ()


class TargetError(ValueError):
    """A target that cannot be read. Safe to show: control characters and the like never stand in it raw.

    ``message`` says what is wrong and where, ``hint`` what would be right, ``position`` is the 0-based offset into
    the target's text (``None`` where there is no text to point into); the message counts from 1.
    """

    def __init__(self, message: str, hint: str, position: int | None = None) -> None:
        if position is not None:
            message = f"{message} at character {position + 1}"
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.position = position

    @property
    def told(self) -> str:
        """Message and hint as one text."""
        return with_hint(self.message, self.hint)


def with_hint(message: str, hint: str) -> str:
    """A message and, where there is one, its hint as one text."""
    return f"{message}{'' if message.endswith('?') else '.'} {hint}" if hint else message


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label, with Prometheus' meaning.

    With ``=`` and ``!=`` the value is one literal text; with ``=~`` and ``!~`` it is an RE2 expression that must match
    the whole label value (``.`` matches line breaks too, as in Prometheus 3). Beyond Prometheus, an expression's own
    text matches it (``a+b``): Grafana writes a variable's only value unescaped. Raises :class:`TargetError` for another
    operator or an expression RE2 refuses.
    """

    label: str
    op: str
    value: str
    _accepts: Callable[[str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_accepts", _predicate(self.op, self.value))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy the condition. A label that is absent equals the empty text."""
        return self._accepts(labels.get(self.label, ""))


def regex_characters(op: str, value: str) -> int:
    """How much of a matcher's value counts as a regular expression: nothing of a plain text, or of a list of some."""
    return len(value) if op in ("=~", "!~") and literals(value) is None else 0


def matcher(label: str, op: str, value: str, known: Known = nothing) -> Matcher:
    """Build a matcher from outside the language: an ad-hoc filter, a query parameter.

    With ``=`` and ``!=`` the value is taken as it is, whatever it looks like; with ``=~`` and ``!~`` it is a regular
    expression or one of Grafana's forms (``{a,b}``, ``*``), read by the label texts that are known. Raises
    :class:`TargetError` (without a position).
    """
    try:
        refuse_surrogates(label)
        refuse_surrogates(value)
    except TargetError as error:
        raise TargetError(f"the filter on {shown(label)} cannot be used: {error.message}", error.hint) from None
    if not LABEL.fullmatch(label):
        raise TargetError(f"{shown(label)} is not a label name", EXAMPLE_OPERATOR)
    if len(value) > MAX_TEXT_CHARACTERS:
        raise TargetError(
            f"the value for {shown(label)} is too long ({len(value):,} characters)",
            f"a value has at most {MAX_TEXT_CHARACTERS:,} characters",
        )
    if op in ("=~", "!~"):
        op, value = in_prometheus_terms(op, value, known=known(label))
    return Matcher(label, op, value)


def any_of(label: str, values: Collection[str]) -> Matcher:
    """A matcher for label values of which each stands for itself. Raises :class:`TargetError` as ``matcher`` does."""
    if len(values) == 1:
        return matcher(label, "=", next(iter(values)))
    return matcher(label, "=~", listed(values))


def _predicate(op: str, value: str) -> Callable[[str], bool]:
    """The test that a matcher does on a label's value."""
    if op == "=":
        return lambda found: found == value
    if op == "!=":
        return lambda found: found != value
    if op not in ("=~", "!~"):
        raise TargetError(f"unknown operator {shown(op)}", EXAMPLE_OPERATOR)
    texts = literals(value)
    accepts = _compiled(value) if texts is None else texts.__contains__
    return accepts if op == "=~" else lambda found: not accepts(found)


@cached(LRUCache(maxsize=_REGEX_CACHE_SIZE), lock=threading.Lock())
def _compiled(pattern: str) -> Callable[[str], bool]:
    """Whether RE2 matches a whole text with the pattern, or the text is the pattern's own.

    Raises :class:`TargetError` with RE2's own words.
    """
    if len(pattern) > MAX_REGEX_CHARACTERS:
        raise regex_too_long()
    refuse_surrogates(pattern)
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    options.never_capture = True  # only yes or no is asked for, which RE2 answers much quicker
    options.dot_nl = True
    try:
        expression = re2.compile(pattern.encode(), options)
    except re2.error as error:
        words = error.args[0].decode(errors="replace")
        raise TargetError(f"not a regular expression, RE2 says {shown(words)}", _EXAMPLE_REGEX) from None

    # The same few providers come by in every series and at every refresh.
    @lru_cache(maxsize=_VERDICT_CACHE_SIZE)
    def accepts(value: str) -> bool:
        return value == pattern or expression.fullmatch(value.encode(errors="replace")) is not None

    return accepts


def regex_too_long(position: int | None = None) -> TargetError:
    """The error for expressions that are longer than ``MAX_REGEX_CHARACTERS`` together."""
    return TargetError(
        "regular expressions are too long",
        f"they have at most {MAX_REGEX_CHARACTERS:,} characters together, lists of plain names aside; "
        "shorten them, or list the names like (openai|groq)",
        position,
    )


def refuse_surrogates(text: str) -> None:
    """Half a character (JSON can carry one) has no UTF-8: it could neither be matched nor sent back."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TargetError(
            f"unpaired surrogate {shown(text[error.start])}", "send the text as valid UTF-8", error.start
        ) from None


def shown(text: str) -> str:
    """A piece of the target as an error names it: cut, in quotes, with nothing in it that a terminal would obey."""
    cut = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return f'"{_printable(cut)}"'


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
