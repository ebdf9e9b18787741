"""Texts for Grafana's tooltips, which show them as HTML."""

from __future__ import annotations

import html
from dataclasses import replace

from bridge.queries.tables import Table
from bridge.web.text import printable

MAX_SHOWN_CHARACTERS = 1_000


def tooltip(shown: str) -> str:
    """A text of bounded length in which nothing is markup, and no character hides."""
    cut = shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "…"
    return html.escape(printable(cut))


def drawn(table: Table) -> Table:
    """The table with its texts as HTML, where it is drawn in tooltips; else the table itself."""
    if not table.tooltips:
        return table
    return replace(
        table, rows=[[tooltip(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows]
    )
