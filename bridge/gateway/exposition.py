"""Prometheus text → samples, tolerantly: a line that does not parse costs that line alone.

A gateway is read every few seconds and hardly changes its series, so a series' name and labels are parsed once and
remembered by their raw text; the next poll only reads values. What is remembered is what the last exposition held, so
a gateway that renames its series every time does not grow memory.

Laxer than Prometheus: types and the order of families do not matter, and a timestamp is read over (the bridge stamps
a poll with its own time). Stricter than ``float()``: no ``1_0``, no digits outside ASCII.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from bridge.gateway.series import Series, SeriesKey, SeriesParser
from bridge.model import Floats

MAX_SERIES = 200_000
"""Series that are read; what is over is left out, with a notice."""
BEARABLE_REJECTS = 1_000
"""More rejected lines than this, and than half of all lines, are no exposition."""
LINES_BETWEEN_LOOKS = 1_000
"""How many lines are read between two looks at the clock."""
SHOWN_REJECTS = 5
NAME_BYTES = 80
"""What is shown of a rejected line's name."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that could not be read: its number (from 1) and the name it begins with.

    Label values are left out: a line that does not parse may hold anything, keys included.
    """

    number: int
    name: str

    def __str__(self) -> str:
        return f"line {self.number} ({self.name}…)"


class ReadingGivenUp(Exception):
    """An exposition that is not read to its end. The message says why."""


class TooManyRejects(ReadingGivenUp):
    """It is no exposition: most of its lines cannot be read."""


class OutOfTime(ReadingGivenUp):
    """The time that there was for it is over. What was parsed is remembered, so the next reading gets further."""


@dataclass(frozen=True, slots=True)
class Exposition:
    """The samples of one scrape. Of a series that stands there twice, the last value counts."""

    series: tuple[Series, ...]
    values: Floats
    """One for each series, in their order. They may be NaN or infinite: present, but not known."""
    generation: int = 0
    """The same number means the same series in the same order as in the exposition before."""
    rejected_lines: int = 0
    first_rejected: tuple[Rejected, ...] = field(default=())
    notices: tuple[str, ...] = ()

    @property
    def samples(self) -> dict[Series, float]:
        """Each series' value."""
        return dict(zip(self.series, self.values.tolist(), strict=True))


class ExpositionReader:
    """Reads one gateway's expositions, one after another. Not thread-safe."""

    def __init__(self) -> None:
        self._parser = SeriesParser()
        self._known: dict[bytes, Series] = {}
        self._series: tuple[Series, ...] = ()
        self._identities: list[bytes] = []
        """The text of each series; empty where one of them goes by two."""
        self._generation = 0

    def read(self, body: bytes, *, deadline: float = math.inf) -> Exposition:
        """Read a whole exposition (Prometheus text format 0.0.4, UTF-8), until ``deadline`` (``time.monotonic()``).

        Raises ReadingGivenUp, and nothing else whatever stands in it.
        """
        values = self._read_unchanged(body)
        if values is not None:
            return Exposition(self._series, values, self._generation)
        lines = _Lines(self._known, self._parser)
        try:
            lines.read(body, deadline)
        except OutOfTime:
            self._known = {**self._known, **lines.known} if len(self._known) < MAX_SERIES else lines.known
            self._series, self._identities = (), []
            raise
        samples, known = lines.samples, lines.known
        if known != self._known or len(samples) != len(self._series):
            self._known = known
            self._series = tuple(samples)
            self._identities = list(known) if len(known) == len(samples) else []
            self._generation += 1
        values = np.fromiter((samples[series] for series in self._series), dtype=np.float64, count=len(samples))
        return Exposition(
            self._series, values, self._generation, lines.rejected, tuple(lines.first_rejected), lines.notices()
        )

    def _read_unchanged(self, body: bytes) -> Floats | None:
        """All values at once, where nothing but values has changed; None where it must be read line by line."""
        values: list[float] = []
        for piece in _pieces(body):
            lines = [line for line in piece if line and line[0] != _HASH]
            parts = [line.rpartition(b" ") for line in lines]
            texts = [text for _, _, text in parts]
            # float() would read over a "_", and knows more names of what is not finite than the format does
            if self._identities[len(values) : len(values) + len(parts)] != [name for name, _, _ in parts]:
                return None
            try:
                read = list(map(float, texts))
            except ValueError:
                return None
            if b"_" in b" ".join(texts) or not math.isfinite(sum(read)):
                return None
            values += read
        return np.array(values) if values and len(values) == len(self._identities) else None


@dataclass(slots=True)
class _Lines:
    """An exposition that is read line by line."""

    known_before: Mapping[bytes, Series]
    parser: SeriesParser
    by_key: dict[SeriesKey, Series] | None = None
    """All series by what makes them the same; worked out when it is first needed."""
    samples: dict[Series, float] = field(default_factory=dict)
    known: dict[bytes, Series] = field(default_factory=dict)
    """The series by their text: several, where labels stand in several orders."""
    rejected: int = 0
    first_rejected: list[Rejected] = field(default_factory=list)
    left_out: int = 0

    def read(self, body: bytes, deadline: float) -> None:
        """Read all lines. Raises ReadingGivenUp."""
        lines = body.count(b"\n")
        most_rejects = max(BEARABLE_REJECTS, lines // 2)
        all_lines = (line for piece in _pieces(body) for line in piece)
        for number, line in enumerate(all_lines, start=1):
            if number % LINES_BETWEEN_LOOKS == 0 and time.monotonic() > deadline:
                raise OutOfTime(f"there was no time to read more than {number} of {lines} lines")
            line = line.strip()
            if line and line[0] != _HASH and not self._take(line):
                self._reject(number, line)
                if self.rejected > most_rejects:
                    first = ", ".join(map(str, self.first_rejected[:2]))
                    raise TooManyRejects(f"most of its lines cannot be read, beginning with {first}")

    def _take(self, line: bytes) -> bool:
        """Read one line; False when it is no sample."""
        identity_end = line.rfind(b"}") + 1 or _first_blank(line)
        value = _parse_value(line[identity_end:])
        if value is None:
            return False
        identity = line[:identity_end]
        series = self.known.get(identity)
        if series is None and len(self.known) >= MAX_SERIES:
            self.left_out += 1
            return True
        series = series or self.known_before.get(identity)
        if series is None:
            parsed = self.parser.parse(identity)
            if parsed is None:
                return False
            if self.by_key is None:
                self.by_key = {one.key: one for one in self.known_before.values()}
            series = self.by_key.setdefault(parsed.key, parsed)  # labels in another order are the same series
        self.known[identity] = series
        self.samples[series] = value
        return True

    def _reject(self, number: int, line: bytes) -> None:
        self.rejected += 1
        if len(self.first_rejected) < SHOWN_REJECTS:
            name = _AFTER_NAME.split(line[: NAME_BYTES + 1], maxsplit=1)[0][:NAME_BYTES]
            self.first_rejected.append(Rejected(number, name.decode()))

    def notices(self) -> tuple[str, ...]:
        """What is to be known of the reading."""
        return (f"more than {MAX_SERIES} series: {self.left_out} are left out",) if self.left_out else ()


def declared(body: bytes) -> frozenset[str]:
    """The families that an exposition declares in HELP and TYPE lines."""
    return frozenset(name.decode() for name in _DECLARATION.findall(body))


_HASH = ord("#")
_PIECE_BYTES = 256 * 1024
"""What is read at a time of an exposition that has not changed: what comes of it stays in the processor's cache."""
_AFTER_NAME = re.compile(rb"[^a-zA-Z0-9_:]")
_DECLARATION = re.compile(rb"^#[ \t]+(?:HELP|TYPE)[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)(?=\s|$)", re.MULTILINE)
_NUMBER_CHARACTERS = frozenset(b"0123456789+-.eE")
_SPECIAL_VALUES = {
    b"nan": float("nan"),
    b"inf": float("inf"),
    b"+inf": float("inf"),
    b"-inf": float("-inf"),
}


def _pieces(body: bytes) -> Iterator[list[bytes]]:
    """The lines of an exposition, some thousands at a time."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start + _PIECE_BYTES)
        end = len(body) if end < 0 else end
        yield body[start:end].split(b"\n")
        start = end + 1


def _first_blank(line: bytes) -> int:
    """Where a name without labels ends; the whole line where no value follows."""
    return len(line.split(None, 1)[0])


def _parse_value(text: bytes) -> float | None:
    """The value before an optional timestamp; None when it is no number of the format."""
    words = text.split()
    if not words or (len(words) > 1 and not _is_timestamp(words[1:])):
        return None
    word = words[0]
    if not _NUMBER_CHARACTERS.issuperset(word):
        return _SPECIAL_VALUES.get(word.lower())
    try:
        return float(word)
    except ValueError:
        return None


def _is_timestamp(words: list[bytes]) -> bool:
    """True for whole milliseconds, which are read over."""
    return len(words) == 1 and words[0].removeprefix(b"-").isdigit()
