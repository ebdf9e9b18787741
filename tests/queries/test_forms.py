"""Names in every form that Grafana gives a variable: each gives just the rows it names, on every face."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bridge.history.store import Store
from bridge.model import CircuitState, Event
from bridge.queries.answer import Ask, Request, answer, recorded_for
from bridge.queries.budget import Budget
from bridge.queries.series import Steps
from bridge.queries.targets import MAX_TEXT_CHARACTERS, TargetError, parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from tests.history.snapshots import T0, Recorder, circuit, snapshot, verdict


def escaped(text: str) -> str:
    return re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", text)


def bare(several: Callable[[Sequence[str]], str]) -> Callable[[Sequence[str]], str]:
    """A format whose single value stands as it is."""
    return lambda values: values[0] if len(values) == 1 else several(values)


def in_quotes(quote: str) -> Callable[[Sequence[str]], str]:
    return lambda values: ",".join(quote + value.replace(quote, "\\" + quote) + quote for value in values)


FORMATS: dict[str, Callable[[Sequence[str]], str]] = {
    "csv": ",".join,
    "raw": ",".join,
    "glob": bare(lambda values: "{" + ",".join(values) + "}"),
    "pipe": "|".join,
    "regex": lambda values: escaped(values[0]) if len(values) == 1 else f"({'|'.join(map(escaped, values))})",
    "json": lambda values: json.dumps(values, ensure_ascii=False, separators=(",", ":")),
    "json of one": bare(lambda values: json.dumps(values, ensure_ascii=False, separators=(",", ":"))),
    "doublequote": in_quotes('"'),
    "singlequote": in_quotes("'"),
}
"""As Grafana's formatters write them."""
NAMES = st.lists(st.text("ab,{}\"'| +.()[]\\", min_size=1, max_size=6), min_size=1, max_size=4, unique=True)
"""Short ones of few characters, so that they are often parts of each other."""


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for count in range(1, len(names) + 1):
        yield from combinations(names, count)


def readings(names: Sequence[str]) -> dict[str, set[frozenset[str]]]:
    """All that could be meant by a text that Grafana might write for some of these names, or someone who escapes."""
    found: dict[str, set[frozenset[str]]] = {}
    for subset in subsets(names):
        for written in FORMATS.values():
            found.setdefault(written(subset), set()).add(frozenset(subset))
    for raw, meant in found.items():
        by_hand = re.sub(r"\\([^\w\s])", r"\1", raw)
        if by_hand in names:
            meant.add(frozenset([by_hand]))
    return found


def can_be_written(raw: str) -> bool:
    """Not a wildcard, and without a backslash at its end that would escape the closing quote."""
    return raw not in ("*", ".*") and (len(raw) - len(raw.rstrip("\\"))) % 2 == 0


def chosen(raw: str, names: Collection[str], op: str = "=~", quote: str = '"') -> set[str]:
    """The names that a selector with this text between its quotes chooses."""
    target = parse(f"score{{provider{op}{quote}{raw}{quote}}} as {{{{provider}}}}", lambda _: names)
    return {name for name in names if target.matches({"provider": name})}


@given(NAMES)
@settings(max_examples=100, deadline=None)
@example(["a,b", "a", "b,c"])
@example(["a.b", "aab"])
@example(["a(b", "a"])
@example(['a"', '"a'])
@example(["{a,b}", "a", "b"])
@example(["a|b", "a", "b\\"])
@example(['["a"]', "a"])
@example(["a|", "a="])
@example(["',", "}b)(]"])
def test_each_format_of_each_subset_chooses_just_its_names(names: list[str]) -> None:
    for raw, meant in readings(names).items():
        if not can_be_written(raw):
            continue
        for quote in "\"'":
            for op, negated in (("=", "!="), ("=~", "!~")):
                found = chosen(raw, names, op, quote)
                if len(meant) == 1:
                    assert found in meant, (raw, op, quote)
                assert chosen(raw, names, negated, quote) == set(names) - found


@given(
    st.lists(
        st.sampled_from(["a", "b", "c", "a,b", "b,c", "{a,b}", "a|b", '"a"', '["a"]', "(a|b)"]), min_size=3, unique=True
    ),
    st.data(),
)
@settings(max_examples=30, deadline=None)
def test_a_text_with_two_meanings_means_the_longest_names(names: list[str], data: st.DataObject) -> None:
    several = [raw for raw, meant in readings(names).items() if len(meant) > 1 and can_be_written(raw)]
    assume(several)
    raw = data.draw(st.sampled_from(several))
    found = chosen(raw, names)
    assert found, "whatever is meant, something is chosen"
    if raw in names:
        assert raw in found, "a label's own text always matches"


@pytest.mark.parametrize(
    ("raw", "names", "found"),
    [
        ("openai,gone", ["openai", "groq"], {"openai"}),
        ("{openai,gone}", ["openai", "groq"], {"openai"}),
        ('["openai","gone"]', ["openai", "groq"], {"openai"}),
        ('"openai","gone"', ["openai", "groq"], {"openai"}),
        ("a+b (x)|gone", ["a+b (x)", "groq"], {"a+b (x)"}),
        ("openai|gro.*", ["openai", "groq", "grok"], {"openai", "groq", "grok"}),
        ("a+b|gro.*", ["a+b", "aab", "groq"], {"a+b", "aab", "groq"}),
        ("gpt-4o+search", ["gpt-4o+search", "gpt-4oosearch"], {"gpt-4o+search"}),
        ("gpt-4.*", ["gpt-4.1", "gpt-4o", "x"], {"gpt-4.1", "gpt-4o"}),
        ("gpt-4.1", ["gpt-4x1"], {"gpt-4x1"}),
        ("openai/*", ["openai/*", "openai/", "openai"], {"openai/*"}),
        ('we\\"ird', ['we"ird', "x"], {'we"ird'}),
        ("[ab]", ["a", "b", "c"], {"a", "b"}),
        ("a{1,2}", ["a", "aa", "aaa"], {"a", "aa"}),
        ("gone", ["openai"], set()),
    ],
)
def test_what_exists_of_a_list_is_chosen_and_an_expression_stays_one(
    raw: str, names: list[str], found: set[str]
) -> None:
    assert chosen(raw, names) == found


@pytest.mark.parametrize(
    ("written", "matchers"),
    [
        ('score{a="x"y"}', [("a", 'x"y')]),
        ('score{a="x"}y"}', [("a", 'x"}y')]),
        ('score{a="x",y"}', [("a", 'x",y')]),
        ('score{a="x",b="y"}', [("a", "x"), ("b", "y")]),
        ('score{a="x"y",b="z"w"}', [("a", 'x"y'), ("b", 'z"w')]),
        ("score{a='it's',b='x'}", [("a", "it's"), ("b", "x")]),
        ('score{a="x\\",b=\\"y"}', [("a", 'x",b="y')]),
        ('score{a="["x"]"} as "legend"', [("a", "x")]),
        ('worst(5, score{a="x")"})', [("a", 'x")')]),
        ('worst(5, score{a="x"}) as y', [("a", "x")]),
    ],
)
def test_a_quote_ends_a_value_where_the_rest_reads_as_the_rest(written: str, matchers: list[tuple[str, str]]) -> None:
    assert [(one.label, one.value) for one in parse(written).matchers] == matchers


@pytest.mark.parametrize(
    "text",
    [
        '",a="' * 12_000,
        '"' * 60_000,
        '"}' * 30_000,
        '"} as' * 12_000,
        "\\" * 60_000,
        '\\"' * 30_000,
        "," * 60_000,
        "a," * 30_000,
        "a,b," * 15_000,
        "|" * 60_000,
        "{" * 60_000,
        "[" * 60_000,
        '["' + "a" * 60_000,
        '","' * 20_000,
        "'" + "','" * 20_000,
        " " * 60_000,
        '"' + " " * 60_000,
        '"' + "a" * 60_000,
        '",' + "a" * 60_000 + "=" * 10,
        "(" + "a|" * 30_000,
        "a.b|" * 15_000,
        "x" * 100_000,
    ],
    ids=lambda text: text[:8],
)
@pytest.mark.parametrize("op", ["=", "=~"])
def test_reading_takes_time_in_line_with_the_text(text: str, op: str) -> None:
    names = frozenset(
        ["a", "a,b", "a,a,a,b", ",,,", '"', "a|b", "||", "{a", *(f"model {number},{number}" for number in range(3000))]
    )
    started = time.process_time()
    for target in (f'score{{a{op}"{text}"}}', f'score{{a{op}"{text}', f'circuit{{a{op}"{text}"}},status{{a="x"}}'):
        try:
            parse(target, lambda _: names)
        except TargetError as error:
            assert len(target) > MAX_TEXT_CHARACTERS or error.hint
    assert time.process_time() - started < 3.0


@contextmanager
def recorded(names: Sequence[str]) -> Iterator[Callable[[str], set[str]]]:
    """Asks a history of these providers for a target: the providers of its series, or its table's rows."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder), retention_seconds=86_400.0)
        log = Recorder(store)
        events = [Event(T0, "circuit", name, "", "CLOSED", "OPEN", "failures") for name in names]
        one = snapshot(T0, [verdict(name) for name in names], [circuit(name, "", CircuitState.OPEN) for name in names])
        log.good(one, *events)

        def found(target: str, *, span: TimeRange | None = None, annotation: bool = False) -> set[str]:
            view = View(T0 + 5, store.latest(), 45.0)
            request = Request((Ask(target, annotation=annotation),), span, Steps(100, 0.0))
            [one] = answer(request, view, store, recorded_for(request, view, store, budget := Budget()), budget)
            if one.table is None:
                return {series.series.labels["provider"] for series in one.series}
            if annotation:
                return {str(row[2]).removesuffix(": circuit OPEN") for row in one.table.rows}
            place = [column.title for column in one.table.columns].index("Provider")
            return {str(row[place]) for row in one.table.rows}

        try:
            yield found  # type: ignore[misc]
        finally:
            log.store.close()
            store.close()


@given(NAMES, st.sampled_from(list(FORMATS)))
@settings(max_examples=30, deadline=None)
@example(["a,b", "a", "{b}", 'c"'], "csv")
@example(['a"', "b.c", "b c", "b|c"], "json")
@example(["a(b", "b.c", "b+c", "b|c"], "glob")
def test_series_tables_and_annotations_choose_the_same(names: list[str], form: str) -> None:
    meanings = readings(names)
    with recorded(names) as found:
        for subset in subsets(names):
            raw = FORMATS[form](subset)
            if len(meanings[raw]) > 1 or not can_be_written(raw):
                continue
            selector = f'{{provider=~"{raw}"}}'
            around = TimeRange(T0 - 60, T0 + 5)
            assert found(f"provider_status{selector}") == set(subset)
            assert found(f"provider_status{selector}", span=around) == set(subset)  # type: ignore[call-arg]
            assert found(f"providers{selector}") == set(subset)
            assert found(f"transitions{selector}") == set(subset)
            assert found(f"circuit{selector},status", span=around, annotation=True) == set(subset)  # type: ignore[call-arg]


def test_who_left_is_known_by_name(store: Store) -> None:
    """A name with a comma that is no longer there is still one name, and not two that are."""
    log = Recorder(store)
    log.good(snapshot(T0, [verdict("a,b"), verdict("a"), verdict("b")]))
    left = Event(T0 + 15, "roster", "a,b", "", "present", "absent", "")
    log.good(snapshot(T0 + 15, [verdict("a"), verdict("b")]), left)
    view = View(T0 + 16, store.latest(), 45.0)
    request = Request((Ask('provider_status{provider=~"a,b"}'),), TimeRange(T0 - 1, T0 + 16), Steps(100, 0.0))
    [one] = answer(request, view, store, recorded_for(request, view, store, budget := Budget()), budget)
    assert [series.series.labels["provider"] for series in one.series] == ["a,b"]
