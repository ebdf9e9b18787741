"""Answers for a terminal: aligned tables of at most 100 columns, with nothing in them that a terminal would obey."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from bridge.queries.answer import Answer, SeriesAnswer
from bridge.queries.tables import Cell, Column, Table, known, milliseconds
from bridge.queries.view import duration

TEXT_WIDTH = 100
NARROWEST = 8
WRAPPED_AT_LEAST = 36


def render(answers: Sequence[Answer]) -> str:
    """Answers for a terminal: each table aligned, series as a table of time, series and value; notices first."""
    notices = dict.fromkeys(notice for answer in answers for notice in answer.notices)
    parts = ["".join(f"! {printable(notice)}\n" for notice in notices)] if notices else []
    series: list[SeriesAnswer] = []
    for answer in answers:
        if answer.error is not None:
            parts.append(
                f"! {printable(answer.ask.text[:80])}: {printable(answer.error.message)}. {answer.error.hint}\n"
            )
        if answer.table is not None:
            parts.append(text_table(answer.table))
        series.extend(answer.series)
    if series:
        parts.append(_text_series(series))
    return "\n".join(parts) if parts else "(nothing matches)\n"


def _text_series(answers: Sequence[SeriesAnswer]) -> str:
    columns = (Column("Time", "time"), Column("Value"), Column("Series"))
    rows: list[list[Cell]] = [
        [milliseconds(at), _word(answer, known(value)), answer.name]
        for answer in answers
        for at, value in zip(answer.series.times.tolist(), answer.series.values.tolist(), strict=True)
    ]
    return text_table(Table("series", columns, rows))


def _word(answer: SeriesAnswer, value: float | None) -> str:
    if value is not None and int(value) in answer.metric.words:
        return answer.metric.words[int(value)]
    return _number(value, answer.metric.unit)


def text_table(table: Table) -> str:
    """A table whose lines fit ``TEXT_WIDTH`` columns: the last column wraps, other wide texts are cut with ``…``.

    Columns that say the same in every row, and are declared so (``once``), stand above the table.
    """
    cells = [[_cell(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]
    columns = list(table.columns)
    if not cells:
        return "  ".join(column.short or column.title for column in columns) + "\n(no rows)\n"
    heading: list[str] = []
    for index in reversed(range(len(columns))):
        if columns[index].once and len({row[index] for row in cells}) == 1:
            heading.insert(0, f"{columns[index].title}: {cells[0][index]}")
            cells = [row[:index] + row[index + 1 :] for row in cells]
            del columns[index]
    above = "  ".join(heading) + "\n\n" if heading else ""
    return above + "\n".join(_lines(columns, cells)) + "\n"


def _lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    titles = [column.short or column.title for column in columns]
    widths = [max(_width(title), *(_width(row[index]) for row in cells)) for index, title in enumerate(titles)]
    _narrow(widths, [column.type == "string" for column in columns])
    right = [column.type == "number" for column in columns]
    lines = [_line(titles, widths, right)]
    for row in cells:
        *firsts, last = row
        wrapped = textwrap.wrap(last, widths[-1]) or [""]
        lines.append(_line([*firsts, wrapped[0]], widths, right))
        lines.extend(_line([*[""] * len(firsts), more], widths, right) for more in wrapped[1:])
    return lines


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    return " ".join(
        _fit(cell, width, to_right) for cell, width, to_right in zip(cells, widths, right, strict=True)
    ).rstrip()


def _narrow(widths: list[int], may_shrink: Sequence[bool]) -> None:
    """Take from the widest text columns until a line fits; the last one, which wraps, gives first."""
    over = sum(widths) + len(widths) - 1 - TEXT_WIDTH
    if over > 0 and may_shrink[-1]:
        given = min(over, max(0, widths[-1] - WRAPPED_AT_LEAST))
        widths[-1] -= given
        over -= given
    while over > 0:
        index = max((i for i, may in enumerate(may_shrink) if may), key=lambda i: widths[i], default=0)
        if widths[index] <= NARROWEST:
            return
        widths[index] -= 1
        over -= 1


def _fit(cell: str, width: int, to_right: bool) -> str:
    while _width(cell) > width:
        cell = cell[:-2] + "…"
    space = " " * (width - _width(cell))
    return space + cell if to_right else cell + space


def _width(cell: str) -> int:
    """Columns a terminal uses: wide East Asian characters take two, combining marks none."""
    if cell.isascii():
        return len(cell)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in cell
    )


def printable(value: str) -> str:
    """A text from outside, safe for a terminal: control and direction characters become visible escapes."""
    if value.isascii() and value.isprintable():
        return value
    return "".join(
        character
        if character.isprintable() and unicodedata.category(character) != "Cf"
        else character.encode("unicode_escape").decode()
        for character in value
    )


def _cell(value: Cell, column: Column) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value)
    if column.type == "time":
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%m-%d %H:%M:%S")
    return _number(float(value), column.unit)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "percent":
        return f"{value:.1f}"
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "s":
        return f"{value:.2f}s" if value < 10 else duration(value) if value >= 60 else f"{value:.1f}s"
    if unit == "reqps":
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    if unit == "currencyUSD":
        return f"${value:.2f}"
    return f"{value:.6g}"
