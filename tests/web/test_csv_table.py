"""CSV that every reader takes, and that no spreadsheet runs."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.web import csv_table

TEXTS = st.text(
    st.one_of(st.sampled_from("=+-@＝＋－＠\t\r\n\"',; ab\u200b\ufeff\x00"), st.characters(exclude_categories=["Cs"]))
)
FORMULAS = [
    "=1+1",
    "+1",
    "-x",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠x",
    " =1+1",
    "\u200b=1+1",
    "\ufeff=1+1",
    '"=1+1',
    "'=1+1",
    "\tx",
    "\rx",
    "=cmd|' /C calc'!A0",
]


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_text_that_begins_like_a_formula_is_a_text(formula: str) -> None:
    assert read(csv_table.written(["a"], [csv_table.line([formula])])) == [["a"], ["'" + formula]]


@pytest.mark.parametrize(
    "name", ["openai", "gpt-4.1", "a=b", "x@y", "mail+tag", 'we"ird', "a, b", "two\nlines", "לעברית"]
)
def test_any_other_text_is_as_it_is(name: str) -> None:
    assert read(csv_table.written(["a"], [csv_table.line([name])])) == [["a"], [name]]


def test_a_number_stays_a_number_even_where_it_begins_like_a_formula() -> None:
    assert csv_table.line([-5.25, 1e-7, 3, 0.0]) == "-5.25,1e-07,3,0.0"


def test_what_is_not_known_is_empty_and_never_a_word() -> None:
    assert csv_table.line([None, float("nan"), float("inf"), ""]) == ",,,"


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2)))
@example([["", '"\r']])
def test_no_text_is_lost_runs_or_shifts_another_cell(rows: list[list[str]]) -> None:
    header, *lines = read(csv_table.written(["a", "b"], [csv_table.line(row) for row in rows]))
    assert header == ["a", "b"]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        shown = [csv_table.visible(text) for text in row]
        assert all(cell in (text, f"'{text}") for cell, text in zip(line, shown, strict=True))
    for cell in (cell for line in lines for cell in line):
        assert cell.lstrip(' \x00\ufeff\u200b"')[:1] not in tuple("=+-@＝＋－＠\t\r\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\x1b[31mred\x07", "\\x1b[31mred\\x07"), ("\x9b1m", "\\x9b1m"), ("nul\x00", "nul\\x00"), ("\x7f", "\\x7f")],
)
def test_what_a_terminal_takes_for_a_command_is_shown_and_not_sent(name: str, shown: str) -> None:
    assert read(csv_table.written(["a"], [csv_table.line([name])])) == [["a"], [shown]]
