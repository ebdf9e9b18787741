"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge import logs
from bridge.history.store import Store

LONGEST_FIRST = ("tests/living/", "tests/service/", "tests/test_readme.py", "tests/demo/", "tests/grafana/")
"""Where tests wait for the real thing: with several processes the others fill the time at the end."""
WEEK_SECONDS = 7 * 86_400.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a file's tests one after another in one process, for the sake of what they share, and the longest first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: _order(item.nodeid))


def _order(nodeid: str) -> int:
    return next((place for place, folder in enumerate(LONGEST_FIRST) if nodeid.startswith(folder)), len(LONGEST_FIRST))


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
