"""Names for the query editor, and values for variables and filters."""

from __future__ import annotations

import time

import pytest

from bridge.history.store import Store
from bridge.model import Event, Key, Status
from bridge.queries.catalog import METRICS, OLD_NAMES, TABLES
from bridge.queries.search import search
from bridge.queries.targets import MAX_TEXT_CHARACTERS, TargetError, matcher, parse
from bridge.queries.view import View
from bridge.queries.vocabulary import MOST_LEAVERS_LISTED, Vocabulary
from tests.history.snapshots import T0, Recorder, circuit, snapshot, verdict

ODD = 'we"ird\\pro\nvider'


@pytest.fixture
def vocabulary(store: Store) -> Vocabulary:
    """Two providers and a half: one with circuits, one whose models show in error rates alone, one without models."""
    Recorder(store).good(
        snapshot(
            T0,
            [verdict("openai"), verdict("groq", Status.DOWN), verdict(ODD)],
            [circuit("openai", "gpt-4.1"), circuit("openai", "openai/o3"), circuit("groq")],
            model_error_rates={Key("groq", "llama"): 0.1},
        )
    )
    return Vocabulary(View(T0, store.latest(), 45.0), store)


def test_names_are_found_by_any_part_of_them_whatever_the_case(vocabulary: Vocabulary) -> None:
    assert search(vocabulary, "HEALTH") == [name for name in [*METRICS, *TABLES, *OLD_NAMES] if "health" in name]


def test_nothing_typed_lists_every_name_as_the_editor_needs_to_find_its_own_again(vocabulary: Vocabulary) -> None:
    assert search(vocabulary, "") == [*METRICS, *TABLES, *OLD_NAMES]


def test_every_name_that_is_listed_is_found_by_itself(vocabulary: Vocabulary) -> None:
    for name in search(vocabulary, ""):
        assert name in search(vocabulary, name) or name in ("providers", "models")


def test_models_are_those_with_a_circuit_or_with_counters(vocabulary: Vocabulary) -> None:
    assert search(vocabulary, "models") == ["gpt-4.1", "llama", "openai/o3"]


def test_a_provider_without_models_adds_no_empty_name(vocabulary: Vocabulary) -> None:
    assert "" not in search(vocabulary, "models")
    assert search(vocabulary, "models{provider!=''}") == ["gpt-4.1", "llama", "openai/o3"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('models{provider="groq"}', ["llama"]),
        (r'models{model=~"openai\/o3"}', ["openai/o3"]),
        ('models{provider=~".*"}', ["gpt-4.1", "llama", "openai/o3"]),
        ('providers{model="gpt-4.1"}', ["openai"]),
        ('providers{status="down"}', ["groq"]),
        ('models{status!="down"}', ["gpt-4.1", "openai/o3"]),
        ("label_values( provider_status{provider='openai'} , provider )", ["openai"]),
        ("label_values(provider_status{provider='x'}, provider)", []),
        ('label_values(model_error_rate{provider=~"openai|groq,x",model!="gpt-4.1"},model)', ["openai/o3"]),
        ('label_values(fleet_providers{status!="unknown"}, status)', ["healthy", "degraded", "down"]),
        ("label_values(providers, status)", ["unknown", "healthy", "degraded", "down"]),
    ],
)
def test_variable_queries_are_narrowed_by_their_matchers(vocabulary: Vocabulary, query: str, found: list[str]) -> None:
    assert search(vocabulary, query) == found


def test_a_text_of_any_length_is_read_in_one_go(vocabulary: Vocabulary) -> None:
    started = time.thread_time()
    assert search(vocabulary, "label_values(" + " " * 100_000 + "(") == []
    assert search(vocabulary, "label_values(," + " " * 100_000 + "(") == []
    assert search(vocabulary, "label_values(" + "a" * 100_000 + " (") == []
    assert time.thread_time() - started < 1.0


def test_names_from_outside_are_given_as_they_are(vocabulary: Vocabulary) -> None:
    assert ODD in search(vocabulary, "providers")


def test_a_word_that_only_begins_like_a_variable_query_is_a_name(vocabulary: Vocabulary) -> None:
    assert search(vocabulary, "provider") == [name for name in [*METRICS, *TABLES, *OLD_NAMES] if "provider" in name]
    assert search(vocabulary, "providersx") == []


def test_values_are_sorted_once_each_and_narrowed_by_other_labels(vocabulary: Vocabulary) -> None:
    assert vocabulary.values("provider") == ["groq", "openai", ODD]
    assert vocabulary.values("model", [matcher("provider", "=", "openai")]) == ["gpt-4.1", "openai/o3"]
    assert vocabulary.values("no_such_label") == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("label_values(provider, model)", "one label, not two"),
        ("label_values(model_error_rate, provider, model)", "one label, not two"),
        ("label_values()", "no label ''"),
        ("label_values(provder)", "no label 'provder'; what it has: provider, model, status"),
        ("label_values(provider_status, model)", "provider_status has no label 'model'"),
        ('label_values(provider_status{provder="x"}, provider)', "provider_status has no label 'provder'"),
        ('label_values(provider_statis{provider="x"}, provider)', "did you mean 'provider_status'"),
        ('models{provder="openai"}', "models has no label 'provder'; what it has: provider, model, status"),
        ("models{provider=openai}", "a value in quotes is missing"),
        ('models{provider=~"("}', "not a regular expression"),
        ('provider_status{provider="openai}', "opened but not closed"),
        ('no_such_metric{provider="openai"}', "unknown metric 'no_such_metric'"),
        ("models{" + " " * MAX_TEXT_CHARACTERS + "}", "too long"),
    ],
)
def test_a_query_that_is_complete_but_wrong_says_what_is_wrong(vocabulary: Vocabulary, query: str, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        search(vocabulary, query)
    assert says in caught.value.told


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ('provider_status{provider="', ["groq", "openai", ODD]),
        ('provider_status{provider=~"OPEN', ["openai"]),
        ("providers{provider!='o", ["groq", "openai", ODD]),
        ('model_error_rate{provider="groq", model="', ["llama"]),
        ('model_error_rate{provider="openai",model="o3', ["openai/o3"]),
        ('circuits{state="HALF', ["HALF_OPEN"]),
        ('models{provider="gr', ["groq"]),
        ('worst(5, provider_health_score{provider="gr', ["groq"]),
    ],
)
def test_a_value_that_is_being_typed_is_completed(vocabulary: Vocabulary, typed: str, completed: list[str]) -> None:
    found = search(vocabulary, typed)
    assert len(found) == len(completed)
    for text, value in zip(found, completed, strict=True):
        assert text.startswith(typed[: max(typed.rfind("'"), typed.rfind('"'))])
        last = parse(text, vocabulary.known).matchers[-1]
        assert last.value == value, "what is offered is a target for just that value"


@pytest.mark.parametrize(
    "typed", ["provider_status{", "provider_status{provi", "models{provider=", "label_values(", 'x{provider="', '{a="']
)
def test_what_is_not_finished_is_no_mistake_yet(vocabulary: Vocabulary, typed: str) -> None:
    assert search(vocabulary, typed) == []


def test_a_whole_target_is_found_by_itself(vocabulary: Vocabulary) -> None:
    text = 'provider_status{provider="openai"}'
    assert search(vocabulary, text) == [text]


class TestWhoLeft:
    """A deep link to a provider that left must not fall back to All."""

    @pytest.fixture
    def later(self, store: Store) -> Vocabulary:
        log = Recorder(store)
        everyone = [f"gone {number:03}" for number in range(MOST_LEAVERS_LISTED + 50)]
        for number, name in enumerate(everyone):
            left = [Event(T0 + number, "roster", name, "", "present", "absent", "")]
            if number % 2:
                left.append(Event(T0 + number, "circuit", name, f"model of {name}", "CLOSED", "", "no longer there"))
            log.good(snapshot(T0 + number, [verdict("z"), verdict("a")]), *left)
        back = Event(T0 + 900, "roster", "z", "", "present", "absent", "")
        log.good(snapshot(T0 + 900, [verdict("z"), verdict("a")], [circuit("z", "m")]), back)
        return Vocabulary(View(T0 + 900, store.latest(), 45.0), store)

    def test_the_present_stand_first_then_who_left_newest_first(self, later: Vocabulary) -> None:
        found = search(later, "providers")
        assert found[:4] == ["a", "z", "gone 249", "gone 248"]
        assert len(found) == 2 + MOST_LEAVERS_LISTED
        assert search(later, "label_values(provider)") == found

    def test_others_are_found_when_they_are_typed(self, later: Vocabulary) -> None:
        assert "gone 007" not in search(later, "providers")
        assert search(later, 'providers{provider="gone 007"}') == ["gone 007"]
        assert search(later, 'provider_status{provider="gone 007') == ['provider_status{provider="gone 007"}']

    def test_models_that_left_are_listed_too(self, later: Vocabulary) -> None:
        found = search(later, "models")
        assert found[:3] == ["m", "model of gone 249", "model of gone 247"]
        assert search(later, 'models{provider="gone 001"}') == ["model of gone 001"]

    def test_models_that_counters_alone_told_of_are_listed_once_they_left(self, store: Store) -> None:
        """Nothing happens when their series end: there is no event."""
        log = Recorder(store)
        for number, models in enumerate((("old", "older"), ("old",), ("new",))):
            rates = {Key("groq", model): 0.1 for model in models}
            log.good(snapshot(T0 + number, [verdict("groq")], model_error_rates=rates))
            vocabulary = Vocabulary(View(T0 + number, store.latest(), 45.0), store)
            found = search(vocabulary, "models")
        assert found == ["new", "old", "older"]
        assert search(vocabulary, "providers") == ["groq"]
        far = Vocabulary(View(T0 + store.retention_seconds + 1.5, store.latest(), 45.0), store)
        assert search(far, "models") == ["new"]

    def test_who_left_before_the_retention_is_not_listed(self, later: Vocabulary, store: Store) -> None:
        now = T0 + 100 + store.retention_seconds
        found = Vocabulary(View(now, store.latest(), 45.0), store).values("provider")
        assert "gone 100" in found
        assert "gone 099" not in found

    def test_who_is_present_is_known_where_the_log_cannot_be_read(self, later: Vocabulary, store: Store) -> None:
        with store.database.transaction() as connection:
            connection.execute("DROP VIEW counted_events")
        assert later.values("provider") == ["a", "z"]

    def test_departures_are_read_once_and_new_ones_are_seen(self, later: Vocabulary, store: Store) -> None:
        now = T0 + 901
        Recorder(store).good(snapshot(now, [verdict("a")]), Event(now, "roster", "z", "", "present", "absent", ""))
        assert Vocabulary(View(now, store.latest(), 45.0), store).values("provider")[:2] == ["a", "z"]
        assert later.values("provider")[:2] == ["a", "z"]


def test_before_the_first_poll_there_are_no_values(store: Store) -> None:
    nobody = Vocabulary(View(T0, None, 45.0), store)
    assert nobody.values("provider") == []
    assert nobody.values("status") == ["unknown", "healthy", "degraded", "down"]
