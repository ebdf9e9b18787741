"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import logs
from bridge.history.store import Store

WEEK_SECONDS = 7 * 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty log."""
    store = Store(tmp_path / "data", retention_seconds=WEEK_SECONDS)
    yield store
    store.close()


@pytest.fixture(autouse=True, scope="session")
def _no_gathering() -> Iterator[None]:
    """Log lines are written at once, so that they stand with what their test printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "write_soon", logs.write)
        yield
