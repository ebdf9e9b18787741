"""A dialect file of one's own: its mistakes, and all that it can say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bridge.configuration import configured
from bridge.gateway.dialect import Dialect
from bridge.gateway.dialect_file import DialectError, builtin, load, refuse_rivals, select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.model import CircuitState, Key, Moment, Snapshot
from bridge.policy import Policy
from bridge.settings import ConfigurationError

GOOD = """\
name = "yard"
specificity = 70
recognised_by = ["yard_calls_total", "yard_up{site}", "yard_llm_*"]

[[signals]]
signal = "requests"
family = "yard_calls_total"
provider = "vendor"
model = "engine"

[[signals]]
signal = "failures"
family = "yard_calls_total"
provider = "vendor"
model = "engine"
except = { outcome = ["ok"] }

[[signals]]
signal = "error_rate"
family = "yard_error_rate"
provider = "vendor"
unit = "percent"
"""
MISTAKES = {
    "a key of the dialect": ('name = "yard"', 'nmae = "yard"', ["the dialect", "'nmae'", "did you mean 'name'?"]),
    "a key of a signal": ('model = "engine"', 'modle = "engine"', ["signal 1 (requests)", "did you mean 'model'?"]),
    "a key of a provider": (
        'provider = "vendor"',
        'provider = { label = "vendor", befor = "/" }',
        ["signal 1 (requests): provider", "'befor'", "did you mean 'before'?"],
    ),
    "a signal": ('"requests"', '"request"', ["signal 1 (request)", "did you mean 'requests'?", "circuit_state"]),
    "no provider": ('provider = "vendor"\n', "", ["signal 1 (requests): provider", 'as provider = "…"']),
    "no family": ('family = "yard_calls_total"\n', "", ["signal 1 (requests): family", 'as family = "…"']),
    "no signal": ('signal = "requests"\n', "", ["signal 1 (?): signal", 'as signal = "…"']),
    "no label of the provider": ('"vendor"', '{ before = "/" }', ["signal 1 (requests): provider: label"]),
    "no labels of transitions": ('"requests"', '"transitions"', ["signal 1 (transitions)", 'from_state = "from"']),
    "a unit": ('"percent"', '"permille"', ["signal 3 (error_rate)", "'permille'", "want one of percent, ratio"]),
    "no unit": ('unit = "percent"', "", ["signal 3 (error_rate)", "want one of percent, ratio"]),
    "units": ('"percent"', '["percent"]', ["signal 3 (error_rate)", "want one of percent, ratio"]),
    "a unit too many": ('model = "engine"', 'unit = "usd"', ["signal 1 (requests)", "has no unit; leave it out"]),
    "a sign": ('"yard_llm_*"', '"yard_*_llm"', ["recognised_by", "'yard_*_llm'", '"x_*"', '"x_total{label}"']),
    "a sign of two labels": ('"yard_up{site}"', '"yard_up{a,b}"', ["recognised_by", "'yard_up{a,b}'"]),
    "a sign with a value": ('"yard_up{site}"', "'yard_up{a=\"b\"}'", ["recognised_by", "want a family"]),
    "no signs": ('recognised_by = ["yard', 'recognised_by = "yard" #', ["recognised_by", "want a list"]),
    "combine": ('unit = "percent"', 'unit = "percent"\ncombine = "average"', ["signal 3", "'average'", "mean, sum"]),
    "open_above": ('model = "engine"', "open_above = 0", ["signal 1 (requests)", "open_above", "circuit_state alone"]),
    "open_above what": (
        '"requests"',
        '"circuit_state"\nopen_above = "0"',
        ["signal 1 (circuit_state)", "open_above: want a number"],
    ),
    "resets": ('model = "engine"', 'resets = "daily"', ["signal 1 (requests)", "resets 'daily': want \"hourly\""]),
    "resets of no counter": ('unit = "percent"', 'unit = "percent"\nresets = "hourly"', ["signal 3", "counters alone"]),
    "own_name_only": ('model = "engine"', "own_name_only = true", ["signal 1 (requests)", 'identity = "model_id"']),
    "adds": ('model = "engine"', 'adds = "yes"', ["signal 1 (requests): adds: want true or false"]),
    "except": ('["ok"]', '"ok"', ["signal 2 (failures): except", 'except = { status = ["error"] }']),
    "specificity": ("= 70", '= "70"', ["specificity: want a whole number"]),
    "no signals": ("[[signals]]", "[[signal]]", ["'signal'", "did you mean 'signals'?"]),
    "one table of signals": (GOOD[GOOD.index("[[") :], '[signals]\nsignal = "cost"\n', ["no [[signals]]"]),
    "not TOML": ('family = "yard_error_rate"', "family = yard_error_rate", ["not TOML", "line 20"]),
}


def written(path: Path, content: str = GOOD) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


class TestOwnFile:
    def test_a_good_one_loads(self, tmp_path: Path) -> None:
        dialect = load(written(tmp_path / "yard.toml"))
        assert (dialect.name, dialect.specificity, len(dialect.signals)) == ("yard", 70, 3)
        assert [str(sign) for sign in dialect.recognised_by] == ["yard_calls_total", "yard_up{site}", "yard_llm_*"]

    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_a_mistake_is_an_error_that_names_the_file_the_entry_and_what_would_be_right(
        self, tmp_path: Path, mistake: str
    ) -> None:
        good, bad, named = MISTAKES[mistake]
        assert good in GOOD
        path = written(tmp_path / "yard.toml", GOOD.replace(good, bad, 1))
        with pytest.raises(DialectError) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert [word for word in named if word not in message] == []
        assert "\n" not in message
        with pytest.raises(ConfigurationError) as at_start:
            configured({"GATEWAYZ_API_URL": "http://gateway", "GATEWAY_DIALECT": str(path)})
        assert at_start.value.mistakes == [f"GATEWAY_DIALECT={str(path)!r}: {message}"]

    def test_a_good_one_is_accepted_at_start(self, tmp_path: Path) -> None:
        path = written(tmp_path / "yard.toml")
        environ = {"GATEWAYZ_API_URL": "http://gateway", "GATEWAY_DIALECT": str(path)}
        assert configured(environ).dialect == str(path)

    def test_a_file_that_is_not_there_is_refused_at_start_with_what_there_is(self) -> None:
        path = "/not/there/yard.toml"
        with pytest.raises(ConfigurationError) as caught:
            configured({"GATEWAYZ_API_URL": "http://gateway", "GATEWAY_DIALECT": path})
        [mistake] = caught.value.mistakes
        assert path in mistake
        assert all(name in mistake for name in builtin())
        with pytest.raises(DialectError, match="no dialect .*yard.toml': built in are .*give the path of a TOML file"):
            select(path)

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"name = 'a", b"\x00"])
    def test_what_is_no_toml_is_said_so(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "yard.toml"
        path.write_bytes(content)
        with pytest.raises(DialectError, match=f"{re.escape(str(path))}: not TOML: "):
            load(path)

    def test_two_that_claim_one_signal_alike_are_refused_with_their_names_and_the_signals(self, tmp_path: Path) -> None:
        one = written(tmp_path / "one.toml")
        two = written(tmp_path / "two.toml", GOOD.replace('"yard"', '"dock"'))
        lower = written(tmp_path / "lower.toml", GOOD.replace('"yard"', '"dock"').replace("70", "69"))
        message = "yard and dock both claim error_rate, failures, requests with specificity 70: give the one that"
        with pytest.raises(DialectError, match=message):
            select(f"{one},{two}")
        assert [dialect.name for dialect in select(f"{one}, {lower}")] == ["yard", "dock"]

    def test_two_that_claim_one_signal_alike_stop_the_start(self, tmp_path: Path) -> None:
        one = written(tmp_path / "one.toml")
        two = written(tmp_path / "two.toml", GOOD.replace('"yard"', '"dock"'))
        with pytest.raises(ConfigurationError, match="yard and dock both claim"):
            configured({"GATEWAYZ_API_URL": "http://gateway", "GATEWAY_DIALECT": f"{one},{two}"})

    def test_one_beside_a_built_in_one_is_accepted_at_start(self, tmp_path: Path) -> None:
        both = f"{written(tmp_path / 'yard.toml')},circuit-breaker"
        settings = configured({"GATEWAYZ_API_URL": "http://gateway", "GATEWAY_DIALECT": both})
        assert [dialect.name for dialect in select(settings.dialect)] == ["yard", "circuit-breaker"]

    def test_the_built_in_ones_are_no_rivals(self) -> None:
        refuse_rivals(list(builtin().values()))
        assert len(builtin()) == 7


def entry(signal: str, family: str, more: str = "") -> str:
    return f'[[signals]]\nsignal = "{signal}"\nfamily = "{family}"\nprovider = "vendor"\n{more}\n'


def dialect(tmp_path: Path, *entries: str) -> Dialect:
    head = 'name = "yard"\nrecognised_by = ["yard_*"]\n\n'
    return load(written(tmp_path / "yard.toml", head + "".join(entries)))


def read(dialect: Dialect, *bodies: str) -> Snapshot:
    reader, translator, memory = ExpositionReader(), Translator([dialect]), Memory()
    for number, body in enumerate(bodies):
        memory, snapshot, _ = assess(
            memory,
            translator.translate(reader.read(body.encode()), memory.learnt),
            Moment(15.0 * number, 15.0 * number),
            Policy(),
        )
    return snapshot


def values(snapshot: Snapshot, provider: str = "acme") -> Mapping[str, float | None]:
    return next(verdict.values for verdict in snapshot.verdicts if verdict.provider == provider)


class TestVocabulary:
    """What a dialect's words do, each alone."""

    @pytest.mark.parametrize(
        ("combine", "score", "cost"),
        [(None, 30, 180), ("sum", None, 180), ("mean", 60, 60), ("lowest", 30, 30), ("highest", 90, 90)],
    )
    def test_of_several_series_the_worst_counts_and_of_costs_the_sum_unless_another_way_is_named(
        self, tmp_path: Path, combine: str | None, score: float | None, cost: float
    ) -> None:
        how = f'combine = "{combine}"' if combine else ""
        own = dialect(
            tmp_path,
            entry("reported_score", "yard_score", f'unit = "percent"\n{how}'),
            entry("cost", "yard_usd", f'unit = "usd"\n{how}'),
        )
        series = [(family, *of) for family in ("yard_score", "yard_usd") for of in (("a", 90), ("b", 30), ("c", 60))]
        body = "".join(f'{family}{{vendor="acme",site="{site}"}} {value}\n' for family, site, value in series)
        found = values(read(own, body))
        assert found["provider_reported_health_score"] == score  # a sum of 180 is no score
        assert found["provider_cost_usd"] == cost

    @pytest.mark.parametrize(
        ("signal", "unit", "published", "metric", "value"),
        [
            ("reported_score", "percent", 87, "provider_reported_health_score", 87),
            ("reported_score", "ratio", 0.87, "provider_reported_health_score", 87),
            ("reported_score", "ratio or percent", 0.87, "provider_reported_health_score", 87),
            ("reported_score", "ratio or percent", 87, "provider_reported_health_score", 87),
            ("availability", "ratio", 0.5, "provider_availability", 50),
            ("availability", "percent", 50, "provider_availability", 50),
            ("error_rate", "ratio", 0.25, "provider_error_rate", 0.25),
            ("error_rate", "percent", 25, "provider_error_rate", 0.25),
            ("latency", "seconds", 1.5, "provider_latency_seconds", 1.5),
            ("latency", "milliseconds", 1500, "provider_latency_seconds", 1.5),
            ("cost", "usd", 3.5, "provider_cost_usd", 3.5),
        ],
    )
    def test_units_come_out_as_the_bridges_own(
        self, tmp_path: Path, signal: str, unit: str, published: float, metric: str, value: float
    ) -> None:
        own = dialect(tmp_path, entry(signal, "yard_x", f'unit = "{unit}"'))
        assert values(read(own, f'yard_x{{vendor="acme"}} {published}\n'))[metric] == pytest.approx(value)

    @pytest.mark.parametrize(("seconds", "state"), [("0", "CLOSED"), ("0.1", "OPEN"), ("60", "OPEN"), ("-1", "CLOSED")])
    def test_a_circuit_is_open_above_a_number(self, tmp_path: Path, seconds: str, state: str) -> None:
        own = dialect(tmp_path, entry("circuit_state", "yard_wait_seconds", "open_above = 0"))
        [circuit] = read(own, f'yard_wait_seconds{{vendor="acme"}} {seconds}\n').circuits
        assert circuit.state is not None
        assert circuit.state.name == state

    @pytest.mark.parametrize(
        ("more", "failed"),
        [('only = { outcome = ["failed", "late"] }', 6), ('except = { outcome = ["ok", "late"] }', 4)],
    )
    def test_only_and_except_say_which_series_count(self, tmp_path: Path, more: str, failed: int) -> None:
        own = dialect(tmp_path, entry("requests", "yard_calls_total"), entry("failures", "yard_calls_total", more))

        def body(ok: int, failed: int, late: int) -> str:
            outcomes = {"ok": ok, "failed": failed, "late": late}
            return "".join(f'yard_calls_total{{vendor="acme",outcome="{o}"}} {n}\n' for o, n in outcomes.items())

        rate = values(read(own, body(100, 100, 100), body(114, 104, 102)))["provider_error_rate"]
        assert rate == pytest.approx(failed / 20)

    @pytest.mark.parametrize("labels", ['vendor="",engine="swift"', 'engine="swift"', 'vendor="acme",engine=""'])
    def test_a_series_with_a_name_left_empty_is_nobodys(self, tmp_path: Path, labels: str) -> None:
        own = dialect(tmp_path, *(entry(s, f"yard_{s}_total", 'model = "engine"') for s in ("requests", "failures")))
        body = "".join(f"yard_{signal}_total{{{labels}}} 9\n" for signal in ("requests", "failures"))
        assert read(own, body).verdicts == read(own, body).circuits == ()

    def test_a_second_family_adds_to_the_first(self, tmp_path: Path) -> None:
        own = dialect(
            tmp_path,
            entry("requests", "yard_ok_total"),
            entry("requests", "yard_failed_total", "adds = true"),
            entry("failures", "yard_failed_total"),
        )

        def body(ok: int, failed: int) -> str:
            return f'yard_ok_total{{vendor="acme"}} {ok}\nyard_failed_total{{vendor="acme"}} {failed}\n'

        assert values(read(own, body(100, 100), body(115, 105)))["provider_error_rate"] == pytest.approx(5 / 20)

    def test_the_first_entry_whose_family_is_there_gives_the_signal(self, tmp_path: Path) -> None:
        own = dialect(
            tmp_path,
            entry("latency", "yard_new_seconds", 'unit = "seconds"'),
            entry("latency", "yard_old_ms", 'unit = "milliseconds"'),
        )
        old, new = 'yard_old_ms{vendor="acme"} 900\n', 'yard_new_seconds{vendor="acme"} 2\n'
        assert values(read(own, old))["provider_latency_seconds"] == 0.9
        assert values(read(own, old + new))["provider_latency_seconds"] == 2

    def test_a_gauge_by_model_is_used_or_refused_but_not_lost(self, tmp_path: Path) -> None:
        more = 'model = "engine"\nunit = "seconds"'
        try:
            own = dialect(tmp_path, entry("latency", "yard_seconds", more))
        except DialectError:
            return
        snapshot = read(own, 'yard_seconds{vendor="acme",engine="swift"} 2\n')
        assert values(snapshot)["provider_latency_seconds"] == 2

    def test_outages_open_a_circuit_until_the_next_success(self, tmp_path: Path) -> None:
        own = dialect(
            tmp_path,
            *(entry(signal, f"yard_{signal}_total") for signal in ("requests", "successes", "failures", "outages")),
            entry("impairment", "yard_state"),
        )

        def body(ok: int, failed: int, outages: int, impaired: int) -> str:
            counts: Sequence[tuple[str, int]] = (
                ("requests_total", ok + failed),
                ("successes_total", ok),
                ("failures_total", failed),
                ("outages_total", outages),
                ("state", impaired),
            )
            return "".join(f'yard_{name}{{vendor="acme"}} {count}\n' for name, count in counts)

        day = [body(9, 0, 0, 0), body(9, 3, 1, 1), body(9, 3, 1, 1), body(10, 3, 1, 0)]
        seen = [read(own, *day[: number + 1]).circuits for number in range(len(day))]
        assert [[(circuit.key, circuit.state) for circuit in circuits] for circuits in seen] == [
            [(Key("acme"), state)]
            for state in (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.OPEN, CircuitState.CLOSED)
        ]
