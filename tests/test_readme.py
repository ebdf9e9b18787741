"""The README keeps up with the code."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.gateway import dialect
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_every_metric_table_and_dialect_is_in_the_readme() -> None:
    named = set(re.findall(r"`([a-z0-9_-]+)", README))
    assert {*METRICS, *OLD_NAMES, *TABLES, *dialect.builtin()} <= named


def test_every_variable_the_settings_read_is_in_the_readme() -> None:
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+|PORT)"', (PROJECT / "bridge" / "settings.py").read_text(encoding="utf-8")))
    assert len(read) > 20
    assert {name for name in read if f"`{name}`" not in README} == set()
