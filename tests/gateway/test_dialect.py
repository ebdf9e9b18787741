"""Dialect files: the built-in ones load, and each mistake in one of your own is named with its place and its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.gateway import dialect_file
from bridge.gateway.dialect import SIGNALS, UNITS
from bridge.gateway.dialect_file import DialectError, builtin, load, select

HEAD = """
name = "mine"
specificity = 50
recognised_by = ["my_calls_total"]
"""
SIGNAL = """
[[signals]]
signal = "requests"
family = "my_calls_total"
provider = "service"
"""
WORKING = HEAD + SIGNAL


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def changed(old: str, new: str) -> str:
    assert old in WORKING
    return WORKING.replace(old, new)


MISTAKES = [
    pytest.param("name = ", "not TOML: ", id="no TOML"),
    pytest.param(b'name = "\xff"', "not TOML: ", id="no UTF-8"),
    pytest.param("", "has no [[signals]]; at least one is needed", id="empty"),
    pytest.param(HEAD, "has no [[signals]]; at least one is needed", id="no signals"),
    pytest.param(HEAD + "signals = []", "has no [[signals]]; at least one is needed", id="an empty list of signals"),
    pytest.param(HEAD + "signals = 5", "has no [[signals]]; at least one is needed", id="signals that are a number"),
    pytest.param(HEAD + "signals = [5]", "signal 1: want a table, as [[signals]]", id="a signal that is a number"),
    pytest.param(
        "nmae = 1\n" + WORKING,
        "the dialect: unknown key 'nmae' (did you mean 'name'?); "
        "keys are name, recognised_by, scrape_success, signals, specificity, title",
        id="a misspelt key of the dialect",
    ),
    pytest.param(changed('name = "mine"', ""), 'the dialect: name: want a text, as name = "…"', id="no name"),
    pytest.param(changed('"mine"', '""'), 'the dialect: name: want a text, as name = "…"', id="an empty name"),
    pytest.param(changed('"mine"', "5"), 'the dialect: name: want a text, as name = "…"', id="a name of numbers"),
    pytest.param(
        changed("specificity = 50", 'specificity = "high"'),
        "specificity: want a whole number, as 50",
        id="a specificity in words",
    ),
    pytest.param(
        changed("specificity = 50", "specificity = true"),
        "specificity: want a whole number, as 50",
        id="a specificity that is true",
    ),
    *(
        pytest.param(
            changed('recognised_by = ["my_calls_total"]', wrong),
            'recognised_by: want a list of family names, as ["my_gateway_requests_total"]',
            id=f"recognised by: {wrong or 'nothing'}",
        )
        for wrong in (
            "",
            "recognised_by = []",
            'recognised_by = "my_calls_total"',
            "recognised_by = [5]",
            'recognised_by = [""]',
        )
    ),
    pytest.param(
        "scrape_success = 1\n" + WORKING,
        'the dialect: scrape_success: want a text, as scrape_success = "…"',
        id="a scrape success that is no family",
    ),
    pytest.param(
        changed("signal =", "singal ="),
        "signal 1 (?): unknown key 'singal' (did you mean 'signal'?); keys are adds, combine, except, failure_classes,"
        " family, from_state, identity, kind, model, only, open_above, own_name_only, provider, resets, signal, state,"
        " states, tied, to_state, unit",
        id="a misspelt key of a signal",
    ),
    pytest.param(
        changed('signal = "requests"', ""), 'signal 1 (?): signal: want a text, as signal = "…"', id="no signal"
    ),
    pytest.param(
        changed('"requests"', '"request"'),
        "signal 1 (request): no signal 'request' (did you mean 'requests'?); signals are availability, circuit_state,"
        " cost, error_rate, failures, impairment, latency, latency_histogram, outages, rejected, reported_score,"
        " requests, successes, transitions",
        id="an unknown signal",
    ),
    pytest.param(
        changed('family = "my_calls_total"', ""),
        'signal 1 (requests): family: want a text, as family = "…"',
        id="no family",
    ),
    pytest.param(
        changed('provider = "service"', ""),
        'signal 1 (requests): provider: want a text, as provider = "…"',
        id="no label for the provider",
    ),
    pytest.param(
        WORKING + "model = 5", 'signal 1 (requests): model: want a text, as model = "…"', id="a label that is a number"
    ),
    pytest.param(
        WORKING + 'unit = "seconds"', "signal 1 (requests): has no unit; leave it out", id="a unit where there is none"
    ),
    pytest.param(
        changed('"requests"', '"latency"'),
        "signal 1 (latency): unit None: want one of milliseconds, seconds",
        id="no unit where one is needed",
    ),
    pytest.param(
        changed('"requests"', '"latency"') + 'unit = "ms"',
        "signal 1 (latency): unit 'ms': want one of milliseconds, seconds",
        id="an unknown unit",
    ),
    pytest.param(
        changed('"requests"', '"transitions"') + 'from_state = "from"',
        'signal 1 (transitions): want the labels of both states, as from_state = "from", to_state = "to"',
        id="transitions to nowhere",
    ),
    *(
        pytest.param(
            WORKING + f"{key} = {wrong}",
            f'signal 1 (requests): {key}: want labels with lists of values, as {key} = {{ status = ["error"] }}',
            id=f"{key}: {wrong}",
        )
        for key in ("only", "except")
        for wrong in ('"error"', '["error"]', '{ status = "error" }', "{ status = [500] }")
    ),
    pytest.param(
        WORKING + 'failure_classes = { status = { "429" = "caller" } }',
        "signal 1 (requests): failure_classes: for failures alone",
        id="failure classes of requests",
    ),
    *(
        pytest.param(
            changed('"requests"', '"failures"') + f"failure_classes = {wrong}",
            "signal 1 (failures): failure_classes: want labels whose values are one of caller, failure, rate_limited,"
            ' as failure_classes = { status = { "429" = "rate_limited" } }',
            id=f"failure_classes: {wrong}",
        )
        for wrong in ("{}", '"status"', '{ status = "429" }', "{ status = {} }", '{ status = { "429" = "throttled" } }')
    ),
    pytest.param(
        WORKING + SIGNAL.replace('"requests"', '"nonsense"'),
        "signal 2 (nonsense): no signal 'nonsense'; signals are ",
        id="the second signal is the wrong one",
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_named_with_its_file_its_place_and_what_would_be_right(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DialectError) as caught:
        load(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: {message}")
    if not message.endswith(" "):
        assert told == f"{path}: {message}"


@pytest.mark.parametrize("wrong", ['unit = ["seconds"]', "unit = { a = 1 }"])
def test_a_unit_of_another_kind_is_a_mistake_like_any_other(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(DialectError, match=r"signal 1 \(latency\): unit .* want one of milliseconds, seconds"):
        load(written(tmp_path, changed('"requests"', '"latency"') + wrong))


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(DialectError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"
    with pytest.raises(DialectError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_of_ones_own_works_like_a_built_in_one(tmp_path: Path) -> None:
    text = HEAD + SIGNAL + 'model = "model"\nonly = { status = ["ok", "failed"] }\nexcept = { kind = ["test"] }'
    [mine] = select(str(written(tmp_path, text)))
    assert (mine.name, mine.title, mine.specificity) == ("mine", "mine", 50)
    [source] = mine.signals
    assert (source.signal, source.family, source.provider.label, source.model) == (
        "requests",
        "my_calls_total",
        "service",
        "model",
    )
    assert source.only == {"status": {"ok", "failed"}}
    assert source.exclude == {"kind": {"test"}}


def test_the_built_in_dialects_load_and_the_most_specific_comes_first() -> None:
    dialects = builtin()
    assert {"gatewayz-data", "gatewayz-metrics", "gatewayz-documented"} <= dialects.keys()
    specificities = [found.specificity for found in dialects.values()]
    assert specificities == sorted(specificities, reverse=True)
    assert len(set(specificities)) == len(specificities), "or the winner would be chance"
    for name, found in dialects.items():
        assert found.name == name
        assert found.title
        assert found.signals


def test_every_built_in_dialect_is_named_as_its_file() -> None:
    files = (Path(dialect_file.__file__).parent / "dialects").glob("*.toml")
    assert {file.stem for file in files} == builtin().keys()


@pytest.mark.parametrize("name", list(builtin()))
def test_a_built_in_dialect_is_chosen_by_its_name(name: str) -> None:
    assert select(name) == (builtin()[name],)


def test_auto_tries_them_all() -> None:
    assert select("auto") == tuple(builtin().values())


@pytest.mark.parametrize("choice", ["gatewayz", "Auto", "absent.toml", "/absent/absent", "a\0b"])
def test_a_choice_that_is_none_says_what_there_is(choice: str) -> None:
    with pytest.raises(DialectError) as caught:
        select(choice)
    assert str(caught.value) == (
        f"no dialect {choice!r}: built in are {', '.join(builtin())}; or give the path of a TOML file"
    )


def test_a_choice_too_long_for_a_path_is_no_dialect_either() -> None:
    with pytest.raises(DialectError, match="no dialect"):
        select("x" * 5000)


def test_every_unit_is_of_a_signal_and_brings_it_to_ours() -> None:
    assert UNITS.keys() <= SIGNALS
    factors = {(signal, unit): factor for signal, units in UNITS.items() for unit, factor in units.items()}
    assert factors["reported_score", "ratio"] == 100
    assert factors["availability", "ratio"] == 100
    assert factors["error_rate", "percent"] == 0.01
    assert factors["latency", "milliseconds"] == factors["latency_histogram", "milliseconds"] == 0.001
