r"""The target language: what a panel or a curl asks for, as text → a metric, label matchers and a legend.

``metric``, ``metric{label="x",label!="x",label=~"re",label!~"re"}``, then optionally `` as legend``. The text is
Prometheus' selector, widened so that every way Grafana writes a variable works inside the quotes: escaped for a
regular expression (``openai\/gpt-4\.1``), as a list (``(openai|groq)``, ``openai|groq``, ``{openai,groq}``) and as
"all" (``.*``, ``*``). What is read is narrowed again at once: a :class:`Matcher` knows only Prometheus' own four
operators, so nothing behind the parser has to know Grafana's forms.

Regular expressions come from anyone who can see a dashboard. They are RE2 (never Python's ``re``, which can be made
to run for hours), and small: RE2 is linear in the text it reads, but compiling a few hundred characters of counted
repetition can take it seconds.
"""

from __future__ import annotations

import difflib
import re
import string
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import re2
from cachetools import LRUCache, cached

OPERATORS = ("=", "!=", "=~", "!~")
MAX_TEXT_CHARACTERS = 65_536
MAX_MATCHERS = 32
MAX_LEGEND_CHARACTERS = 1_000
"""A legend is written out once a series, so a long one would multiply."""
MAX_REGEX_CHARACTERS = 2_000
"""Of all regular expressions of one target together. Lists of plain texts, however long, do not count."""

_REGEX_MEMORY_BYTES = 128 * 1024
"""RE2's budget for one expression. With its default (8 MiB) 450 characters of ``a{0,1000}`` compile for 4 seconds;
with this and the limit on length, the worst that was found takes 50 ms to compile and 0.5 ms to match a value."""
_REGEX_CACHE_SIZE = 128
_VERDICT_CACHE_SIZE = 1_024
_SHOWN_CHARACTERS = 60
_NEAREST_CHARACTERS = 64

_EXAMPLE = 'write it like provider_health_score{provider="openai"}'
_EXAMPLE_LEGEND = 'write it like provider_health_score{provider="openai"} as {{provider}}'
_EXAMPLE_REGEX = (
    r'write it like provider_health_score{provider=~"openai|groq.*"} (RE2 syntax, matching the whole value)'
)
_EXAMPLE_OPERATOR = (
    'labels are compared with = (is), != (is not), =~ (matches) or !~ (does not match), like {provider="openai"}'
)


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
    """One condition on a label, with Prometheus' meaning and nothing of Grafana's.

    With ``=`` and ``!=`` the value is one literal text; with ``=~`` and ``!~`` it is an RE2 expression that must match
    the whole label value (``.`` matches line breaks too, as in Prometheus 3). Raises :class:`TargetError` for another
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
        return self.metric + "{" + ",".join(f'{label}="{_quoted(value)}"' for label, value in labels.items()) + "}"


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
    _refuse_surrogates(text)
    metric, position = _read_metric(text)
    matchers, position = _read_selector(text, position)
    return Target(text, metric, matchers, _read_legend(text, position))


def matcher(label: str, op: str, value: str) -> Matcher:
    """Build a matcher from outside the language: an ad-hoc filter, a query parameter.

    With ``=`` and ``!=`` the value is taken as it is, whatever it looks like; with ``=~`` and ``!~`` it is a regular
    expression or one of Grafana's forms (``{a,b}``, ``*``). Raises :class:`TargetError` (without a position).
    """
    try:
        _refuse_surrogates(label)
        _refuse_surrogates(value)
    except TargetError as error:
        raise TargetError(f"the filter on {_show(label)} cannot be used: {error.message}", error.hint) from None
    if not _LABEL.fullmatch(label):
        raise TargetError(f"{_show(label)} is not a label name", _EXAMPLE_OPERATOR)
    if len(value) > MAX_TEXT_CHARACTERS:
        raise TargetError(
            f"the value for {_show(label)} is too long ({len(value):,} characters)",
            f"a value has at most {MAX_TEXT_CHARACTERS:,} characters",
        )
    if op in ("=~", "!~"):
        op, value = _in_prometheus_terms(op, value)
    return Matcher(label, op, value)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like ``word``, or ``None`` when none is much like it."""
    # The comparison takes time quadratic in the length, and no known word is longer.
    close = difflib.get_close_matches(word[:_NEAREST_CHARACTERS].lower(), known, n=1)
    return close[0] if close else None


# Reading. Every expression below is fixed, and none can be made to try again: each takes time linear in the text.

_AS_REGEX = {"=": "=~", "!=": "!~", "=~": "=~", "!~": "!~"}
_BLANK = re.compile(r"\s*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_METRIC_WORD = re.compile(r"[^\s{]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
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
        raise TargetError(f"{_show(word)} is not a metric name: unexpected {_show(text[bad])}", _EXAMPLE, bad)
    return name, start + len(name)


def _read_selector(text: str, position: int) -> tuple[tuple[Matcher, ...], int]:
    """The matchers in braces, if there are braces, and the offset behind them."""
    position = _skip_blank(text, position)
    if not text.startswith("{", position):
        return (), position
    matchers: list[Matcher] = []
    regex_characters = 0
    position = _skip_blank(text, position + 1)
    while not text.startswith("}", position):
        if len(matchers) == MAX_MATCHERS:
            raise TargetError("too many matchers", f"a target has at most {MAX_MATCHERS} matchers", position)
        label, position = _read_label(text, position)
        op, position = _read_operator(text, position)
        raw, after = _read_string(text, position)
        op, value = _in_prometheus_terms(op, raw)
        if op in ("=~", "!~") and _literals(value) is None:
            regex_characters += len(value)
        if regex_characters > MAX_REGEX_CHARACTERS:
            raise _regex_too_long(position)
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
                f"unexpected {_show(_word_at(_WORD, text, position))} after a value",
                'matchers are separated by commas and end with a brace, like {provider="openai",model="gpt-4.1"}',
                position,
            )
    return tuple(matchers), position + 1


def _read_label(text: str, position: int) -> tuple[str, int]:
    label = _word_at(_LABEL, text, position)
    if label:
        return label, _skip_blank(text, position + len(label))
    if position == len(text):
        raise _no_closing_brace(position)
    raise TargetError(f"a label name is missing before {_show(_word_at(_WORD, text, position))}", _EXAMPLE, position)


def _read_operator(text: str, position: int) -> tuple[str, int]:
    op = _word_at(_OPERATOR_WORD, text, position)
    if not op:
        raise TargetError("an operator is missing after the label", _EXAMPLE_OPERATOR, position)
    if op not in OPERATORS:
        raise TargetError(f"unknown operator {_show(op)}", _EXAMPLE_OPERATOR, position)
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
            f"unexpected {_show(_word_at(_WORD, text, position))} after the selector", _EXAMPLE_LEGEND, position
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


def _regex_too_long(position: int | None = None) -> TargetError:
    return TargetError(
        "regular expressions are too long",
        f"they have at most {MAX_REGEX_CHARACTERS:,} characters together, lists of plain names aside; "
        "shorten them, or list the names like (openai|groq)",
        position,
    )


def _refuse_surrogates(text: str) -> None:
    """Half a character (JSON can carry one) has no UTF-8: it could neither be matched nor sent back."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TargetError(
            f"unpaired surrogate {_show(text[error.start])}", "send the text as valid UTF-8", error.start
        ) from None


def _show(text: str) -> str:
    """A piece of the target as an error names it: cut, in quotes, with nothing in it that a terminal would obey."""
    cut = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return f'"{_printable(cut)}"'


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# Values: from what stands between the quotes to Prometheus' terms, and back.

_TOKEN = re.compile(r"\\?.", re.DOTALL)
"""An escaped character with its backslash, or a bare character."""
_METACHARACTERS = frozenset("\\^$*+?.()|[]{}")
_REGEX_ESCAPES = str.maketrans({c: "\\" + c for c in _METACHARACTERS})
_VALUE_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_PUNCTUATION = frozenset(string.punctuation)


def _in_prometheus_terms(op: str, raw: str) -> tuple[str, str]:
    """The operator and value that mean in Prometheus what ``op`` and ``raw`` mean here.

    A list or a wildcard turns ``=`` into ``=~``; a single value stays with ``=`` and is unescaped.
    """
    if raw in ("*", ".*"):
        return _AS_REGEX[op], ".*"
    if raw.startswith("{") and raw.endswith("}") and "," in raw:
        parts = raw[1:-1].split(",")
    elif op in ("=~", "!~"):
        return op, raw
    else:
        parts = ["".join(map(_unescape, part)) for part in _split_list(raw)]
        if len(parts) == 1:
            return op, parts[0]
    return _AS_REGEX[op], "|".join(part.translate(_REGEX_ESCAPES) for part in parts)


def _split_list(raw: str) -> list[list[str]]:
    """The parts, as tokens, of ``(a|b)`` or ``a|b``; one part when it is no list."""
    tokens: list[str] = _TOKEN.findall(raw)
    if "|" not in tokens:
        return [tokens]
    if tokens[0] == "(" and tokens[-1] == ")":
        tokens = tokens[1:-1]
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == "|":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _unescape(token: str) -> str:
    """What a token stands for as text: escaped punctuation is itself, and a backslash before a letter stays."""
    if len(token) == 1:
        return token
    if token[1] in _PUNCTUATION:
        return token[1]
    return {"\\n": "\n", "\\t": "\t"}.get(token, token)


def _literals(pattern: str) -> frozenset[str] | None:
    """All that an expression matches where it is no more than a list of escaped texts, else ``None``.

    That is what Grafana makes of a variable. Looking one up is quicker than RE2 and needs no limit on its size.
    """
    parts = _split_list(pattern)
    for token in (token for part in parts for token in part):
        # Bare, it means more than itself; escaped and still two characters, it is a class like \d or an error.
        if token in _METACHARACTERS or len(_unescape(token)) == 2:
            return None
    return frozenset("".join(map(_unescape, part)) for part in parts)


def _quoted(value: str) -> str:
    """A label value as it stands between double quotes.

    That is as Prometheus escapes it, but for the rare value that would be read as a list or a wildcard: what makes it
    look like one is escaped too, so that it stands for itself.
    """
    text = value.translate(_VALUE_ESCAPES)
    if _in_prometheus_terms("=", text) == ("=", value):
        return text
    text = text.replace("|", "\\|")
    return "\\" + text if text[0] in "*.{" else text


def _predicate(op: str, value: str) -> Callable[[str], bool]:
    """The test that a matcher does on a label's value."""
    if op == "=":
        return lambda found: found == value
    if op == "!=":
        return lambda found: found != value
    if op not in ("=~", "!~"):
        raise TargetError(f"unknown operator {_show(op)}", _EXAMPLE_OPERATOR)
    literals = _literals(value)
    accepts = _compiled(value) if literals is None else literals.__contains__
    return accepts if op == "=~" else lambda found: not accepts(found)


@cached(LRUCache(maxsize=_REGEX_CACHE_SIZE), lock=threading.Lock())
def _compiled(pattern: str) -> Callable[[str], bool]:
    """Whether RE2 matches a whole text with the pattern. Raises :class:`TargetError` with RE2's own words."""
    if len(pattern) > MAX_REGEX_CHARACTERS:
        raise _regex_too_long()
    _refuse_surrogates(pattern)
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    options.never_capture = True  # only yes or no is asked for, which RE2 answers much quicker
    options.dot_nl = True
    try:
        expression = re2.compile(pattern.encode(), options)
    except re2.error as error:
        words = error.args[0].decode(errors="replace")
        raise TargetError(f"not a regular expression, RE2 says {_show(words)}", _EXAMPLE_REGEX) from None

    # The same few providers come by in every series and at every refresh.
    @lru_cache(maxsize=_VERDICT_CACHE_SIZE)
    def accepts(value: str) -> bool:
        return expression.fullmatch(value.encode(errors="replace")) is not None

    return accepts
