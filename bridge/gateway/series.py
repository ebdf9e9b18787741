"""One series: its name and labels, read from the text they stand in.

Thousands of series differ in nothing but their labels' values. What they share, their shape, is read once: where a
text's parts between its quotes are known, the rest of it are values. Escapes, and whatever else could be read in
another way, are left to prometheus_client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from prometheus_client.parser import text_string_to_metric_families

MAX_LINE_BYTES = 16_384
"""A longer line is rejected: reading labels takes time quadratic in their length."""
MAX_LABELS = 128
"""A series with more is rejected: each label takes some hundred bytes of memory."""
MAX_SHAPES = 1_000
"""So many are remembered."""

SeriesKey = tuple[str, tuple[str, ...], tuple[str, ...]]

_LABEL = r'([a-zA-Z][a-zA-Z0-9_]*)=""'
_LABELS = re.compile(_LABEL)
_SHAPE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({_LABEL}(?:, ?{_LABEL})*)\}})?")
"""A name and labels without their values."""
_SPECIAL = re.compile(r"[\\\x00-\x1f]")
"""What keeps a text from being taken apart at its quotes."""
_PROBE = 6174.0
"""A value that is put behind a name and labels to have them parsed."""


@dataclass(frozen=True, eq=False)
class Shape:
    """What the series of one kind share: their name, and their labels' names in the order they stand in."""

    name: str
    labels: tuple[str, ...]

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The places of the labels, by name."""
        return tuple(sorted(range(len(self.labels)), key=self.labels.__getitem__))

    @cached_property
    def sorted_labels(self) -> tuple[str, ...]:
        """The labels by name."""
        return tuple(sorted(self.labels))

    @cached_property
    def is_sorted(self) -> bool:
        """True where the labels stand by name."""
        return self.labels == self.sorted_labels


@dataclass(slots=True, eq=False)  # not frozen, which would take half of the time of reading one; never changed
class Series:
    """One series' identity. Compared by identity: the same object comes back poll after poll."""

    shape: Shape
    values: tuple[str, ...]
    """Of the shape's labels."""
    identity: bytes
    """Name and labels as they stand in the text."""

    @property
    def name(self) -> str:
        """The name of its samples."""
        return self.shape.name

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels' values by their names."""
        return dict(zip(self.shape.labels, self.values, strict=True))

    @property
    def key(self) -> SeriesKey:
        """What makes it this series, in whatever order its labels stand."""
        shape, values = self.shape, self.values
        if not shape.is_sorted:
            values = tuple([values[place] for place in shape.order])
        return shape.name, shape.sorted_labels, values

    @property
    def text(self) -> str:
        """Name and labels as they stand in the text."""
        return self.identity.decode()


@dataclass(slots=True)
class SeriesParser:
    """Parses names and labels. It remembers shapes, and nothing else."""

    _by_parts: dict[tuple[str, ...], Shape] = field(default_factory=dict)
    _by_labels: dict[tuple[str, tuple[str, ...]], Shape] = field(default_factory=dict)

    def parse(self, identity: bytes) -> Series | None:
        """Name and labels of one series, or None when they do not parse."""
        if len(identity) > MAX_LINE_BYTES or identity.count(b'="') > MAX_LABELS:
            return None
        try:
            text = identity.decode()
            if not _SPECIAL.search(text):
                parts = text.split('"')
                shape = self._shape_of(tuple(parts[::2]))
                if shape is not None and 2 * len(shape.labels) + 1 == len(parts):
                    return Series(shape, tuple(parts[1::2]), identity)
            families = list(text_string_to_metric_families(f"{text} {_PROBE}\n"))
        except (ValueError, IndexError, KeyError):
            return None
        samples = [sample for family in families for sample in family.samples]
        if len(samples) != 1 or samples[0].value != _PROBE or samples[0].timestamp is not None:
            return None  # more stands there than a name and labels
        name, labels = samples[0].name, samples[0].labels
        return Series(self._shape(name, tuple(labels)), tuple(labels.values()), identity)

    def _shape_of(self, parts: tuple[str, ...]) -> Shape | None:
        """The shape of a text with these parts outside of its quotes; None where they are not plainly one."""
        known = self._by_parts.get(parts)
        if known is not None:
            return known
        plain = _SHAPE.fullmatch('""'.join(parts))
        if plain is None:
            return None
        labels = tuple(_LABELS.findall(plain[2] or ""))
        if len({*labels}) != len(labels):
            return None
        shape = self._by_parts[parts] = self._shape(plain[1], labels)
        return shape

    def _shape(self, name: str, labels: tuple[str, ...]) -> Shape:
        if len(self._by_labels) >= MAX_SHAPES:
            self._by_labels.clear()
            self._by_parts.clear()
        return self._by_labels.setdefault((name, labels), Shape(name, labels))
