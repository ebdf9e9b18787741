"""Fixtures for tests that start with a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.history.store import Store

WEEK_SECONDS = 7 * 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty log."""
    store = Store(tmp_path / "data", retention_seconds=WEEK_SECONDS)
    yield store
    store.close()
