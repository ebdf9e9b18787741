"""Names for the query editor, and values for variables and filters."""

from __future__ import annotations

import time

import pytest

from bridge.history.store import Latest
from bridge.model import Key, Poll
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES
from bridge.queries.search import search, values
from bridge.queries.targets import matcher
from bridge.queries.view import View
from tests.history.snapshots import INTERVAL, T0, circuit, snapshot, verdict

ODD = 'we"ird\\pro\nvider'


@pytest.fixture
def view() -> View:
    """Two providers and a half: one with circuits, one whose models show in error rates alone, one without models."""
    one = snapshot(
        T0,
        [verdict("openai"), verdict("groq"), verdict(ODD)],
        [circuit("openai", "gpt-4.1"), circuit("openai", "openai/o3"), circuit("groq")],
        model_error_rates={Key("groq", "llama"): 0.1},
    )
    return View(T0, Latest(1, Poll(T0, INTERVAL, "ok", "", 0.1), one, None), 45.0)


def test_names_are_found_by_any_part_of_them_whatever_the_case(view: View) -> None:
    assert search(view, "HEALTH") == [name for name in [*METRICS, *TABLES, *OLD_NAMES] if "health" in name]


def test_nothing_typed_lists_every_name_as_the_editor_needs_to_find_its_own_again(view: View) -> None:
    assert search(view, "") == [*METRICS, *TABLES, *OLD_NAMES]


def test_every_name_that_is_listed_is_found_by_itself(view: View) -> None:
    for name in search(view, ""):
        assert name in search(view, name) or name in ("providers", "models")


def test_models_are_those_with_a_circuit_or_with_counters(view: View) -> None:
    assert search(view, "models") == ["gpt-4.1", "llama", "openai/o3"]


def test_a_provider_without_models_adds_no_empty_name(view: View) -> None:
    assert "" not in search(view, "models")
    assert search(view, "models{provider!=''}") == ["gpt-4.1", "llama", "openai/o3"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('models{provider="groq"}', ["llama"]),
        (r'models{model=~"openai\/o3"}', ["openai/o3"]),
        ('models{provider=~".*"}', ["gpt-4.1", "llama", "openai/o3"]),
        ('providers{model="gpt-4.1"}', ["openai"]),
        ("label_values( provider_status{provider='x'} , provider )", ["groq", "openai", ODD]),
        ("label_values()", []),
    ],
)
def test_variable_queries_are_narrowed_by_their_matchers(view: View, query: str, found: list[str]) -> None:
    assert search(view, query) == found


def test_a_text_of_any_length_is_read_in_one_go(view: View) -> None:
    started = time.thread_time()
    assert search(view, "label_values(" + " " * 100_000 + "(") == []
    assert search(view, "label_values(," + " " * 100_000 + "(") == []
    assert search(view, "label_values(" + "a" * 100_000 + " (") == []
    assert time.thread_time() - started < 1.0


def test_names_from_outside_are_given_as_they_are(view: View) -> None:
    assert ODD in search(view, "providers")


def test_a_word_that_only_begins_like_a_variable_query_is_a_name(view: View) -> None:
    assert search(view, "provider") == [name for name in [*METRICS, *TABLES, *OLD_NAMES] if "provider" in name]
    assert search(view, "providersx") == []


def test_values_are_sorted_once_each_and_narrowed_by_other_labels(view: View) -> None:
    assert values(view, "provider") == ["groq", "openai", ODD]
    assert values(view, "model", [matcher("provider", "=", "openai")]) == ["gpt-4.1", "openai/o3"]
    assert values(view, "no_such_label") == []


def test_before_the_first_poll_there_are_no_values() -> None:
    nothing = View(T0, None, 45.0)
    assert values(nothing, "provider") == []
    assert values(nothing, "status") == ["unknown", "healthy", "degraded", "down"]
