r"""Grafana's ways to write a variable's value, read as the label texts that they name.

What stands between the quotes of ``provider=~"$provider"`` depends on the variable's format: csv and raw (``a,b``),
glob (``{a,b}``), pipe (``a|b``), json (``["a","b"]``), doublequote (``"a","b"``), singlequote (``'a','b'``), regex
(``(a\.b|c)``); a single value stands bare in most of them. Only regex and json escape what could be mistaken, so
whether ``a,b`` is one name or two is decided by the label texts that exist: a list is read as the longest of them, from
the left, and a label's own text always means that label.
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

WILDCARDS = ("*", ".*")
_AS_REGEX = {"=": "=~", "!=": "!~", "=~": "=~", "!~": "!~"}
_AS_EQUAL = {"=": "=", "!=": "!=", "=~": "=", "!~": "!="}
_TOKEN = re.compile(r"\\?.", re.DOTALL)
"""An escaped character with its backslash, or a bare character."""
_PLAIN = re.compile(r"[\w /:@-]*")
"""Texts that mean the same in every form."""
METACHARACTERS = frozenset("\\^$*+?.()|[]{}")
_REGEX_ESCAPES = str.maketrans({c: "\\" + c for c in METACHARACTERS})
_VALUE_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_PUNCTUATION = frozenset(string.punctuation)
_END = None


@dataclass(frozen=True, slots=True)
class _List:
    """The texts that a value names: those that exist, and those that do not."""

    found: tuple[str, ...]
    missing: tuple[str, ...] = ()
    bracketed: bool = False
    """True for a form that can be nothing but a list."""


def is_plain(raw: str) -> bool:
    """True for a value that means the same whatever label texts exist."""
    return raw in WILDCARDS or _PLAIN.fullmatch(raw) is not None


def in_prometheus_terms(op: str, raw: str, quote: str = '"', known: Collection[str] = ()) -> tuple[str, str]:
    """The operator and value that mean in Prometheus what ``op`` and ``raw`` mean here.

    ``raw`` stands between two ``quote``; ``known`` are the label texts that exist. A list or a wildcard turns ``=``
    into ``=~``; a single value stays with ``=`` and is unescaped. An expression is itself, where it is no label's own
    text and no list.
    """
    if raw in WILDCARDS:
        return _AS_REGEX[op], ".*"
    text = raw.replace("\\" + quote, quote)
    named = None if is_plain(raw) else _named(raw, text, known)
    if named is None:
        return _as_written(op, text)
    if op in ("=~", "!~") and not named.bracketed and not METACHARACTERS.isdisjoint("".join(named.missing)):
        return op, f"{listed(named.found)}|{raw}"  # the others may be expressions
    return one_of(op, (*named.found, *named.missing))


def one_of(op: str, texts: Sequence[str]) -> tuple[str, str]:
    """The operator and value for one text, or for any of several, of which each stands for itself."""
    return (_AS_EQUAL[op], texts[0]) if len(texts) == 1 else (_AS_REGEX[op], listed(texts))


def _as_written(op: str, raw: str) -> tuple[str, str]:
    """What a value means by its looks alone."""
    if raw.startswith("{") and raw.endswith("}") and "," in raw:
        parts = raw[1:-1].split(",")
    elif op in ("=~", "!~"):
        return op, raw
    else:
        parts = ["".join(map(_unescape, part)) for part in _split_list(raw)]
        if len(parts) == 1:
            return op, parts[0]
    return _AS_REGEX[op], listed(parts)


def _named(raw: str, text: str, known: Collection[str]) -> _List | None:
    """The list that a value is; None for one that names nothing that exists. ``text``: without its quotes' escapes."""
    own = dict.fromkeys((raw, text, "".join(map(_unescape, _TOKEN.findall(raw)))))
    if itself := tuple(one for one in own if one in known):
        return _List(itself)
    part = None
    for one in (one for spelling in dict.fromkeys((raw, text)) for one in _lists(spelling, known)):
        if not one.missing:
            return one
        if part is None and (one.found or one.bracketed):
            part = one
    return part


def _lists(raw: str, known: Collection[str]) -> Iterable[_List]:
    """Every way to read a value as a list: those come first that are less likely to be something else."""
    if (names := _from_json(raw)) is not None:
        yield _sorted_out(names, known, bracketed=True)
    if not known:
        return
    if len(raw) >= 2 and raw[0] == raw[-1] and raw[0] in "\"'":
        yield _in_quotes(raw, raw[0], known)
    if raw.startswith("{") and raw.endswith("}"):
        yield _longest(raw[1:-1], ",", known)
    if "|" in raw:
        escaped = _sorted_out(["".join(map(_unescape, part)) for part in _split_list(raw)], known)
        bare = _longest(raw, "|", known)
        yield from (escaped, bare) if raw.startswith("(") and raw.endswith(")") else (bare, escaped)
    if "," in raw:
        yield _longest(raw, ",", known)


def _from_json(raw: str) -> list[str] | None:
    """The texts of a JSON list."""
    if not (raw.startswith("[") and raw.endswith("]")):
        return None
    try:
        content: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return content if content and all(isinstance(one, str) for one in content) else None


def _in_quotes(raw: str, quote: str, known: Collection[str]) -> _List:
    """A list of quoted texts. Quotes in the texts are escaped, and nothing else."""
    names = {quote + name.replace(quote, "\\" + quote) + quote: name for name in known}
    written = _longest(raw, ",", names)
    missing = (text.strip(quote).replace("\\" + quote, quote) for text in written.missing)
    return _List(tuple(names[text] for text in written.found), tuple(missing))


def _sorted_out(names: Iterable[str], known: Collection[str], *, bracketed: bool = False) -> _List:
    names = dict.fromkeys(names)
    found = tuple(name for name in names if name in known)
    return _List(found, tuple(name for name in names if name not in known), bracketed)


def _longest(raw: str, separator: str, known: Collection[str]) -> _List:
    """A list of bare texts, from the left each the longest that exists; so that all of it does, where that can be.

    Takes time linear in ``raw``.
    """
    parts = raw.split(separator)
    longer = _tree(known, separator)
    lengths = [_lengths(parts, place, longer, known) for place in range(len(parts))]
    whole = [False] * len(parts) + [True]  # whether all exists from there on
    for place in reversed(range(len(parts))):
        whole[place] = any(whole[place + length] for length in lengths[place])
    names: list[str] = []
    place = 0
    while place < len(parts):
        fitting = [length for length in lengths[place] if whole[place + length] or not whole[place]]
        length = max(fitting, default=1)
        names.append(separator.join(parts[place : place + length]))
        place += length
    return _sorted_out(names, known)


def _lengths(parts: Sequence[str], place: int, longer: Mapping[str | None, Any], known: Collection[str]) -> list[int]:
    """How many parts those texts that exist are made of which begin at a place."""
    found = [1] if parts[place] in known else []
    branch = longer
    for ahead in range(place, len(parts)):
        if parts[ahead] not in branch:
            break
        branch = branch[parts[ahead]]
        if _END in branch:
            found.append(ahead + 1 - place)
    return found


def _tree(known: Collection[str], separator: str) -> dict[str | None, Any]:
    """The texts that hold a separator, part by part; ``_END`` marks where one ends."""
    tree: dict[str | None, Any] = {}
    for text in known:
        if separator in text:
            branch = tree
            for part in text.split(separator):
                branch = branch.setdefault(part, {})
            branch[_END] = {}
    return tree


def listed(values: Iterable[str]) -> str:
    """The regular expression of a list of texts of which each stands for itself."""
    return "|".join(value.translate(_REGEX_ESCAPES) for value in values)


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


def literals(pattern: str) -> frozenset[str] | None:
    """All that an expression matches where it is no more than a list of escaped texts, else ``None``.

    That is what Grafana makes of a variable. Looking one up is quicker than RE2 and needs no limit on its size.
    """
    parts = _split_list(pattern)
    for token in (token for part in parts for token in part):
        # Bare, it means more than itself; escaped and still two characters, it is a class like \d or an error.
        if token in METACHARACTERS or len(_unescape(token)) == 2:
            return None
    return frozenset("".join(map(_unescape, part)) for part in parts)


def quoted(value: str) -> str:
    """A label value as it stands between double quotes.

    That is as Prometheus escapes it, but for the rare value that would be read as a list or a wildcard: what makes it
    look like one is escaped too, so that it stands for itself.
    """
    text = value.translate(_VALUE_ESCAPES)
    if in_prometheus_terms("=", text) == ("=", value):
        return text
    text = text.replace("|", "\\|")
    return "\\" + text if text[0] in "*.{[" else text
