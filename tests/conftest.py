"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from bridge import logs
from bridge.history.store import Store

LONGEST_FIRST = (
    "tests/service/test_polling_stopped.py",
    "tests/service/test_polling.py",
    "tests/service/test_browser.py",
    "tests/service/test_full_disk.py",
    "tests/living/",
    "tests/service/test_alerts.py",
    "tests/service/",
    "tests/history/test_traffic.py",
    "tests/history/",
    "tests/health/test_windows.py",
    "tests/test_readme",
    "tests/web/test_errors.py",
)
"""Files that take longest, as no file is shared between processes: the short ones fill the time at the end."""
SLOW = (
    "tests/gateway/test_check.py::TestCommand",
    "tests/gateway/test_exposition.py::test_however",
    "tests/gateway/test_exposition.py::test_no_bytes",
    "tests/gateway/test_exposition.py::test_what_prometheus_client",
    "tests/health/test_breaker.py::test_the_same_polls",
    "tests/health/test_windows.py::TestManySeriesThatAreGone",
    "tests/health/test_windows.py::TestMemory",
    "tests/history/test_columns.py::test_polls_that_each_name",
    "tests/history/test_damage.py",
    "tests/history/test_epochs.py::test_a_clock_that_was_wrong",
    "tests/history/test_migrations.py",
    "tests/history/test_place.py",
    "tests/history/test_pruning.py",
    "tests/history/test_restarts.py",
    "tests/history/test_retention.py::test_ten_seconds",
    "tests/history/test_traffic.py",
    "tests/history/test_week.py",
    "tests/prometheus/",
    "tests/queries/test_annotations.py::TestWhatIsRead",
    "tests/queries/test_forms.py::test_a_text_with_two",
    "tests/queries/test_forms.py::test_each_format",
    "tests/queries/test_forms.py::test_reading_takes_time",
    "tests/queries/test_forms.py::test_series_tables",
    "tests/queries/test_ranges.py::test_any_range",
    "tests/test_benchmarks.py",
    "tests/test_bring_your_gateway.py",
    "tests/web/test_rows.py::TestBigAnswers",
    "tests/web/test_status_page.py::TestItsCost",
)
"""Tests of seconds each, or that measure time and memory: they get the marker ``slow``, and make check goes without."""
WEEK_SECONDS = 7 * 86_400.0

settings.register_profile("check", max_examples=20)  # make test has hypothesis' own 100


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and run first what takes longest. (A file's tests stay in one process: --dist loadfile.)"""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
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
