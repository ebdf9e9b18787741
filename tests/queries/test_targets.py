"""The target language: what is read, what is matched, what a series is called, and how mistakes are told."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.queries.forms import literals
from bridge.queries.targets import MAX_LEGEND_CHARACTERS, MAX_MATCHERS, Matcher, TargetError, matcher, nearest, parse

# Everything UTF-8 can carry, with what is awkward in the language made likely.
TEXT = st.text(st.one_of(st.sampled_from("ab\\\"'|(){},.*\n\t\0/ א"), st.characters(exclude_categories=["Cs"])))
ANY_TEXT = st.text(st.one_of(st.sampled_from("am{}=!~\"'\\,|()*. \n\ud800"), st.characters(exclude_categories=[])))


def provider_matches(selector: str, provider: str) -> bool:
    return parse(f"score{{provider{selector}}}").matches({"provider": provider})


def assert_safe_to_show(error: TargetError) -> None:
    assert error.message.isprintable()
    assert error.hint.isprintable()
    assert len(error.message) < 250


def grafana_regex_format(value: str) -> str:
    r"""Grafana's 'regex' format, which escapes \ ^ $ * + ? . ( ) | [ ] { } /."""
    return re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", value)


class TestReading:
    @pytest.mark.parametrize(
        ("text", "metric", "matchers", "legend"),
        [
            ("score", "score", [], None),
            ("score{}", "score", [], None),
            ("  score  { }  ", "score", [], None),
            ("ns:score_1", "ns:score_1", [], None),
            ('score{a="x"}', "score", [("a", "=", "x")], None),
            ('score{a="x",}', "score", [("a", "=", "x")], None),
            ("score{a='x'}", "score", [("a", "=", "x")], None),
            ('score{a=""}', "score", [("a", "=", "")], None),
            (
                'score{a="w",b!="x",c=~"y.*",d!~"z.*"}',
                "score",
                [("a", "=", "w"), ("b", "!=", "x"), ("c", "=~", "y.*"), ("d", "!~", "z.*")],
                None,
            ),
            ("\tscore\n{ a  =\n\"x\" , b !~ 'y.*' , } as  L ", "score", [("a", "=", "x"), ("b", "!~", "y.*")], "L"),
            ("score as {{provider}} now", "score", [], "{{provider}} now"),
            ('score as "in quotes"', "score", [], "in quotes"),
            ("score{}as 'L'", "score", [], "L"),
            ('score as "a" and "b"', "score", [], '"a" and "b"'),
            ("as as as", "as", [], "as"),
            ('score{a="x} as y"} as z', "score", [("a", "=", "x} as y")], "z"),
        ],
    )
    def test_a_target_is_a_metric_a_selector_and_a_legend(
        self, text: str, metric: str, matchers: list[tuple[str, str, str]], legend: str | None
    ) -> None:
        target = parse(text)
        assert target.text == text
        assert target.metric == metric
        assert [(m.label, m.op, m.value) for m in target.matchers] == matchers
        assert target.legend == legend

    def test_equal_targets_are_equal_and_hashable(self) -> None:
        text = 'score{a=~"x.*"}'
        assert parse(text) == parse(text)
        assert len({parse(text), parse(text)}) == 1

    @pytest.mark.parametrize("quote", ["'", '"'])
    @pytest.mark.parametrize("pair", [r"\\", r"\a", "\\'", '\\"', r"\.x", "|", "{", "\n"])
    @pytest.mark.parametrize("count", [1, 2, 1_000, 16_000])
    def test_a_value_ends_at_its_quote_however_much_is_escaped_before_it(
        self, quote: str, pair: str, count: int
    ) -> None:
        target = parse(f'score{{a={quote}{pair * count}{quote},b="x"}} as L')
        assert [m.label for m in target.matchers] == ["a", "b"]
        assert target.legend == "L"

    def test_as_many_matchers_as_allowed_are_read(self) -> None:
        assert len(parse("score{" + 'a="x",' * MAX_MATCHERS + "}").matchers) == MAX_MATCHERS


class TestMistakes:
    def test_braces_that_curl_took_are_missed(self) -> None:
        with pytest.raises(TargetError) as caught:
            parse('explainprovider="x"')
        assert "curl -g" in caught.value.hint
        with pytest.raises(TargetError) as caught:
            parse("health-score{}")
        assert "curl" not in caught.value.hint

    @pytest.mark.parametrize(
        ("text", "says", "position"),
        [
            ("", "the target is empty", 0),
            (" \n ", "the target is empty", 0),
            ('{a="x"}', "a metric name is missing", 0),
            ("9score", '"9score" is not a metric name', 0),
            ("health-score{}", '"health-score" is not a metric name: unexpected "-"', 6),
            ("sum(score)", 'unexpected "("', 3),
            ("scöre", 'unexpected "ö"', 2),
            ("score{", "closing brace", 6),
            ('score{a="x"', "closing brace", 11),
            ('score{a="x", ', "closing brace", 13),
            ("score{a}", "operator is missing", 7),
            ('score{a "x"}', "operator is missing", 8),
            ('score{a=="x"}', 'unknown operator "=="', 7),
            ('score{a>"5"}', 'unknown operator ">"', 7),
            ("score{a=x}", "a value in quotes is missing", 8),
            ("score{a=", "a value in quotes is missing", 8),
            ('score{a="x}', "opened but not closed", 8),
            ("score{a='x\"}", "opened but not closed", 8),
            ('score{a="x\\"}', "opened but not closed", 8),
            ('score{="x"}', "label name is missing", 6),
            ("score{,}", "label name is missing", 6),
            ('score{ä="x"}', "label name is missing", 6),
            ('score{a="x" b="y"}', 'unexpected "b="y"}" after a value', 12),
            ('score{a="x"}}', 'unexpected "}" after the selector', 12),
            ("score by provider", 'unexpected "by" after the selector', 6),
            ("score asleep", 'unexpected "asleep" after the selector', 6),
            ("score as", "the legend", 8),
            ('score as ""', "the legend", 9),
            ("score as " + "x" * (MAX_LEGEND_CHARACTERS + 1), "the legend is too long", 9),
            ('score{a=~"(x"}', "missing ): (x", 9),
            ('score{b="y",a!~"x**"}', "bad repetition operator: **", 15),
            (r'score{a=~"(?=x)"}', "invalid perl operator: (?=", 9),
            ("x" * 65_537, "too long", 65_536),
            ("score{" + 'a="x",' * (MAX_MATCHERS + 1) + "}", "too many matchers", 6 + 6 * MAX_MATCHERS),
            ("score\ud800", "unpaired surrogate", 5),
            ('score{a=~"\udcff"}', "unpaired surrogate", 10),
        ],
    )
    def test_a_mistake_is_named_with_its_place_and_what_would_be_right(
        self, text: str, says: str, position: int
    ) -> None:
        with pytest.raises(TargetError) as caught:
            parse(text)
        error = caught.value
        assert says in error.message
        assert error.position == position
        assert error.message.endswith(f" at character {position + 1}")
        assert str(error) == error.message
        assert error.hint

    @pytest.mark.parametrize(
        "text", ["", "health-score", 'score{a "x"}', 'score{a="x"', 'score{a="x" b="y"}', "score x"]
    )
    def test_the_hint_shows_a_selector_that_works(self, text: str) -> None:
        with pytest.raises(TargetError) as caught:
            parse(text)
        shown = re.search(r"\{provider=.*?\"\}", caught.value.hint)
        assert shown
        assert parse("score" + shown[0]).matches({"provider": "openai", "model": "gpt-4.1"})

    @pytest.mark.parametrize(
        "text",
        ["score\x1b[2J", "score \u202eevil", 'score{a=~"(\x1b\n\u202e"}', "score{\r\0", "score\ud800", "x y" * 9999],
    )
    def test_an_error_carries_nothing_that_a_terminal_or_a_log_would_obey(self, text: str) -> None:
        with pytest.raises(TargetError) as caught:
            parse(text)
        assert_safe_to_show(caught.value)

    @given(ANY_TEXT)
    @example("score" + "{" * 1000)
    @example('score{a="' + "\\" * 1001)
    @example('score{a=~"' + "(" * 1500 + '"}')
    @example('score{a="' + "|" * 5000 + '"}')
    def test_any_text_is_a_target_or_a_target_error(self, text: str) -> None:
        for candidate in (text, f"score{{{text}", f'score{{a="{text}"}}', f"score{{a=~'{text}'}}", f"score as {text}"):
            try:
                target = parse(candidate)
            except TargetError as error:
                assert_safe_to_show(error)
                continue
            labels = {"a": text}
            assert isinstance(target.matches(labels), bool)
            assert isinstance(target.name(labels), str)


class TestRegularExpressions:
    @pytest.mark.parametrize("text", ["xopenai", "openaix", "openai\n", "open"])
    @pytest.mark.parametrize("expression", ["openai", "open(ai)", "open[a]i", "openai|groq.", "(openai|groq)"])
    def test_a_regular_expression_must_match_the_whole_value(self, expression: str, text: str) -> None:
        assert provider_matches(f'=~"{expression}"', "openai")
        assert not provider_matches(f'=~"{expression}"', text)
        assert provider_matches(f'!~"{expression}"', text)
        assert not provider_matches(f'!~"{expression}"', "openai")

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            (r"gpt-4\.\d+", "gpt-4.1"),
            (r"openai\/gpt.*", "openai/gpt-4.1"),
            ("(?i)OPENAI", "openai"),
            (r"say \"hi\".*", 'say "hi" now'),
            (r"a\\.", r"a\b"),
            (".*", "two\nlines"),
            (".+", "עברית"),
            (".", "é"),
            (".*", ""),
            (r"\x00.", "\0x"),
        ],
    )
    def test_what_stands_in_the_quotes_is_the_expression_itself(self, expression: str, value: str) -> None:
        assert provider_matches(f'=~"{expression}"', value)

    @given(
        st.text(st.sampled_from("ab|()\\.*n{}[]^$+? \n"), max_size=8), st.text(st.sampled_from("ab|.n\n ("), max_size=3)
    )
    @example("a|b", "b")
    @example("(a|)", "")
    @example("a\\|b", "a|b")
    @example(".|", ".|")
    @example("a|b", "a|b")
    def test_a_list_of_plain_texts_matches_just_what_re2_would_match(self, expression: str, value: str) -> None:
        options = re2.Options()
        options.log_errors = False
        options.dot_nl = True
        try:
            expected = re2.fullmatch(expression, value, options) is not None
        except re2.error:
            with pytest.raises(TargetError):
                Matcher("a", "=~", expression)
        else:
            own_text = value == expression and literals(expression) is None
            assert Matcher("a", "=~", expression).matches({"a": value}) is (expected or own_text)

    @pytest.mark.parametrize("name", ["gpt-4o+search", "a+b (x)", "llama(3)+x", "a.*b", "gpt-4[32k]"])
    def test_an_expressions_own_text_matches_it(self, name: str) -> None:
        """Grafana writes a variable's only value without escapes even where an expression is wanted."""
        assert provider_matches(f'=~"{name}"', name)
        assert not provider_matches(f'!~"{name}"', name)
        assert not provider_matches(f'=~"{name}"', f"{name} and more")

    def test_half_a_character_in_a_label_is_not_matched_but_harmless(self) -> None:
        assert not provider_matches('=~"open.[a-z]"', "open\ud800")

    def test_an_expression_is_compiled_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled: list[bytes] = []
        compile_pattern = re2.compile

        def compile_and_note(pattern: bytes, options: re2.Options) -> object:
            compiled.append(pattern)
            return compile_pattern(pattern, options)

        monkeypatch.setattr(re2, "compile", compile_and_note)
        for _ in range(3):
            assert provider_matches('=~"only.once.*"', "only once")
        assert compiled == [b"only.once.*"]

    @pytest.mark.parametrize(
        "expression",
        [
            "a{0,1000}" * 50,
            "a{0,99}" * 285,
            r"\pL" * 660,
            r"\pL?" * 500,
            "(?:.?.?){15}" * 160,
            "(?:a*){1000}" * 160,
            "(a?){9}" * 280,
            "(x+x+)+y",
            "(" * 1900,
        ],
    )
    def test_a_hostile_expression_is_refused_or_answered_soon(self, expression: str) -> None:
        started = time.thread_time()
        try:
            target = parse(f'score{{a=~"{expression}"}}')
        except TargetError:
            pass
        else:
            for n in range(100):
                target.matches({"a": "ax" * 30 + str(n)})
        assert time.thread_time() - started < 1  # 4 s and more for the first two alone with RE2's default memory

    def test_a_bad_expression_is_told_to_the_client_and_not_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(TargetError, match="RE2 says"):
            parse('score{a=~"(x"}')
        assert capfd.readouterr() == ("", "")

    def test_long_literal_values_do_not_count_as_expressions(self) -> None:
        value = "x" * 1500 + r"\\d"
        assert parse(f'score{{a="{value}",b="{value}"}}').matches({"a": value[:-2] + "d", "b": value[:-2] + "d"})

    def test_expressions_of_one_target_share_one_limit(self) -> None:
        half = ".*" + "x" * 999
        assert parse(f'score{{a=~"{half}"}}').matchers
        with pytest.raises(TargetError, match="too long at character 1017"):
            parse(f'score{{a=~"{half}",b=~"{half}"}}')
        with pytest.raises(TargetError, match="too long"):
            matcher("a", "=~", half * 2)

    def test_a_list_of_thousands_of_names_is_no_expression_and_has_no_such_limit(self) -> None:
        names = [f"provider-{n}.example/x" for n in range(1500)]
        written = "(" + "|".join(map(grafana_regex_format, names)) + ")"
        for op in ("=", "=~"):
            target = parse(f'score{{provider{op}"{written}"}}')
            assert all(target.matches({"provider": name}) for name in names)
            assert not target.matches({"provider": "provider-1.example"})

    def test_threads_may_share_a_target_and_the_cache(self) -> None:
        def work(n: int) -> bool:
            return parse(f'score{{a=~"x{n % 7}.*"}}').matches({"a": f"x{n % 7}y"})

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(2000)))

    @pytest.mark.parametrize("selector", ['{provider=~"prov.*7",model!~"m[13]"}', '{provider="(prov7|prov9)"}'])
    def test_ten_thousand_label_sets_are_matched_within_a_blink(self, selector: str) -> None:
        sets: list[Mapping[str, str]] = [{"provider": f"prov{n}", "model": f"m{n % 5}"} for n in range(10_000)]
        target = parse("score" + selector)
        started = time.thread_time()
        matched = sum(map(target.matches, sets))
        assert time.thread_time() - started < 0.5
        assert 0 < matched < 10_000


class TestGrafanaForms:
    @pytest.mark.parametrize("op", ["=", "=~"])
    @pytest.mark.parametrize(
        ("written", "yes", "no"),
        [
            ("openai", ["openai"], ["groq", "", "openai2"]),
            (r"openai\/gpt-4\.1", ["openai/gpt-4.1"], ["openai/gpt-4x1", r"openai\/gpt-4\.1"]),
            ("(openai|groq)", ["openai", "groq"], ["openaigroq", "(openai|groq)", ""]),
            (r"(gpt-4\.1|openai\/o3)", ["gpt-4.1", "openai/o3"], ["gpt-4x1"]),
            (r"(a\|b|c)", ["a|b", "c"], ["a", "b"]),
            ("openai|groq", ["openai", "groq"], ["openai|groq", ""]),
            ("{openai,groq}", ["openai", "groq"], ["{openai,groq}", ""]),
            ("{gpt-4.1,a|b,*}", ["gpt-4.1", "a|b", "*"], ["gpt-4x1", "a", "x"]),
            (".*", ["openai", "", ".*", "a\nb"], []),
            ("*", ["openai", "", "*"], []),
        ],
    )
    def test_a_variable_works_however_grafana_writes_it(
        self, op: str, written: str, yes: list[str], no: list[str]
    ) -> None:
        negated = {"=": "!=", "=~": "!~"}[op]
        for quote in "\"'":
            for value in yes:
                assert provider_matches(f"{op}{quote}{written}{quote}", value), value
                assert not provider_matches(f"{negated}{quote}{written}{quote}", value), value
            for value in no:
                assert not provider_matches(f"{op}{quote}{written}{quote}", value), value
                assert provider_matches(f"{negated}{quote}{written}{quote}", value), value

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            ("gpt.*", "gpt.*"),
            ("(openai)", "(openai)"),
            ("{openai}", "{openai}"),
            ("a,b", "a,b"),
            ("[ab]", "[ab]"),
            (r"a\.b\-c\|d\\e", r"a.b-c|d\e"),
            (r"a\nb\tc", "a\nb\tc"),
            (r"a\\nb", r"a\nb"),
            (r"\d\x", r"\d\x"),
            (r"\(a\|b\)", "(a|b)"),
            (r"\{a,b\}", "{a,b}"),
            (r"\.\*", ".*"),
            (r"\*", "*"),
            ('say \\"hi\\"', 'say "hi"'),
            ('{\\"a\\"}', '{"a"}'),
            ("it's", "it's"),
        ],
    )
    def test_with_an_equals_sign_everything_else_is_one_literal_value(self, written: str, value: str) -> None:
        (found,) = parse(f'score{{a="{written}"}}').matchers
        assert (found.op, found.value) == ("=", value)
        assert found.matches({"a": value})
        assert not found.matches({"a": value + "x"})

    @pytest.mark.parametrize(
        ("written", "op", "value"),
        [
            ('="(openai|gpt-4\\.1)"', "=~", r"openai|gpt-4\.1"),
            ('!="{openai,gpt-4.1}"', "!~", r"openai|gpt-4\.1"),
            ('=~"{openai,gpt-4.1}"', "=~", r"openai|gpt-4\.1"),
            ('="{say \\"hi\\",b}"', "=~", 'say "hi"|b'),
            ('="*"', "=~", ".*"),
            ('!~"*"', "!~", ".*"),
        ],
    )
    def test_a_form_of_grafana_becomes_a_matcher_that_prometheus_would_understand(
        self, written: str, op: str, value: str
    ) -> None:
        assert parse(f"score{{a{written}}}").matchers == (Matcher("a", op, value),)

    def test_an_absent_label_equals_the_empty_text(self) -> None:
        for selector, expected in [
            ('=""', True),
            ('!=""', False),
            ('=~"x|"', True),
            ('=~".+"', False),
            ('="x"', False),
        ]:
            assert parse(f"score{{model{selector}}}").matches({"provider": "x"}) is expected

    def test_all_matchers_must_match(self) -> None:
        target = parse('score{provider="openai",model=~"gpt.*"}')
        assert target.matches({"provider": "openai", "model": "gpt-4.1"})
        assert not target.matches({"provider": "openai", "model": "o3"})
        assert not target.matches({"provider": "groq", "model": "gpt-4.1"})

    @given(TEXT)
    @example("a|b")
    @example("(a|b)")
    @example("{a,b}")
    @example("*")
    @example(".*")
    @example("\\n")
    @example("a\\")
    def test_every_value_survives_grafanas_regex_format(self, value: str) -> None:
        quote = "'" if '"' in value else '"'
        if quote in value:
            return  # Grafana does not escape quotes: with both kinds in it, there is no way to write it
        written = grafana_regex_format(value)
        for op in ("=", "=~"):
            target = parse(f"score{{provider{op}{quote}{written}{quote}}}")
            assert target.matches({"provider": value})
            assert not target.matches({"provider": value + "x"})

    @given(st.lists(TEXT.filter(lambda text: "'" not in text), min_size=2, max_size=4))
    def test_every_list_of_values_survives_grafanas_regex_format(self, values: list[str]) -> None:
        written = "(" + "|".join(map(grafana_regex_format, values)) + ")"
        for op in ("=", "=~"):
            target = parse(f"score{{provider{op}'{written}'}}")
            assert all(target.matches({"provider": value}) for value in values)
            assert not target.matches({"provider": max(values, key=len) + "x"})


class TestNames:
    def test_without_a_legend_a_series_is_named_like_prometheus_names_it(self) -> None:
        target = parse('score{provider=~".*"}')
        assert target.name({}) == "score"
        assert target.name({"provider": "openai", "model": "x"}) == 'score{provider="openai",model="x"}'
        assert target.name({"model": "x", "provider": "openai"}) == 'score{model="x",provider="openai"}'
        assert target.name({"provider": 'a\\b"c\nd'}) == r'score{provider="a\\b\"c\nd"}'

    @pytest.mark.parametrize(
        ("legend", "name"),
        [
            ("{{provider}}", "openai"),
            ("{{ provider }} / {{model}}", "openai / gpt-4.1"),
            ("{{provider}}{{nobody}}!", "openai!"),
            ("{{nobody}}", ""),
            ("{provider} {{}} {{", "{provider}  {{"),
            ("plain", "plain"),
        ],
    )
    def test_a_legend_is_filled_in_from_the_labels(self, legend: str, name: str) -> None:
        assert parse(f"score as {legend}").name({"provider": "openai", "model": "gpt-4.1"}) == name

    def test_a_value_that_looks_like_a_placeholder_is_not_filled_in_again(self) -> None:
        assert parse("score as {{provider}}").name({"provider": "{{model}}", "model": "x"}) == "{{model}}"

    @given(TEXT)
    @example("a|b")
    @example("(a|b)")
    @example("(a|b\\")
    @example("{a,b}")
    @example("{a|b,c}")
    @example("*")
    @example(".*")
    @example("\\n\n")
    def test_a_name_is_a_target_for_just_that_series(self, value: str) -> None:
        name = parse("score").name({"provider": value})
        (found,) = parse(name).matchers
        assert (found.label, found.op, found.value) == ("provider", "=", value)


class TestFilters:
    @pytest.mark.parametrize("value", ["openai", "(a|b)", "{a,b}", "a|b", ".*", "*", r"a\.b", "a\nb", "", "\0", "'\""])
    def test_a_filters_value_is_literal_with_equals(self, value: str) -> None:
        assert matcher("provider", "=", value).matches({"provider": value})
        assert not matcher("provider", "=", value).matches({"provider": value + "x"})
        assert not matcher("provider", "!=", value).matches({"provider": value})
        assert matcher("provider", "!=", value).matches({"provider": value + "x"})

    def test_a_filters_value_is_an_expression_with_a_tilde(self) -> None:
        assert matcher("provider", "=~", "open.*").matches({"provider": "openai"})
        assert not matcher("provider", "!~", "{openai,groq}").matches({"provider": "groq"})
        assert matcher("provider", "=~", "*").matches({})

    @pytest.mark.parametrize("op", ["<", ">", "", "==", "=|", "!=|", "~", "=~~"])
    def test_an_operator_that_labels_do_not_have_is_refused_with_those_they_have(self, op: str) -> None:
        with pytest.raises(TargetError, match="unknown operator") as caught:
            matcher("provider", op, "5")
        assert "=~" in caught.value.hint
        assert caught.value.position is None

    @pytest.mark.parametrize(
        ("label", "op", "value"),
        [
            ("", "=", "x"),
            ("pro vider", "=", "x"),
            ("a\n", "=", "x"),
            ("a\ud800", "=", "x"),
            ("a", "=", "\ud800"),
            ("a", "=~", "\ud800"),
            ("a", "=~", "("),
            ("a", "=~", "x\\"),
            ("a", "=", "x" * 65_537),
        ],
    )
    def test_a_filter_that_cannot_be_used_is_a_target_error(self, label: str, op: str, value: str) -> None:
        with pytest.raises(TargetError) as caught:
            matcher(label, op, value)
        assert caught.value.message.isprintable()
        assert caught.value.hint


class TestNearest:
    KNOWN = ("provider_health_score", "provider_status", "fleet_health_score", "gateway_up")

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("provider_helth_score", "provider_health_score"),
            ("PROVIDER_STATUS", "provider_status"),
            ("gateway", "gateway_up"),
            ("zzz", None),
            ("", None),
        ],
    )
    def test_a_misspelt_metric_leads_to_the_one_that_was_meant(self, word: str, expected: str | None) -> None:
        assert nearest(word, self.KNOWN) == expected

    def test_a_very_long_word_is_compared_in_no_time(self) -> None:
        started = time.thread_time()
        nearest("".join(map(str, range(400_000))), ["".join(map(str, range(n, n + 50))) for n in range(50)])
        assert time.thread_time() - started < 0.5
