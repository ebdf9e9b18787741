"""CSV as RFC 4180 has it, with nothing in it that a spreadsheet would run.

A text that begins like a formula gets an apostrophe before it. Numbers stay numbers, what is not known is empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CONTENT_TYPE = "text/csv; charset=utf-8"
LINE_END = "\r\n"

_FORMULA = re.compile(
    r"[\s\x00-\x1f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\"']*[=+\-@＝＋－＠﹦﹢﹣﹫−]"
    r"|[ \x00\u200b\ufeff\"']*[\t\r\n]"
)
"""Blanks, quotes and what cannot be seen are skipped by some spreadsheets before they look for a formula."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What a terminal takes for a command, but for tabs and line ends, which are quoted."""
_QUOTED = re.compile(r"[\",\r\n;\t]|\A\s|\s\Z")


def visible(text: str) -> str:
    """A text with control characters as escapes that are seen, as a CSV is read in terminals too."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def text_cell(text: str) -> str:
    """A text as a cell."""
    text = visible(text)
    if _FORMULA.match(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def number_cell(value: float) -> str:
    """A number as a cell; empty for one that is not known."""
    return repr(value) if value - value == 0 else ""


def cell(value: str | float | bool | None) -> str:
    """A value as a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return text_cell(value) if isinstance(value, str) else number_cell(value)


def line(values: Iterable[str | float | bool | None]) -> str:
    """A line without its end."""
    return ",".join(map(cell, values))


def written(titles: Iterable[str], lines: Iterable[str]) -> str:
    """A whole CSV: the header, and lines that are written already."""
    return LINE_END.join([line(titles), *lines, ""])
