"""Answers for a terminal: aligned tables of at most 100 columns, with nothing in them that a terminal would obey."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bridge.queries.answer import Answer, SeriesAnswer
from bridge.queries.budget import AT_ONCE, SELECT, Budget, cut
from bridge.queries.tables import Cell, Column, Table, milliseconds
from bridge.queries.view import View, duration

TEXT_WIDTH = 100
NARROWEST = 8
WRAPPED_AT_LEAST = 36
"""How far the last column gives way before others do."""
WRAPPED_NARROW = 18
"""How far it then does, before a name in another is broken."""
WRAPPED_FIRST = 18
"""How far the others do after that."""
DAY_SECONDS = 86_400.0
MAX_POINTS = 30_000
"""Of series. Nobody reads that many, but somebody may count them."""


def render(answers: Sequence[Answer], view: View, budget: Budget) -> str:
    """Answers for a terminal: each table aligned, series as a table of time, series and value; notices first.

    What there is no room for is left out, and told behind.
    """
    troubles = [view.trouble] if view.trouble else []
    notices = dict.fromkeys([*troubles, *(notice for answer in answers for notice in answer.notices)])
    parts = ["".join(f"{warning(notice)}\n" for notice in notices)] if notices else []
    series: list[SeriesAnswer] = []
    for answer in answers:
        if answer.error is not None:
            parts.append(warning(f"{answer.ask.text[:80]}: {answer.error.told}") + "\n")
        if answer.table is not None:
            parts.append(text_table(answer.table, view.now, budget))
        series.extend(answer.series)
    if series:
        parts.append(_text_series(series, view.now, budget))
    elif not any(answer.table or answer.error for answer in answers):
        parts.append("(nothing matches)\n")
    return "\n".join(parts)


def warning(message: str) -> str:
    """A line that must not be overlooked, wrapped."""
    return "\n".join(wrapped(f"! {printable(message)}", TEXT_WIDTH, indent="  "))


def _text_series(answers: Sequence[SeriesAnswer], now: float, budget: Budget) -> str:
    columns = (Column("Time", "time"), Column("Value"), Column("Series"))
    most = max(1, MAX_POINTS // len(answers))
    rows: list[list[Cell]] = [
        [milliseconds(at), _word(answer, value), answer.name]
        for answer in answers
        for value, at in answer.series.points[-most:]
    ]
    cut = any(len(answer.series.times) > most for answer in answers)
    said = (
        warning(f"only the newest {most:,} points of each series are shown: format=csv has all") + "\n" if cut else ""
    )
    return said + text_table(Table("series", columns, rows), now, budget)


def _word(answer: SeriesAnswer, value: float | None) -> str:
    if value is not None and int(value) in answer.metric.words:
        return answer.metric.words[int(value)]
    return _number(value, answer.metric.unit)


def text_table(table: Table, now: float, budget: Budget) -> str:
    """A table whose lines fit ``TEXT_WIDTH`` columns: wide texts wrap, and names that stand first lose their middle.

    Times of the last 24 h before ``now`` stand without their date. Columns that say the same in every row, and are
    declared so (``once``), stand above the table.
    """
    columns = [column for column in table.columns if not column.unread]
    cells = [
        [cell(value, column, now) for value, column in zip(row, table.columns, strict=True) if not column.unread]
        for row in _in_time(table.rows, budget)
    ]
    if not table.rows:
        return "  ".join(column.short or column.title for column in columns) + "\n(no rows)\n"
    heading: list[str] = []
    for index in reversed(range(len(columns))):
        if columns[index].once and len({row[index] for row in cells}) == 1:
            heading.insert(0, f"{columns[index].title}: {cells[0][index]}")
            cells = [row[:index] + row[index + 1 :] for row in cells]
            del columns[index]
    above = "\n".join(wrapped("  ".join(heading), TEXT_WIDTH)) + "\n" if heading else ""
    folds = [column.type == "string" and column is not table.columns[0] for column in columns]
    rows = list(budget.written(_rows(columns, cells, folds)))
    shown = max(0, len(rows) - 1)  # beside the titles
    told = "" if shown == len(table.rows) else warning(cut(shown, len(table.rows), "rows", SELECT)) + "\n"
    return above + "".join(f"{row}\n" for row in rows) + told


def _in_time(rows: Sequence[Sequence[Cell]], budget: Budget) -> Iterator[Sequence[Cell]]:
    """The rows that there is time for."""
    for number, row in enumerate(rows):
        if number % AT_ONCE == 0 and budget.late:
            return
        yield row


def _rows(columns: Sequence[Column], cells: Sequence[Sequence[str]], folds: Sequence[bool]) -> Iterator[str]:
    """The titles, then each row, of one line or several."""
    titles = [column.short or column.title for column in columns]
    texts = list(zip(titles, *cells, strict=True))
    widths = [max(map(_width, column)) for column in texts]
    whole = [
        max(_width(word) for text in column for word in text.split(" ")) if fold else width
        for column, width, fold in zip(texts, widths, folds, strict=True)
    ]
    _narrow(widths, whole, [column.type == "string" for column in columns])
    right = [column.type == "number" for column in columns]
    yield _line(titles, widths, right)
    for row in cells:
        folded = [
            wrapped(cell, width) if fold else [cell] for cell, width, fold in zip(row, widths, folds, strict=True)
        ]
        height = max(len(parts) for parts in folded)
        padded = [[*parts, *[""] * (height - len(parts))] for parts in folded]
        yield "\n".join(_line(line, widths, right) for line in zip(*padded, strict=True))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    fitted = [_fit(cell, width, to_right) for cell, width, to_right in zip(cells, widths, right, strict=True)]
    return " ".join(fitted).rstrip()


def _narrow(widths: list[int], whole: Sequence[int], may_shrink: Sequence[bool]) -> None:
    """Take from text columns until a line fits: the last one gives first, and names (``whole``) are broken last."""
    texts = [index for index, may in enumerate(may_shrink) if may]
    last = [index for index in texts if index == len(widths) - 1]
    others = [index for index in texts if index not in last]
    stages = (
        dict.fromkeys(last, WRAPPED_AT_LEAST),
        {index: max(NARROWEST, whole[index]) for index in others},
        {index: max(WRAPPED_NARROW, whole[index]) for index in last},
        dict.fromkeys(others, WRAPPED_FIRST),
        dict.fromkeys(texts, NARROWEST),
    )
    over = sum(widths) + len(widths) - 1 - TEXT_WIDTH
    for narrowest in stages:
        while over > 0 and (wide := [index for index in narrowest if widths[index] > narrowest[index]]):
            widths[max(wide, key=lambda index: widths[index])] -= 1
            over -= 1


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most ``width`` columns, broken between words where that is possible; at least one line."""
    lines = [""]
    for word in text.split(" "):
        room = width - _width(lines[-1])
        if lines[-1].strip() and _width(word) + 1 <= room:
            lines[-1] += " " + word
            continue
        if lines[-1].strip():
            lines.append(indent)
        while _width(lines[-1]) + _width(word) > width:
            start = _start(word, width - _width(lines[-1]))
            lines[-1] += start
            lines.append(indent)
            word = word[len(start) :]
        lines[-1] += word
    return lines


def _start(text: str, width: int) -> str:
    """As much of a text's start as fits: one character at least, so that there is an end to it."""
    end = 1
    while end < len(text) and _width(text[: end + 1]) <= width:
        end += 1
    return text[:end]


def _fit(cell: str, width: int, to_right: bool) -> str:
    """A cell in its width; of one that is too wide the middle is left out, as names often differ at their ends."""
    if _width(cell) > width:
        front, back = _start(cell, (width - 1) // 2), _start(cell[::-1], width - 1 - (width - 1) // 2)[::-1]
        cell = f"{front}…{back}"
    space = " " * (width - _width(cell))
    return space + cell if to_right else cell + space


def _width(cell: str) -> int:
    """Columns a terminal uses: wide East Asian characters take two, marks that stand on others none."""
    if cell.isascii():
        return len(cell)
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
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


def cell(value: Cell, column: Column, now: float) -> str:
    """A table's cell as people read it; a dash for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value)
    if column.type == "time":
        at = datetime.fromtimestamp(value / 1000, UTC)
        return at.strftime("%H:%M:%S" if -1 < now - value / 1000 < DAY_SECONDS else "%m-%d %H:%M")
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
