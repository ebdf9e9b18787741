"""Payloads: what is chosen in a query editor, in the target language's own terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.queries.payloads import Choice, read
from bridge.queries.targets import MAX_LEGEND_CHARACTERS, MAX_TEXT_CHARACTERS, TargetError, matcher, parse

NAMES = st.text(
    st.one_of(st.sampled_from("ab\\|(){},.*+-/\n"), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20
)


def escaped(name: str) -> str:
    """As Grafana writes a variable's value into a regular expression."""
    return "".join("\\" + character if character in "\\^$*+?.()|[]{}/" else character for character in name)


@pytest.mark.parametrize(
    ("provider", "chosen"),
    [
        ("openai", matcher("provider", "=", "openai")),
        (["openai"], matcher("provider", "=", "openai")),
        (["openai", "groq"], matcher("provider", "=~", "openai|groq")),
        (["openai", "openai"], matcher("provider", "=", "openai")),
        (["a", None], matcher("provider", "=", "a")),
        (5, matcher("provider", "=", "5")),
        (False, matcher("provider", "=", "false")),
    ],
)
def test_what_is_chosen_is_the_matcher_that_the_text_would_give(provider: object, chosen: object) -> None:
    assert read({"provider": provider}).matchers == (chosen,)


@pytest.mark.parametrize("provider", [None, "", [], [None], "*", ".*", "$__all", ["openai", "$__all"], [""]])
def test_nothing_or_everything_chooses_nothing(provider: object) -> None:
    assert read({"provider": provider}) == Choice()


def test_what_is_not_known_is_ignored() -> None:
    assert read({"colour": {"deep": ["er"]}, "provider_": 5}) == Choice()


@pytest.mark.parametrize("payload", [{"provider": {"a": 1}}, {"model": [["a"]]}, {"status": [{}]}])
def test_what_is_neither_text_nor_list_is_refused_by_its_name(payload: dict[str, object]) -> None:
    with pytest.raises(TargetError, match=f"the payload's {next(iter(payload))}"):
        read(payload)


@pytest.mark.parametrize(
    "payload", [{"legend": "x" * (MAX_LEGEND_CHARACTERS + 1)}, {"provider": "x" * (MAX_TEXT_CHARACTERS + 1)}]
)
def test_what_is_too_long_is_refused(payload: dict[str, object]) -> None:
    with pytest.raises(TargetError, match=r"longer than|too long"):
        read(payload)


@pytest.mark.parametrize(
    ("provider", "chosen"),
    [
        ("{a,b}", {"a", "b"}),
        ("{a,b,c}", {"a,b", "c"}),
        ("a,b", {"a,b"}),
        (["a,b", "c"], {"a,b", "c"}),
        ('["a","c"]', {"a", "c"}),
        ("a\\.b", {"a.b"}),
        ("a.b", {"a.b"}),
        ("(a|a\\.b)", {"a", "a.b"}),
    ],
)
def test_names_in_a_text_are_read_by_those_that_exist(provider: object, chosen: set[str]) -> None:
    there = ["a", "b", "c", "a,b", "a.b", "axb"]
    if provider == "{a,b}":
        there.remove("a,b")
    [one] = read({"provider": provider}, lambda _: there).matchers
    assert {name for name in there if one.matches({"provider": name})} == chosen


@given(NAMES, NAMES)
def test_every_name_can_be_chosen_as_it_is_escaped_and_among_others(name: str, other: str) -> None:
    for text in (name, escaped(name)):
        for value in (text, [text], [text, other], [other, text]):
            for one in read({"provider": value}).matchers:
                assert one.matches({"provider": name})


@given(NAMES)
def test_an_escaped_name_chooses_no_other(name: str) -> None:
    for one in read({"provider": escaped(name)}).matchers:
        assert not one.matches({"provider": name + "x"})
        assert not one.matches({"provider": ""})


class TestTheTarget:
    CHOICE = read({"provider": "openai", "model": ["a", "b"], "legend": "{{provider}}"})

    def test_it_has_the_choice_as_if_it_were_written(self) -> None:
        target = self.CHOICE.of(parse("model_error_rate"))
        written = parse('model_error_rate{provider="openai",model=~"a|b"} as {{provider}}')
        assert (target.metric, target.matchers, target.legend) == (written.metric, written.matchers, written.legend)

    def test_of_labels_its_metric_does_not_have_nothing_is_chosen(self) -> None:
        assert [one.label for one in self.CHOICE.of(parse("provider_status")).matchers] == ["provider"]
        assert self.CHOICE.of(parse("fleet_health_score")).matchers == ()
        assert self.CHOICE.of(parse("avg_health_score")).matchers == ()

    def test_its_own_legend_goes_first(self) -> None:
        assert self.CHOICE.of(parse("provider_status as mine")).legend == "mine"

    def test_an_unknown_metric_is_refused(self) -> None:
        with pytest.raises(TargetError, match="did you mean 'provider_status'"):
            self.CHOICE.of(parse("provider_statis"))
