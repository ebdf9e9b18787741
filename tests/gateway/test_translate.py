"""From samples to signals: units, encodings, whose line wins, and what is not believed to mean anything."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.gateway import plan
from bridge.gateway.dialect import Dialect, NameRule, Recognition, SignalSource
from bridge.gateway.dialect_file import builtin, select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.plan import MAX_NAME_LENGTH
from bridge.gateway.translate import Translator
from bridge.model import CircuitState, Key, Signals

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
OPENAI, GROQ = Key("openai"), Key("groq")


def translate(text: str, *dialects: Dialect) -> Signals:
    """What an exposition says in these dialects; in the built-in ones, when none is named."""
    return Translator(dialects or select("auto")).translate(ExpositionReader().read(text.encode()))


def of(*signals: SignalSource, name: str = "mine", specificity: int = 50, by: str = "up") -> Dialect:
    return Dialect(name, name, specificity, (Recognition(by),), signals)


def gauge(signal: str, unit: str, family: str = "m") -> Dialect:
    return of(SignalSource(signal, family, NameRule("provider"), unit=unit))


class TestUnits:
    @pytest.mark.parametrize(
        ("signal", "unit", "published", "ours"),
        [
            ("reported_score", "percent", 97.5, 97.5),
            ("reported_score", "ratio", 0.975, 97.5),
            ("availability", "percent", 99.9, 99.9),
            ("availability", "ratio", 0, 0),
            ("availability", "ratio", 1, 100),
            ("error_rate", "ratio", 0.25, 0.25),
            ("error_rate", "percent", 25, 0.25),
            ("latency", "seconds", 1.5, 1.5),
            ("latency", "milliseconds", 1500, 1.5),
            ("cost", "usd", 3.25, 3.25),
        ],
    )
    def test_a_gauge_comes_out_in_the_bridges_own_unit(
        self, signal: str, unit: str, published: float, ours: float
    ) -> None:
        signals = translate(f'up 1\nm{{provider="openai"}} {published}\n', gauge(signal, unit))
        assert signals.gauges == {signal: {OPENAI: pytest.approx(ours)}}

    @pytest.mark.parametrize(
        ("signal", "unit", "published"),
        [
            ("reported_score", "percent", 100.1),
            ("reported_score", "percent", -1),
            ("reported_score", "ratio", 97),
            ("availability", "percent", 250),
            ("availability", "ratio", 99.5),
            ("error_rate", "ratio", 1.5),
            ("error_rate", "ratio", -0.1),
        ],
    )
    def test_a_value_outside_its_range_is_not_known_and_said_to_be(
        self, signal: str, unit: str, published: float
    ) -> None:
        text = f'up 1\nm{{provider="openai"}} {published}\nm{{provider="groq"}} 0.5\n'
        signals = translate(text, gauge(signal, unit))
        assert signals.gauges[signal].keys() == {GROQ}
        assert signals.notices == (f"m of openai is {published:g}, outside its range: not known",)
        assert signals.providers == {"openai", "groq"}

    @pytest.mark.parametrize(
        ("published", "ours"),
        [
            pytest.param([0.97, 1.0], [97, 100], id="0-1 in one release"),
            pytest.param([97, 100], [97, 100], id="0-100 in another"),
            pytest.param([0.5, 100], [0.5, 100], id="one above 1 says which it is"),
            pytest.param([0, 0], [0, 0], id="0 is 0 in both"),
        ],
    )
    def test_a_score_that_is_a_ratio_in_one_release_and_a_percentage_in_another_is_told_apart(
        self, published: list[float], ours: list[float]
    ) -> None:
        text = "".join(
            f'gatewayz_provider_health_score{{provider="{name}"}} {value}\n'
            for name, value in zip(("openai", "groq"), published, strict=True)
        )
        assert translate(text).gauges["reported_score"] == {
            OPENAI: pytest.approx(ours[0]),
            GROQ: pytest.approx(ours[1]),
        }

    @pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e999"])
    def test_nan_and_infinities_are_not_known_and_the_provider_is_there(self, value: str) -> None:
        signals = translate(f'up 1\nm{{provider="openai"}} {value}\n', gauge("latency", "seconds"))
        assert signals.gauges == {}
        assert signals.families == {"m": {"openai"}}

    @pytest.mark.parametrize(("value", "counted"), [("5", [5.0]), ("0", [0.0]), ("-5", []), ("NaN", []), ("Inf", [])])
    def test_a_counter_is_a_number_that_is_not_negative(self, value: str, counted: list[float]) -> None:
        signals = translate(
            f'up 1\nm{{provider="a"}} {value}\n', of(SignalSource("requests", "m", NameRule("provider")))
        )
        assert list(signals.counters.known().values()) == counted

    def test_counters_go_by_the_very_same_ids_for_as_long_as_the_gateway_publishes_the_same_series(self) -> None:
        translator, reader = Translator(select("auto")), ExpositionReader()
        line = 'model_inference_requests_total{{provider="groq",model="a",status="success"}} {}\n'
        pages = (line.format(5), line.format("-1"), line.format(7) + "other 1\n")
        first, second, third = (translator.translate(reader.read(page.encode())).counters for page in pages)
        assert first.ids is second.ids is third.ids
        assert (first.known(), second.known(), third.known()) == ({first.ids[0]: 5.0}, {}, {first.ids[0]: 7.0})

    @pytest.mark.parametrize(("unit", "factor"), [("seconds", 1.0), ("milliseconds", 0.001)])
    def test_a_histogram_comes_out_in_seconds(self, unit: str, factor: float) -> None:
        dialect = of(SignalSource("latency_histogram", "took", NameRule("provider"), unit=unit))
        lines = [
            "up 1",
            'took_bucket{provider="openai",le="500"} 3',
            'took_bucket{provider="openai",le="2500.0"} 8',
            'took_bucket{provider="openai",le="+Inf"} 10',
            'took_sum{provider="openai"} 9000',
            'took_count{provider="openai"} 10',
            'took{provider="openai"} 77',
            'took_created{provider="openai"} 1700000000',
        ]
        counters = translate("\n".join(lines) + "\n", dialect).counters
        buckets = {float(id_.detail): value for id_, value in counters.items() if id_.signal == "latency_bucket"}
        assert sorted(buckets) == pytest.approx([500 * factor, 2500 * factor, float("inf")])
        assert [buckets[bound] for bound in sorted(buckets)] == [3, 8, 10]
        rest = {id_.signal: value for id_, value in counters.items() if id_.signal != "latency_bucket"}
        assert rest == {"latency_sum": pytest.approx(9000 * factor), "latency_count": 10}

    @pytest.mark.parametrize("bound", ["NaN", "fast", "1s"])
    def test_a_bucket_without_a_bound_that_is_a_number_is_none(self, bound: str) -> None:
        dialect = of(SignalSource("latency_histogram", "took", NameRule("provider"), unit="seconds"))
        text = f'up 1\ntook_bucket{{provider="a",le="{bound}"}} 3\ntook_count{{provider="a"}} 4\n'
        assert [counter.signal for counter in translate(text, dialect).counters] == ["latency_count"]


def one_hot(**values: float) -> str:
    return "".join(
        f'circuit_breaker_current_state{{provider="groq",state="{state}"}} {value}\n' for state, value in values.items()
    )


class TestStates:
    @pytest.mark.parametrize(
        ("lines", "state"),
        [
            (one_hot(closed=1, open=0, half_open=0), CLOSED),
            (one_hot(closed=0, open=1, half_open=0), OPEN),
            (one_hot(closed=0, open=0, half_open=1), HALF_OPEN),
            (one_hot(OPEN=1), OPEN),
            (one_hot(Half_Open=1), HALF_OPEN),
            ('circuit_breaker_current_state{provider="groq",state="half-open"} 1\n', HALF_OPEN),
            ('circuit_breaker_current_state{provider="groq",state="halfopen"} 1\n', HALF_OPEN),
            ('circuit_breaker_current_state{provider="groq"} 0\n', CLOSED),
            ('circuit_breaker_current_state{provider="groq"} 1\n', OPEN),
            ('circuit_breaker_current_state{provider="groq"} 2.0\n', HALF_OPEN),
        ],
    )
    def test_a_state_is_read_one_hot_or_as_a_number(self, lines: str, state: CircuitState) -> None:
        signals = translate(lines)
        assert signals.circuits == {GROQ: state}
        assert signals.notices == ()

    @pytest.mark.parametrize(
        ("lines", "state", "notice"),
        [
            (one_hot(closed=1, open=1), OPEN, "circuit of groq says 2 states at once"),
            (one_hot(closed=1, half_open=1), HALF_OPEN, "circuit of groq says 2 states at once"),
            (one_hot(closed=1, open=1, half_open=1), OPEN, "circuit of groq says 3 states at once"),
            (one_hot(closed=0, open=0, half_open=0), None, "circuit of groq says no state it could be in"),
            (one_hot(broken=1), None, "circuit of groq says no state it could be in"),
            (one_hot(open=0.5), None, "circuit of groq says no state it could be in"),
            (
                'circuit_breaker_current_state{provider="groq"} 3\n',
                None,
                "circuit state of groq is 3, which is no state: not known",
            ),
            (
                'circuit_breaker_current_state{provider="groq"} 0.5\n',
                None,
                "circuit state of groq is 0.5, which is no state: not known",
            ),
        ],
    )
    def test_of_states_that_contradict_each_other_the_worst_counts_and_it_is_said(
        self, lines: str, state: CircuitState | None, notice: str
    ) -> None:
        signals = translate(lines)
        assert signals.circuits == ({} if state is None else {GROQ: state})
        assert signals.notices == (notice,)
        assert signals.providers == {"groq"}

    def test_transitions_are_counted_by_the_names_of_states(self) -> None:
        line = 'circuit_breaker_state_transitions_total{{provider="groq",from_state="{}",to_state="{}"}} 4\n'
        pairs = [("closed", "open"), ("OPEN", "half-open"), ("half_open", "melted")]
        text = one_hot(open=1) + "".join(line.format(*pair) for pair in pairs)
        details = [counter.detail for counter in translate(text).counters if counter.signal == "transitions"]
        assert details == ["CLOSED>OPEN", "OPEN>HALF_OPEN", "HALF_OPEN>"]


DATA = 'gatewayz_data_scrape_success 1\nhealth_score{provider="openai"} 90\n'
METRICS = 'gatewayz_provider_health_score{provider="openai"} 0.8\n'
DOCUMENTED = 'provider_health_score{provider="openai"} 70\n'


class TestWhoWins:
    @pytest.mark.parametrize(
        ("text", "score", "dialects"),
        [
            (DATA, 90, ("gatewayz-data",)),
            (METRICS, 80, ("gatewayz-metrics",)),
            (DOCUMENTED, 70, ("gatewayz-documented",)),
            (DATA + METRICS, 90, ("gatewayz-data", "gatewayz-metrics")),
            (DOCUMENTED + METRICS, 80, ("gatewayz-metrics", "gatewayz-documented")),
            (DOCUMENTED + METRICS + DATA, 90, ("gatewayz-data", "gatewayz-metrics", "gatewayz-documented")),
        ],
    )
    def test_the_more_specific_dialect_gives_a_signal_that_several_could(
        self, text: str, score: float, dialects: tuple[str, ...]
    ) -> None:
        signals = translate(text)
        assert signals.gauges["reported_score"] == {OPENAI: pytest.approx(score)}
        assert signals.dialects == dialects
        assert signals.sources["reported_score"][1] == dialects[0]

    def test_a_dialect_without_samples_for_a_signal_leaves_it_to_the_next(self) -> None:
        text = "gatewayz_data_scrape_success 1\n" + METRICS
        signals = translate(text)
        assert signals.dialects == ("gatewayz-data", "gatewayz-metrics")
        assert signals.gauges["reported_score"] == {OPENAI: pytest.approx(80)}

    def test_in_one_dialect_the_first_entry_that_has_samples_wins(self) -> None:
        first, second = (
            SignalSource("reported_score", name, NameRule("provider"), unit="percent") for name in ("a", "b")
        )
        both = 'up 1\nb{provider="openai"} 2\na{provider="openai"} 1\n'
        assert translate(both, of(first, second)).gauges["reported_score"] == {OPENAI: 1}
        assert translate(both.replace("\na", "\nc"), of(first, second)).gauges["reported_score"] == {OPENAI: 2}

    def test_requests_come_from_the_dialect_that_counts_failures(self) -> None:
        """A ratio of two gateways' counters means nothing."""
        requests_only = of(SignalSource("requests", "calls", NameRule("provider")), name="specific", specificity=90)
        both = of(
            SignalSource("requests", "tries", NameRule("provider")),
            SignalSource("failures", "fails", NameRule("provider")),
            name="both",
        )
        text = 'up 1\ncalls{provider="a"} 9\ntries{provider="a"} 8\n'
        assert translate(text, requests_only, both).sources["requests"] == ("tries", "both"), "no failure yet"
        with_failures = translate(text + 'fails{provider="a"} 1\n', requests_only, both)
        assert with_failures.sources["requests"] == ("tries", "both")
        assert with_failures.sources["failures"] == ("fails", "both")

    def test_a_dialect_that_is_not_recognised_says_nothing(self) -> None:
        signals = translate('health_score{provider="openai"} 90\n')
        assert (signals.dialects, signals.gauges, signals.providers) == ((), {}, frozenset())

    def test_what_comes_and_goes_in_the_exposition_is_read_anew_each_time(self) -> None:
        translator, reader = Translator(select("auto")), ExpositionReader()
        scores = [
            translator.translate(reader.read(text.encode())).gauges.get("reported_score", {}).get(OPENAI)
            for text in (DOCUMENTED, DOCUMENTED + METRICS, DATA + DOCUMENTED, "", DOCUMENTED)
        ]
        assert scores == [70, pytest.approx(80), 90, None, 70]


class TestWhoseItIs:
    def test_a_family_no_dialect_knows_is_ignored_whatever_it_is_called(self) -> None:
        signals = translate(
            DATA + 'evil{provider="openai"} 1\nopenai{provider="x"} 0\nhealth_score_x{provider="y"} 1\n'
        )
        assert signals.providers == {"openai"}
        assert signals.samples == 5

    @pytest.mark.parametrize("labels", ["", '{provider=""}', '{service="x"}', '{model="gpt-4o"}'])
    def test_a_series_without_a_provider_is_nobodys(self, labels: str) -> None:
        signals = translate(DATA + f"health_score{labels} 10\n")
        assert signals.gauges["reported_score"] == {OPENAI: 90}
        assert signals.providers == {"openai"}

    def test_without_a_model_a_series_speaks_of_the_provider(self) -> None:
        state = 'circuit_breaker_state{{provider="groq"{},state="open"}} 1\n'
        text = DATA + state.format("") + state.format(',model=""') + state.format(',model="llama"')
        assert translate(text).circuits == {GROQ: OPEN, Key("groq", "llama"): OPEN}

    def test_only_series_that_count_are_counted_and_each_by_itself(self) -> None:
        line = 'model_inference_requests_total{{provider="groq",model="a",status="{}"}} {}\n'
        counters = translate(line.format("success", 90) + line.format("error", 7) + line.format("timeout", 3)).counters
        sums: dict[str, float] = {}
        for counter, value in counters.items():
            assert counter.key == Key("groq", "a")
            sums[counter.signal] = sums.get(counter.signal, 0) + value
        assert sums == {"requests": 100, "failures": 10}
        assert len({counter for counter in counters if counter.signal == "requests"}) == 3

    def test_costs_of_one_provider_add_up_and_of_other_gauges_the_worst_one_counts(self) -> None:
        two = '{0}{{provider="openai",team="a"}} 1\n{0}{{provider="openai",team="b"}} 2\n'
        signals = translate(METRICS + two.format("gatewayz_cost_by_provider"))
        assert signals.gauges["cost"] == {OPENAI: 3}
        one_by_one = two.format("health_score").replace(" 2", " 20")
        signals = translate(DATA + one_by_one)
        assert signals.gauges["reported_score"] == {OPENAI: 1}
        assert signals.notices == ("health_score has 3 values for openai: the lowest counts",)

    def test_several_series_of_one_provider_that_agree_need_no_notice(self) -> None:
        two = DATA + 'health_score{provider="openai",region="b"} 90\n'
        assert (translate(two).gauges["reported_score"], translate(two).notices) == ({OPENAI: 90}, ())

    def test_names_are_data_and_decide_nothing_but_their_own_row(self) -> None:
        name = 'openai\\"} 0\\nhealth_score{provider=\\"openai'
        signals = translate(DATA + f'health_score{{provider="{name}"}} 1\n')
        assert signals.gauges["reported_score"][OPENAI] == 90
        assert signals.providers == {"openai", 'openai"} 0\nhealth_score{provider="openai'}

    def test_a_name_longer_than_a_name_is_left_out(self) -> None:
        long, longer = "x" * MAX_NAME_LENGTH, "x" * (MAX_NAME_LENGTH + 1)
        text = DATA + f'health_score{{provider="{long}"}} 5\nhealth_score{{provider="{longer}"}} 5\n'
        assert translate(text).providers == {"openai", long}
        [notice] = translate(text).notices
        assert notice == "1 series are left out: a provider's or model's name is longer than 256 characters"

    def test_more_providers_than_can_be_followed_are_left_out_with_a_notice(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan, "MAX_PROVIDERS", 3)
        text = DATA + "".join(f'health_score{{provider="p{n}"}} 5\n' for n in range(5))
        signals = translate(text)
        assert signals.providers == {"openai", "p0", "p1"}
        assert signals.gauges["reported_score"].keys() == {OPENAI, Key("p0"), Key("p1")}
        [notice] = signals.notices
        assert notice.startswith("more than 3 providers or 20000 models: the rest is left out")

    def test_more_models_than_can_be_followed_are_left_out_with_a_notice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan, "MAX_KEYS", 3)
        text = DATA + "".join(
            f'circuit_breaker_state{{provider="groq",model="m{n}",state="open"}} 1\n' for n in range(5)
        )
        signals = translate(text)
        assert len(signals.circuits) == 2
        assert signals.gauges["reported_score"] == {OPENAI: 90}
        assert len(signals.notices) == 1

    def test_the_limits_are_wide_enough_for_any_real_gateway(self) -> None:
        text = DATA + "".join(f'health_score{{provider="p{n}"}} 5\n' for n in range(999))
        assert len(translate(text).providers) == 1000
        assert translate(text).notices == ()
        assert len(translate(text + 'health_score{provider="one more"} 5\n').providers) == 1000


DOCUMENTED_PAGE = """\
# HELP provider_health_score Provider health score (0-100)
# TYPE provider_health_score gauge
provider_health_score{provider="openai"} 95.5
provider_health_score{provider="groq"} 40
# HELP provider_circuit_breaker_state 0=CLOSED, 1=OPEN, 2=HALF_OPEN
# TYPE provider_circuit_breaker_state gauge
provider_circuit_breaker_state{provider="openai"} 0
provider_circuit_breaker_state{provider="groq"} 1
provider_circuit_breaker_state{provider="xai"} 2
provider_error_rate{provider="openai"} 0.02
provider_availability{provider="openai"} 99.9
"""


class TestPages:
    """Whole expositions as gateways are documented to give them."""

    def test_gatewayz_as_documented(self) -> None:
        signals = translate(DOCUMENTED_PAGE)
        assert signals.dialects == ("gatewayz-documented",)
        assert signals.gauges == {
            "reported_score": {OPENAI: 95.5, GROQ: 40},
            "error_rate": {OPENAI: 0.02},
            "availability": {OPENAI: 99.9},
        }
        assert signals.circuits == {OPENAI: CLOSED, GROQ: OPEN, Key("xai"): HALF_OPEN}
        assert signals.providers == {"openai", "groq", "xai"}
        assert signals.sources["error_rate"] == ("provider_error_rate", "gatewayz-documented")
        assert signals.samples == 7

    def test_gatewayz_data_has_three_gauges_of_one_source(self) -> None:
        text = DATA + "".join(
            f'{family}{{provider="openai"}} 0\n'
            for family in ("error_rate", "provider_availability", "avg_latency_ms", "total_requests")
        )
        signals = translate(text)
        assert signals.ties == {"gatewayz-data: provider stats": ("error_rate", "availability", "latency")}
        assert [(counter.signal, value) for counter, value in signals.counters.items()] == [("requests", 0)]

    def test_gatewayz_metrics_prefixed_names_belong_to_it_too(self) -> None:
        states = 'gatewayz_circuit_breaker_state{provider="groq",model="llama",state="open"} 1\n'
        signals = translate(METRICS + states)
        assert signals.dialects == ("gatewayz-metrics",)
        assert signals.circuits == {Key("groq", "llama"): OPEN}

    @pytest.mark.parametrize(
        ("line", "succeeded"),
        [
            ("gatewayz_data_scrape_success 1\n", True),
            ("gatewayz_data_scrape_success 0\n", False),
            ("gatewayz_data_scrape_success NaN\n", False),
            ("", None),
        ],
    )
    def test_a_scrape_can_be_an_answer_and_still_say_that_it_failed(self, line: str, succeeded: bool | None) -> None:
        assert translate(DOCUMENTED + line).scrape_succeeded is succeeded

    def test_families_name_their_providers_so_that_a_lost_one_can_be_noticed(self) -> None:
        signals = translate(DOCUMENTED_PAGE)
        assert signals.families == {
            "provider_health_score": {"openai", "groq"},
            "provider_circuit_breaker_state": {"openai", "groq", "xai"},
            "provider_error_rate": {"openai"},
            "provider_availability": {"openai"},
        }


def test_rejected_lines_are_handed_on() -> None:
    signals = translate(DATA + "broken\nbroken too\n")
    assert (signals.rejected_lines, signals.samples) == (2, 2)


def test_what_is_remembered_is_what_the_last_exposition_held() -> None:
    translator, reader = Translator(select("auto")), ExpositionReader()
    for number in range(30):
        lines = (f'health_score{{provider="p{number}-{n}"}} 1\n' for n in range(20))
        translator.translate(reader.read((DATA + "".join(lines)).encode()))
        assert len(translator._plan.others) == 21


numbers = st.one_of(st.floats().map(repr), st.sampled_from(["0", "1", "2", "NaN", "-1"]))
names = st.sampled_from(
    sorted(
        {
            name
            for dialect in builtin().values()
            for source in dialect.signals
            for name in (*source.sample_names(), *(sign.family for sign in dialect.recognised_by))
        }
    )
)
labels = st.dictionaries(
    st.sampled_from(["provider", "model", "state", "status", "le", "from_state", "to_state", "service"]),
    st.sampled_from(["", "openai", "open", "closed", "success", "error", "+Inf", "0.5", "nan", "OPEN", "x" * 300]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(names, labels, numbers), max_size=25))
def test_no_exposition_makes_it_raise_and_what_comes_out_is_in_range(
    lines: list[tuple[str, Mapping[str, str], str]],
) -> None:
    text = "".join(
        f"{name}{{{','.join(f'{label}={chr(34)}{value}{chr(34)}' for label, value in of_it.items())}}} {number}\n"
        for name, of_it, number in lines
    )
    signals = translate(text)
    for signal, (low, high) in {"reported_score": (0, 100), "availability": (0, 100), "error_rate": (0, 1)}.items():
        assert all(low <= value <= high for value in signals.gauges.get(signal, {}).values())
    assert all(value >= 0 for value in signals.counters.known().values())
    assert all(name for name in signals.providers)
    assert signals.gauges.keys() <= signals.sources.keys()


PAGES = [
    DATA,
    METRICS,
    DOCUMENTED,
    DOCUMENTED.replace("70", "NaN"),
    DOCUMENTED.replace("openai", "groq"),
    DATA.replace("openai", "groq"),
    'circuit_breaker_current_state{provider="groq",state="open"} 1\n',
    'circuit_breaker_current_state{provider="groq",state="open"} 0\n',
    'circuit_breaker_state{service="xai"} 1\n',
    'model_inference_requests_total{provider="groq",model="a",status="success"} 5\n',
    'model_inference_requests_total{status="success", model="a", provider="groq"} 6\n',
    'model_inference_requests_total{provider="groq",model="a",status="error"} x\n',
]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(PAGES), max_size=5), max_size=5), st.lists(st.sampled_from(PAGES), max_size=5))
def test_an_exposition_means_the_same_whatever_was_read_before(before: list[list[str]], last: list[str]) -> None:
    translator, reader = Translator(select("auto")), ExpositionReader()
    for pages in before:
        translator.translate(reader.read("".join(pages).encode()))
    found, fresh = translator.translate(reader.read("".join(last).encode())), translate("".join(last))
    assert (found.gauges, found.circuits, found.families) == (fresh.gauges, fresh.circuits, fresh.families)
    assert (found.sources, found.dialects, found.notices) == (fresh.sources, fresh.dialects, fresh.notices)
    assert [(id_.signal, id_.key, value) for id_, value in found.counters.known().items()] == [
        (id_.signal, id_.key, value) for id_, value in fresh.counters.known().items()
    ]
