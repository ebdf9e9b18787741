"""Times as clients send them → epoch seconds. ``now`` is always an argument; all calendar arithmetic is in UTC."""

from __future__ import annotations

import math
import re
import reprlib
from dataclasses import dataclass
from datetime import UTC, datetime

DEFAULT_RANGE_SECONDS = 3600.0
"""How far back a range goes that says only where it ends."""
MAX_TIME = 253_402_300_800.0
"""The first second of the year 10000: every time is before it, and not before 1970."""

MAX_URL_SECONDS = 1e11
"""A number of a URL below it is seconds."""
_MAX_CHARACTERS = 64
_SHOWN_CHARACTERS = 80
_ACCEPTED = (
    "give ISO 8601 (2026-01-31T12:00:00Z, without a zone it is UTC), epoch milliseconds (1769860800000), "
    "or a time relative to now (now, now-6h, now-1d/d; units s m h d w M y); in a URL a + is written %2B"
)


class TimeError(ValueError):
    """A time, range or count that cannot be read. Safe to show.

    ``message`` names the value and what is wrong with it, ``hint`` says what is accepted.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From ``start`` to ``end``, both included, in epoch seconds; ``start`` is never after ``end``."""

    start: float
    end: float


def parse_time(value: object, now: float, *, round_up: bool = False) -> float:
    """Read one time, in epoch seconds.

    ``value`` is ISO 8601 (without a zone it is UTC), epoch milliseconds as a number or as text (never seconds), or
    ``now`` with steps such as ``-6h``, ``+1M``, ``/d``. ``/unit`` goes to the unit's beginning in UTC, and with
    ``round_up`` (for the end of a range) to its last millisecond; weeks begin on Monday. Raises :class:`TimeError`
    for anything else and for times outside the years 1970 to 9999.
    """
    try:
        seconds = _read_time(value, now, round_up)
    except (ValueError, OverflowError):  # a 30th of February, or a number beyond what a calendar or a float holds
        seconds = None
    if seconds is None or not math.isfinite(seconds):
        raise TimeError(f"{_show(value)} is not a time", _ACCEPTED)
    return _in_calendar(seconds, _show(value))


def url_time(text: str) -> str:
    """A time of a URL, as ``parse_time`` reads it.

    A number too small for milliseconds (before March 1973) is epoch seconds, as Grafana's ``${__from:date:seconds}``
    gives them. The ``+`` of a zone, which a URL turns into a blank unless it is escaped, is one again.
    """
    text = text.strip()
    if len(text) <= _MAX_CHARACTERS and _NUMBER.fullmatch(text) and abs(float(text)) < MAX_URL_SECONDS:
        return repr(float(text) * 1000)
    return _LOST_PLUS.sub(r"\1+\2", text)


def parse_range(start: object, end: object, now: float) -> TimeRange:
    """Read a range. A missing end (``None`` or empty) is now, a missing start an hour before the end.

    Raises :class:`TimeError` for a time that cannot be read, and when the start is after the end.
    """
    last = now if _missing(end) else parse_time(end, now, round_up=True)
    if _missing(start):
        return TimeRange(_in_calendar(last - DEFAULT_RANGE_SECONDS, f"an hour before {_show(end)}"), last)
    first = parse_time(start, now)
    if first > last:
        raise TimeError(
            f"from is after to ({_show(start)} to {_show('now' if _missing(end) else end)})",
            "swap them: from is the earlier end of the range",
        )
    return TimeRange(first, last)


def parse_count(value: object, *, default: int, lowest: int, highest: int, name: str) -> int:
    """Read a count such as ``maxDataPoints`` or ``intervalMs``: rounded down, and brought within the bounds.

    Missing (``None`` or empty) is ``default``. Raises :class:`TimeError`, which calls the count ``name``, for what is
    not a finite number. Clients send 0, fractions and huge numbers in good faith, so those are not errors.
    """
    if _missing(value):
        return default
    # An int is compared as it is: a very long one has no float.
    number = value if isinstance(value, int) and not isinstance(value, bool) else _read_number(value)
    if number is None or not (isinstance(number, int) or math.isfinite(number)):
        raise TimeError(f"{name} is not a number: {_show(value)}", f"give {name} as a number, like {default}")
    return math.floor(min(max(number, lowest), highest))


# One step of a relative time, and the sizes of what is a fixed number of seconds in UTC.
_STEP = re.compile(r"([+-])([0-9]{0,10})([smhdwMy])|/([smhdwMy])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LOST_PLUS = re.compile(r"(:[0-9]{2}(?:[.,][0-9]+)?) ([0-9]{2}:?[0-9]{2})\Z")
_FIRST_MONDAY = 4 * 86_400.0  # 1970-01-05
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def _in_calendar(seconds: float, shown: str) -> float:
    """The time itself, if it lies in the years that are accepted."""
    if not 0 <= seconds < MAX_TIME:
        raise TimeError(f"{shown} is outside the years 1970 to 9999", _ACCEPTED)
    return seconds


def _missing(value: object) -> bool:
    return value is None or value == ""


def _read_time(value: object, now: float, round_up: bool) -> float | None:
    """Epoch seconds, ``None`` or a ValueError for what is no time."""
    milliseconds = _read_number(value)
    if milliseconds is not None:
        return milliseconds / 1000
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        return None
    text = value.strip()
    if text.startswith("now"):
        return _read_relative("".join(text[3:].split()), now, round_up)
    if not _ISO.fullmatch(text.upper()):
        return None
    moment = datetime.fromisoformat(text.upper())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_number(value: object) -> float | None:
    """The number that was sent, as one or as ASCII text; it may be infinite. A bool is not a number.

    Raises OverflowError for an int that no float can hold.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    # float() alone would take "1_0", "nan" and the digits of every script.
    if isinstance(value, str) and len(value) <= _MAX_CHARACTERS and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return None


def _read_relative(steps: str, now: float, round_up: bool) -> float | None:
    """``now`` after the steps, taken from left to right."""
    seconds, position = now, 0
    while position < len(steps):
        step = _STEP.match(steps, position)
        if step is None:
            return None
        position = step.end()
        sign, digits, unit, rounding = step.groups()
        if rounding:
            seconds = _end_of(seconds, rounding) if round_up else _start_of(seconds, rounding)
        else:
            seconds = _add(seconds, int(sign + (digits or "1")), unit)
    return seconds


def _add(seconds: float, count: int, unit: str) -> float:
    """``count`` units later. In a shorter month the day is the month's last, as in Grafana (31 January + 1 M)."""
    if unit in _UNIT_SECONDS:
        return seconds + count * _UNIT_SECONDS[unit]
    moment = datetime.fromtimestamp(seconds, UTC)
    months = moment.year * 12 + moment.month - 1 + count * (12 if unit == "y" else 1)
    first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
    day_lengths = (_add_month(first) - first).days
    return first.replace(day=min(moment.day, day_lengths)).timestamp()


def _add_month(first: datetime) -> datetime:
    """The first of the next month, from the first of a month."""
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _start_of(seconds: float, unit: str) -> float:
    """The beginning, in UTC, of the unit that the time lies in."""
    if unit in _UNIT_SECONDS:
        offset = _FIRST_MONDAY if unit == "w" else 0.0
        return (seconds - offset) // _UNIT_SECONDS[unit] * _UNIT_SECONDS[unit] + offset
    moment = datetime.fromtimestamp(seconds, UTC)
    return datetime(moment.year, moment.month if unit == "M" else 1, 1, tzinfo=UTC).timestamp()


def _end_of(seconds: float, unit: str) -> float:
    """The last millisecond of the unit that the time lies in."""
    return _add(_start_of(seconds, unit), 1, unit) - 0.001


def _show(value: object) -> str:
    """A value as an error names it: its repr, cut, whatever was sent."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = shown.maxlong = _SHOWN_CHARACTERS
    try:
        return shown.repr(value)[:_SHOWN_CHARACTERS]
    except (ValueError, RecursionError):  # an int of thousands of digits has no repr
        return f"a very large {type(value).__name__}"
