"""Dialect files (TOML): read, and refused with what would be right.

The files in ``dialects/`` are the built-in ones; a path to a file of one's own works the same.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bridge.gateway.dialect import COUNTERS, SIGNALS, STATES, UNITS, Dialect, NameRule, Recognition, SignalSource
from bridge.model import FAILURE_CLASSES

PER_PROVIDER = frozenset({"reported_score", "availability", "error_rate", "latency"})
"""Gauges that are of a provider, never of one model."""
COMBINATIONS = ("sum", "mean", "lowest", "highest")


class DialectError(ValueError):
    """A dialect file that cannot be used. The message names the file, the entry, and what would be right."""


def select(choice: str) -> tuple[Dialect, ...]:
    """The dialects to try: for ``auto`` the built-in ones; else those named, by name or path, with commas between.

    Raises DialectError when there is no such dialect or file, a file is wrong, or two claim one signal alike.
    """
    dialects = builtin()
    if choice == "auto":
        return tuple(dialects.values())
    chosen = []
    for name in filter(None, (part.strip() for part in choice.split(","))):
        if name not in dialects and not _is_file(name):
            raise DialectError(
                f"no dialect {name!r}: built in are {', '.join(dialects)}; or give the path of a TOML file"
            )
        chosen.append(dialects[name] if name in dialects else load(Path(name)))
    if not chosen:
        raise DialectError(f"no dialect is named: built in are {', '.join(dialects)}; or give the path of a TOML file")
    refuse_rivals(chosen)
    return tuple(chosen)


class InForce(NamedTuple):
    """The dialects to go on with, and why they are not what their files say now; empty where they are."""

    dialects: tuple[Dialect, ...]
    trouble: str = ""


_read_well: dict[str, tuple[Dialect, ...]] = {}
"""By choice, what it last gave. A worker has from its birth what the process that it was forked from had read."""


def in_force(choice: str) -> InForce:
    """As ``select``; but where a file cannot be used any more, what it said when it was last read well.

    Raises DialectError when this process, and those that it was forked from, never read it well.
    """
    try:
        dialects = _read_well[choice] = select(choice)
    except DialectError as error:
        if choice not in _read_well:
            raise
        return InForce(_read_well[choice], str(error))
    return InForce(dialects)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for a path, or with a NUL in it
        return False


def refuse_rivals(dialects: Sequence[Dialect]) -> None:
    """Raise DialectError when two dialects of one specificity claim one signal: nothing says which of them gives it."""
    for position, one in enumerate(dialects):
        for other in dialects[position + 1 :]:
            both = {source.signal for source in one.signals} & {source.signal for source in other.signals}
            if both and one.specificity == other.specificity:
                raise DialectError(
                    f"{one.name} and {other.name} both claim {_listed(both)} with specificity {one.specificity}:"
                    " give the one that shall win a higher specificity"
                )


@cache
def builtin() -> Mapping[str, Dialect]:
    """The dialects that come with the bridge, by name, most specific first."""
    files = sorted((Path(__file__).parent / "dialects").glob("*.toml"))
    dialects = sorted((load(file) for file in files), key=lambda dialect: -dialect.specificity)
    refuse_rivals(dialects)
    return MappingProxyType({dialect.name: dialect for dialect in dialects})


def load(path: Path) -> Dialect:
    """Read one dialect file. Raises DialectError, naming the file and the place, when it cannot be used."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DialectError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DialectError(f"{path}: not TOML: {error}") from None
    try:
        return _dialect(content)
    except DialectError as error:
        raise DialectError(f"{path}: {error}") from None


def _dialect(content: dict[str, Any]) -> Dialect:
    known = {"name", "title", "specificity", "recognised_by", "scrape_success", "signals"}
    _refuse_unknown(content, known, "the dialect")
    entries = content.get("signals")
    if not isinstance(entries, list) or not entries:
        raise DialectError("has no [[signals]]; at least one is needed")
    recognised_by = content.get("recognised_by")
    if not _is_words(recognised_by) or not recognised_by:
        raise DialectError('recognised_by: want a list of family names, as ["my_gateway_requests_total"]')
    name = _text(content, "name", "the dialect")
    specificity = content.get("specificity", 0)
    if not isinstance(specificity, int) or isinstance(specificity, bool):
        raise DialectError("specificity: want a whole number, as 50")
    return Dialect(
        name=name,
        title=content.get("title", name) if isinstance(content.get("title", name), str) else name,
        specificity=specificity,
        recognised_by=tuple(_recognition(sign) for sign in recognised_by),
        signals=tuple(_source(entry, number) for number, entry in enumerate(entries, start=1)),
        scrape_success=_optional_text(content, "scrape_success", "the dialect"),
    )


def _source(entry: object, number: int) -> SignalSource:
    where = f"signal {number}"
    if not isinstance(entry, dict):
        raise DialectError(f"{where}: want a table, as [[signals]]")
    where = f"signal {number} ({entry.get('signal', '?')})"
    texts = ("model", "unit", "state", "from_state", "to_state", "tied", "combine", "kind", "resets")
    known = {
        "signal",
        "family",
        "provider",
        "only",
        "except",
        "open_above",
        "own_name_only",
        "adds",
        "identity",
        "states",
        "failure_classes",
        *texts,
    }
    _refuse_unknown(entry, known, where)
    signal = _text(entry, "signal", where)
    if signal not in SIGNALS:
        raise DialectError(f"{where}: no signal {signal!r}{_nearest(signal, SIGNALS)}; signals are {_listed(SIGNALS)}")
    units = UNITS.get(signal)
    if units is not None and str(entry.get("unit")) not in units:
        raise DialectError(f"{where}: unit {entry.get('unit')!r}: want one of {_listed(units)}")
    if units is None and "unit" in entry:
        raise DialectError(f"{where}: has no unit; leave it out")
    if signal == "transitions" and not {"from_state", "to_state"} <= entry.keys():
        raise DialectError(f'{where}: want the labels of both states, as from_state = "from", to_state = "to"')
    if str(entry.get("combine", "sum")) not in COMBINATIONS:
        raise DialectError(f"{where}: combine {entry['combine']!r}: want one of {_listed(set(COMBINATIONS))}")
    if "resets" in entry and (signal not in COUNTERS or entry["resets"] != "hourly"):
        raise DialectError(f'{where}: resets {entry["resets"]!r}: want "hourly", for counters alone')
    if "open_above" in entry and (signal != "circuit_state" or not _is_number(entry["open_above"])):
        raise DialectError(f"{where}: open_above: want a number, for circuit_state alone, as open_above = 0")
    if signal in PER_PROVIDER and "model" in entry:
        raise DialectError(
            f"{where}: model: {signal} is a provider's; leave model out (combine makes one number of many)"
        )
    if entry.get("own_name_only") and "identity" not in entry:
        raise DialectError(f'{where}: own_name_only: want an identity beside it, as identity = "model_id"')
    return SignalSource(
        signal=signal,
        family=_text(entry, "family", where),
        provider=_name_rule(entry, where),
        open_above=entry.get("open_above"),
        identity=_labels(entry, "identity", where),
        states=_states(entry, where),
        failure_classes=_failure_classes(entry, where),
        own_name_only=_flag(entry, "own_name_only", where),
        adds=_flag(entry, "adds", where),
        only=_label_values(entry, "only", where),
        exclude=_label_values(entry, "except", where),
        **{key: _optional_text(entry, key, where) for key in texts},
    )


_SIGN = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:(\*)|\{([a-zA-Z_][a-zA-Z0-9_]*)\})?")


def _recognition(sign: str) -> Recognition:
    found = _SIGN.fullmatch(sign)
    if found is None:
        raise DialectError(f'recognised_by: {sign!r}: want a family, as "x_total", "x_total{{label}}" or "x_*"')
    return Recognition(found[1], found[3], bool(found[2]))


def _name_rule(entry: Mapping[str, Any], where: str) -> NameRule:
    rule = entry.get("provider")
    if not isinstance(rule, dict):
        return NameRule(_text(entry, "provider", where))
    _refuse_unknown(rule, {"label", "before", "default"}, f"{where}: provider")
    inside = f"{where}: provider"
    label, before = _text(rule, "label", inside), _optional_text(rule, "before", inside)
    return NameRule(label, before, _optional_text(rule, "default", inside))


def _labels(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """One label, or a list of them."""
    value = entry.get(key, [])
    labels = [value] if isinstance(value, str) else value
    if not _is_words(labels) or (key in entry and not labels):
        raise DialectError(f'{where}: {key}: want a label or a list of labels, as {key} = "model_id"')
    return tuple(labels)


def _states(entry: Mapping[str, Any], where: str) -> Mapping[str, str]:
    states = entry.get("states", {})
    if not isinstance(states, dict) or not all(isinstance(value, str) and value in STATES for value in states.values()):
        raise DialectError(f'{where}: states: want words with one of {_listed(STATES)}, as states = {{ "2" = "open" }}')
    return states


def _failure_classes(entry: Mapping[str, Any], where: str) -> Mapping[str, Mapping[str, str]]:
    table = entry.get("failure_classes", {})
    if "failure_classes" in entry and entry.get("signal") != "failures":
        raise DialectError(f"{where}: failure_classes: for failures alone")
    well = isinstance(table, dict) and all(
        isinstance(meanings, dict) and meanings and all(it in FAILURE_CLASSES for it in meanings.values())
        for meanings in table.values()
    )
    if not well or ("failure_classes" in entry and not table):
        raise DialectError(
            f"{where}: failure_classes: want labels whose values are one of {_listed(FAILURE_CLASSES)},"
            ' as failure_classes = { status = { "429" = "rate_limited" } }'
        )
    return {label: {value.lower(): it for value, it in meanings.items()} for label, meanings in table.items()}


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise DialectError(f"{where}: {key}: want true or false")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise DialectError(f'{where}: {key}: want a text, as {key} = "…"')
    return value


def _optional_text(table: Mapping[str, Any], key: str, where: str) -> str | None:
    return _text(table, key, where) if key in table else None


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) and word for word in value)


def _label_values(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, frozenset[str]]:
    table = entry.get(key, {})
    if not isinstance(table, dict) or not all(_is_words(values) for values in table.values()):
        raise DialectError(f'{where}: {key}: want labels with lists of values, as {key} = {{ status = ["error"] }}')
    return {label: frozenset(values) for label, values in table.items()}


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise DialectError(f"{where}: unknown key {key!r}{_nearest(key, known)}; keys are {_listed(known)}")


def _nearest(word: str, known: frozenset[str] | set[str]) -> str:
    close = difflib.get_close_matches(word[:80], known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _listed(words: Mapping[str, Any] | frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(words))
