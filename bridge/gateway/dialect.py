"""Dialects: how one kind of gateway says what the bridge wants to know. Data (TOML), not code.

A dialect names the families by which it recognises a gateway, and for each signal the family, labels, unit and
encoding that carry it. ``dialect_file.py`` reads them from files, ``translate.py`` reads expositions with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

UNITS: Mapping[str, Mapping[str, float]] = {
    "reported_score": {"percent": 1.0, "ratio": 100.0, "ratio or percent": 1.0},
    "availability": {"percent": 1.0, "ratio": 100.0, "ratio or percent": 1.0},
    "error_rate": {"ratio": 1.0, "percent": 0.01},
    "latency": {"seconds": 1.0, "milliseconds": 0.001},
    "latency_histogram": {"seconds": 1.0, "milliseconds": 0.001},
    "cost": {"usd": 1.0},
}
"""Units a signal may come in, and the factor that brings each to the bridge's own."""
MAYBE_RATIO = "ratio or percent"
"""The unit of a family that is a ratio in one release of a gateway and a percentage in another."""
COUNTERS = frozenset({"requests", "successes", "failures", "rejected", "transitions", "outages"})
SIGNALS = frozenset(UNITS) | COUNTERS | {"circuit_state", "impairment"}
NUMERIC_STATES = {"0": "closed", "1": "open", "2": "half_open"}
STATES = frozenset(NUMERIC_STATES.values())


CODE_CLASS = re.compile(r"[1-5]xx")
"""A class of HTTP status codes, as ``4xx``."""
CLASSES_REMEMBERED = 10_000
MOST_READ = 100
"""Characters of a value that are compared with patterns: it comes from outside, and these can be slow."""


@lru_cache(CLASSES_REMEMBERED)
def _fits(pattern: str, value: str) -> bool:
    """True where a value (in lower case) is of a pattern: ``*`` stands for anything, ``4xx`` for 400 to 499 as well."""
    if CODE_CLASS.fullmatch(pattern):
        return re.fullmatch(pattern[0] + r"[0-9x]{2}", value) is not None
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class NameRule:
    """How a series names its provider: a label, or the part of it before a text, or a default without that text."""

    label: str
    before: str | None = None
    default: str | None = None

    def name(self, value: str) -> str:
        """The provider's name, by the label's value; empty for nobody."""
        if self.before is None:
            return value
        start, found, _ = value.partition(self.before)
        return (start if found else "") or (self.default or "" if value else "")


@dataclass(frozen=True, slots=True)
class Recognition:
    """A sign of a gateway: a family, one with a certain label, or any whose name begins so."""

    family: str
    label: str | None = None
    is_prefix: bool = False

    def seen_in(self, names: Mapping[str, set[str]]) -> bool:
        """True when the sign is among the families of an exposition, given with all labels each of them has."""
        if self.is_prefix:
            return any(name.startswith(self.family) for name in names)
        return self.family in names and (self.label is None or self.label in names[self.family])

    def __str__(self) -> str:
        return self.family + ("*" if self.is_prefix else "") + (f"{{{self.label}}}" if self.label else "")


@dataclass(frozen=True, slots=True)
class SignalSource:
    """Where one signal stands in an exposition: a family, the labels that say whose it is, its unit and encoding."""

    signal: str
    family: str
    provider: NameRule
    model: str | None = None
    """Label that names the model; a series without it speaks of the provider as a whole."""
    unit: str | None = None
    state: str | None = None
    """Label of a one-hot state (``open``/``closed``/``half_open``); a series without it is numeric, 0/1/2."""
    open_above: float | None = None
    """A circuit whose number is above this is OPEN, else CLOSED."""
    from_state: str | None = None
    to_state: str | None = None
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Label values a series must have to count."""
    exclude: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Label values that keep a series from counting (``except`` in the file)."""
    failure_classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels that tell failures apart, and what their values mean (see ``model.FAILURE_CLASSES``); in lower case."""
    tied: str | None = None
    """Name of what produces this signal inside the gateway: when one signal tied to it is impossible, all are."""
    states: Mapping[str, str] = field(default_factory=dict)
    """What the gateway's own words or numbers for states mean, as ``{ "2" = "open" }``; else 0, 1, 2 and the words."""
    identity: tuple[str, ...] = ()
    """Labels that tell apart what goes by one name. Never shown: the second of a name is called ``name #2``.

    Where one identity goes by several names, the entry that stands first in the file gives the one that is shown.
    """
    own_name_only: bool = False
    """True leaves out series that go by another name than the one their identity is shown by."""
    combine: str | None = None
    """How several series of one provider or model make one number; else the worst one counts (``cost``: the sum)."""
    adds: bool = False
    """True for a second family of the same signal and dialect, to be counted together with the first."""
    resets: str | None = None
    """``hourly`` for counters that start again with each hour of the clock, which is no restart of the gateway."""
    kind: str | None = None
    """What its providers are, where they are no LLM providers (``GPU node``)."""

    @property
    def factor(self) -> float:
        """Multiplies a published value into the bridge's unit."""
        return UNITS[self.signal][self.unit] if self.unit else 1.0

    def state_word(self, word: str) -> str:
        """A one-hot state's label value as ``closed``, ``open`` or ``half_open``; as it is when it means nothing."""
        return self.states.get(word, word.lower())

    def state_of(self, number: float) -> str | None:
        """What a numeric state means; None when it means nothing."""
        if self.open_above is not None:
            return "open" if number > self.open_above else "closed"
        return (self.states or NUMERIC_STATES).get(f"{number + 0.0:g}")  # -0.0 + 0.0 is 0.0

    def failure_class(self, labels: Mapping[str, str]) -> str | None:
        """The class that a series' labels put it in; None where none of them does, and all of it counts as failures.

        The first label whose value has a meaning decides. The value itself goes before patterns, those in their order.
        """
        for label, meanings in self.failure_classes.items():
            value = labels.get(label, "")[:MOST_READ].lower()
            found = meanings.get(value) or next((of for it, of in meanings.items() if _fits(it, value)), None)
            if found is not None:
                return found
        return None

    def sample_names(self) -> tuple[str, ...]:
        """The names its samples carry in the text."""
        if self.signal == "latency_histogram":
            return tuple(self.family + suffix for suffix in ("_bucket", "_sum", "_count"))
        return (self.family,)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of gateway."""

    name: str
    title: str
    specificity: int
    """Of two dialects in one exposition, the higher one gives a signal that both could."""
    recognised_by: tuple[Recognition, ...]
    signals: tuple[SignalSource, ...]
    scrape_success: str | None = None
    """Family in which the gateway says whether its own scrape went well (1 or 0)."""
