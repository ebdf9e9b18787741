"""Reading as from an enemy: a line that does not parse costs that line alone, and nothing makes the reader raise."""

from __future__ import annotations

import math
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bridge.gateway import exposition as module
from bridge.gateway.exposition import (
    BEARABLE_REJECTS,
    SHOWN_REJECTS,
    Exposition,
    ExpositionReader,
    OutOfTime,
    TooManyRejects,
)
from bridge.gateway.series import MAX_LABELS, MAX_LINE_BYTES

Read = list[tuple[str, dict[str, str], float]]


def read(body: bytes | str) -> Exposition:
    return ExpositionReader().read(body.encode() if isinstance(body, str) else body)


def samples(body: bytes | str) -> Read:
    return [(series.name, dict(series.labels), value) for series, value in read(body).samples.items()]


def same(value: float, other: float) -> bool:
    return value == other or (math.isnan(value) and math.isnan(other))


GOOD = b'health_score{provider="openai"} 97.5\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("up 1", ("up", {}, 1.0)),
        ("up\t1", ("up", {}, 1.0)),
        ("  up   1  ", ("up", {}, 1.0)),
        ("up 1\r", ("up", {}, 1.0)),
        ('m{a="b"} 1', ("m", {"a": "b"}, 1.0)),
        ('m{a="b",} 1', ("m", {"a": "b"}, 1.0)),
        ('m { a = "b" , c = "d" } 1', ("m", {"a": "b", "c": "d"}, 1.0)),
        ("m{} 1", ("m", {}, 1.0)),
        ('m{a=""} 1', ("m", {"a": ""}, 1.0)),
        pytest.param('m{a="b"} 1 1700000000000', ("m", {"a": "b"}, 1.0), id="a timestamp is read over"),
        pytest.param("m 1 -5", ("m", {}, 1.0), id="even one from before time"),
        pytest.param('m{a="}"} 1', ("m", {"a": "}"}, 1.0), id="a brace in a value"),
        pytest.param('m{a="} 5"} 1', ("m", {"a": "} 5"}, 1.0), id="a value that looks like an end"),
        pytest.param('m{a="{b=\\"c\\"}"} 1', ("m", {"a": '{b="c"}'}, 1.0), id="labels in a label"),
        pytest.param('m{a="x=y,z"} 1', ("m", {"a": "x=y,z"}, 1.0), id="separators in a value"),
        pytest.param('m{a="# HELP"} 1', ("m", {"a": "# HELP"}, 1.0), id="a comment in a value"),
        pytest.param('m{a="\\"\\\\\\n"} 1', ("m", {"a": '"\\\n'}, 1.0), id="escapes"),
        pytest.param('m{a="b\\\\"} 1', ("m", {"a": "b\\"}, 1.0), id="a backslash before the quote that ends it"),
        pytest.param('m{a="名前"} 1', ("m", {"a": "名前"}, 1.0), id="any script"),
        pytest.param('m{a="x\u2028y\x85z"} 1', ("m", {"a": "x\u2028y\x85z"}, 1.0), id="Unicode's other line ends"),
        pytest.param('m{a="x\ry"} 1', ("m", {"a": "x\ry"}, 1.0), id="a carriage return in a value"),
        pytest.param('m{a="x\x00y"} 1', ("m", {"a": "x\x00y"}, 1.0), id="NUL in a value"),
        pytest.param('{"m",a="b"} 1', ("m", {"a": "b"}, 1.0), id="a quoted name"),
    ],
)
def test_a_line_of_the_format_is_read(line: str, expected: tuple[str, dict[str, str], float]) -> None:
    assert samples(line + "\n") == [expected]
    assert read(line + "\n").rejected_lines == 0


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("+5", 5.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("007", 7.0),
        ("NaN", math.nan),
        ("nan", math.nan),
        ("Inf", math.inf),
        ("+Inf", math.inf),
        ("-inf", -math.inf),
        pytest.param("1e999", math.inf, id="too large is present, and not known"),
        pytest.param("9" * 5000, math.inf, id="more digits than an int may have"),
        pytest.param("1e-999", 0.0, id="too small is nothing"),
    ],
)
def test_a_number_of_the_format_is_read(number: str, value: float) -> None:
    for line in (f"m {number}\n", f'm{{a="b"}} {number}\n'):
        [(_, _, found)] = samples(line)
        assert same(found, value)


BAD_NUMBERS = [
    "1_0",
    "١٢",
    "５",
    "0x10",
    "0x1p-2",
    "1e",
    "e5",
    "+",
    "-",
    ".",
    "--1",
    "1.2.3",
    "1,5",
    "1-2",
    "infinity",
    "Infinity",
    "nano",
    "None",
    "true",
    '"1"',
    "1s",
    "1#",
    "1\x00",
    "1\xa02",
]


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_what_is_no_number_of_the_format_costs_its_line_alone(number: str) -> None:
    body = GOOD + f"m {number}\n".encode() + f'm{{a="b"}} {number}\n'.encode() + b"up 1\n"
    assert samples(body) == [("health_score", {"provider": "openai"}, 97.5), ("up", {}, 1.0)]
    assert read(body).rejected_lines == 2


BAD_LINES = [
    pytest.param(b"m", id="no value"),
    pytest.param(b'm{a="b"}', id="no value after labels"),
    pytest.param(b"m 1 2 3", id="too many words"),
    pytest.param(b'm{a="b"} 1 2 3', id="too many words after labels"),
    pytest.param(b"m 1 soon", id="a timestamp that is none"),
    pytest.param(b'm{a="b"} 1 soon', id="a timestamp that is none after labels"),
    pytest.param(b"m 1 # a comment", id="a comment after the value"),
    pytest.param(b"1m 1", id="a name that starts with a digit"),
    pytest.param(b"m.n 1", id="a name with a dot"),
    pytest.param(b"m\x00n 1", id="NUL in a name"),
    pytest.param("näme 1".encode(), id="an unquoted name outside ASCII"),
    pytest.param(b'm{1a="b"} 1', id="a label that starts with a digit"),
    pytest.param(b"m{a=b} 1", id="a value without quotes"),
    pytest.param(b'm{a="b} 1', id="a quote that is not closed"),
    pytest.param(b'm{a="b" c="d"} 1', id="no comma"),
    pytest.param(b'm{a="b",,c="d"} 1', id="two commas"),
    pytest.param(b'm{a="b",a="c"} 1', id="one label twice"),
    pytest.param(b'm{a="b"}} 1', id="a brace too many"),
    pytest.param(b'm{a="b"', id="cut off within the labels"),
    pytest.param(b'm a="b"} 1', id="no opening brace"),
    pytest.param(b'm{a="we"ird"} 1', id="a quote that was not escaped"),
    pytest.param(b'm{__name__="n"} 1', id="two names"),
    pytest.param(b'{a="b"} 1', id="no name"),
    pytest.param(b'm{a="\xff\xfe"} 1', id="no UTF-8 in a value"),
    pytest.param(b"\xff 1", id="no UTF-8 in a name"),
    pytest.param(b"\xef\xbb\xbfm 1", id="a byte order mark"),
    pytest.param(b"<html><body>", id="a page of another kind"),
    pytest.param(b'{"error": "no"}', id="JSON"),
    pytest.param(b'm{a="b"} 0 # {trace="x"} 7', id="an exemplar, whose number is not the sample's"),
    pytest.param(b'm{a="b"} 0 } 7', id="a brace after the value"),
    pytest.param(b"m 0 } 7", id="a brace after the value of a bare name"),
    pytest.param(b'm{a="' + b"x" * MAX_LINE_BYTES + b'"} 1', id="a very long line"),
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_line_that_does_not_parse_costs_itself_alone(line: bytes) -> None:
    body = GOOD + line + b"\nup 1\n"
    assert samples(body) == [("health_score", {"provider": "openai"}, 97.5), ("up", {}, 1.0)]
    exposition = read(body)
    assert exposition.rejected_lines == 1
    [rejected] = exposition.first_rejected
    assert rejected.number == 2
    assert re.fullmatch("[a-zA-Z0-9_:]{0,80}", rejected.name)
    assert line.startswith(rejected.name.encode())


def test_a_name_with_a_line_break_that_was_not_escaped_costs_its_two_halves() -> None:
    body = b'score{provider="we\\\\"ird\\\\pro\nvider",model="a"} 5\n' + GOOD
    assert samples(body) == [("health_score", {"provider": "openai"}, 97.5)]
    assert read(body).rejected_lines == 2


def test_a_second_half_that_looks_like_a_sample_is_a_sample_of_its_own_name_alone() -> None:
    body = b'score{provider="evil\nfake 5\nx"} 5\n' + GOOD
    assert [name for name, _, _ in samples(body)] == ["fake", "health_score"]
    assert read(body).rejected_lines == 2


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b"  \n\t\n", b"# HELP m x\n# TYPE m gauge\n#\n# EOF\n  # indented\n", b"\r\n"]
)
def test_blanks_and_comments_are_neither_samples_nor_rejected(body: bytes) -> None:
    assert (samples(body), read(body).rejected_lines) == ([], 0)


def test_windows_line_ends_are_line_ends() -> None:
    assert samples(b'# TYPE m gauge\r\nm{a="b"} 1\r\n\r\nn 2 5\r\n') == [("m", {"a": "b"}, 1.0), ("n", {}, 2.0)]


def test_the_last_line_counts_with_or_without_its_end() -> None:
    assert samples(b"m 1\nn 2") == [("m", {}, 1.0), ("n", {}, 2.0)]


def test_families_may_be_interleaved_and_types_may_be_missing_or_wrong() -> None:
    body = b'# TYPE n histogram\nm{a="1"} 1\nn 2\n# TYPE m nonsense\nm{a="2"} 3\n# TYPE\n'
    assert [(name, value) for name, _, value in samples(body)] == [("m", 1.0), ("n", 2.0), ("m", 3.0)]


def test_of_a_series_that_stands_there_twice_the_last_value_counts() -> None:
    assert samples(b'm{a="b"} 1\nn 5\nm{a="b"} 2\n') == [("m", {"a": "b"}, 2.0), ("n", {}, 5.0)]


def test_a_series_is_the_same_in_whatever_order_its_labels_stand() -> None:
    """Else a counter written twice is counted twice, and one whose labels change places starts again."""
    body = b'm{a="b",c="d"} 1\nm{c="d", a="b"} 2\n'
    assert samples(body) == [("m", {"a": "b", "c": "d"}, 2.0)]
    reader = ExpositionReader()
    [first], [second] = (list(reader.read(line + b"\n").samples) for line in body.splitlines())
    assert first.text == second.text


def test_the_first_rejected_lines_are_shown_and_all_are_counted() -> None:
    exposition = read(b"up 1\n" + b"bad\n" * 50)
    assert exposition.rejected_lines == 50
    assert [rejected.number for rejected in exposition.first_rejected] == [2, 3, 4, 5, 6]
    assert len(exposition.first_rejected) == SHOWN_REJECTS


def test_a_series_is_the_same_object_poll_after_poll() -> None:
    reader = ExpositionReader()
    [first] = reader.read(GOOD).samples
    [second] = reader.read(GOOD.replace(b"97.5", b"12")).samples
    assert first is second


WORDS = rb"""m { } a="b" a = " , \ \n # 1 0 NaN - e9 _ le""".split()
BLANKS = [b" ", b"\t", b"\n", b"\r", b"\x00", b"\xff", b"\xc2\x85", b"\xe2\x80\xa8", b"# HELP ", b"# TYPE m ", b" 1"]


def told(exposition: Exposition) -> tuple[dict[object, str], int, object]:
    values = {series.key: repr(value) for series, value in exposition.samples.items()}
    return values, exposition.rejected_lines, exposition.first_rejected


AGAIN = [
    b"m 1\nn 2\n",
    *(
        f"m {number}\nn 2\n".encode()
        for number in (*BAD_NUMBERS, "NaN", "-NaN", "+NaN", "-nan", "+Inf", "1e999", "-0", "5 1700000000000")
    ),
    b"m\n1\nn 2\n",
    b"m 1 n\n2\n",
    b"m 1 n 2\n",
    b"m 1\nn\n2\n",
    b"n 2\nm 1\n",
    b"m 1\n",
    b"m 1\nn 2\nm 3\n",
    b"m 1\nn 2\no 3\n",
    b"# m 5\nm 1\n  # n 6\nn 2\n",
    b"m 1 # n 2\nn 3\n",
    b"m 1\r\nn 2\r\n",
    b"m 1\rn 2\n",
    b"m 1\x0bn 2\n",
    b"m 1\nn 2",
    b"",
]


@pytest.mark.parametrize("body", AGAIN)
def test_an_exposition_reads_the_same_whatever_was_read_before(body: bytes) -> None:
    """A poll that changes nothing but values is read in another way, and no other way of reading lines follows."""
    reader = ExpositionReader()
    for before in (b"m 1\nn 2\n", body):
        reader.read(before)
        assert told(reader.read(body)) == told(read(body))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_however_a_known_exposition_changes_it_reads_as_if_it_were_the_first(data: st.DataObject) -> None:
    lines = [b"m 1", b'm{a="b"} 2', b'm{a="b",c="d"} 3', b"# TYPE m gauge", b"n 4"]
    body = b"\n".join(lines) + b"\n"
    reader = ExpositionReader()
    reader.read(body)
    for _ in range(3):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 3)))
        body = body[:start] + data.draw(st.sampled_from([b"", *BLANKS, *WORDS, b"9", b"inf", b"m 1"])) + body[end:]
        assert told(reader.read(body)) == told(read(body))


def test_what_is_remembered_is_what_the_last_exposition_held() -> None:
    reader = ExpositionReader()
    for number in range(50):
        reader.read(b"".join(b'm{a="%d"} 1\n' % (number * 100 + n) for n in range(100)) + b"bad\n")
        assert len(reader._known) == 100
    reader.read(b"")
    assert reader._known == {}


def test_a_bad_value_of_a_known_series_is_no_value_and_the_series_is_read_again_afterwards() -> None:
    reader = ExpositionReader()
    reader.read(GOOD)
    assert reader.read(GOOD.replace(b"97.5", b"1_0")).samples == {}
    assert list(reader.read(GOOD).samples.values()) == [97.5]


def labelled(number: int, labels: int) -> str:
    """A line with so many labels, as long as a line may be."""
    text = "x" * (MAX_LINE_BYTES // labels - 12)
    more = ",".join(f'l{n}="\\"{text}"' for n in range(labels - 1))
    return f'm{{n="{number}",{more}}} 1\n'


class TestHostile:
    """What is made to take time or memory. Seconds are those of the processor: neighbours do not count."""

    def test_the_longest_lines_that_are_read_do_not_hang_the_reader(self) -> None:
        started = time.process_time()
        assert len(read("".join(labelled(number, MAX_LABELS) for number in range(20))).samples) == 20
        assert time.process_time() - started < 2

    def test_a_line_of_more_labels_than_a_series_has_is_rejected(self) -> None:
        assert read(labelled(1, MAX_LABELS + 1)).rejected_lines == 1

    @pytest.mark.parametrize("line", [b"a\n", b"a{b} 1\n", b"{} {}\n"])
    def test_what_is_no_exposition_is_given_up_with_the_first_lines_that_say_so(self, line: bytes) -> None:
        started = time.process_time()
        with pytest.raises(TooManyRejects, match=r"cannot be read, beginning with line 1 \("):
            read(line * 100_000)
        assert time.process_time() - started < 5

    def test_a_page_of_which_half_can_be_read_is_read_wherever_its_bad_lines_stand(self) -> None:
        good, bad = b"".join(b"m%d 1\n" % n for n in range(3 * BEARABLE_REJECTS)), b"bad\n" * 3 * BEARABLE_REJECTS
        for body in (good + bad, bad + good):
            assert (len(read(body).samples), read(body).rejected_lines) == (3 * BEARABLE_REJECTS,) * 2

    def test_a_small_page_of_nothing_but_bad_lines_is_read_through(self) -> None:
        assert read(b"bad\n" * BEARABLE_REJECTS).rejected_lines == BEARABLE_REJECTS

    @pytest.mark.parametrize("blank", [b"\n", b"# HELP m x\n", b"a{b 1\n", b'm{a="b"} 1\n'])
    def test_it_ends_when_its_time_is_over(self, blank: bytes) -> None:
        started = time.monotonic()
        with pytest.raises(OutOfTime):
            ExpositionReader().read(blank * 300_000 + b"m 1\n", deadline=started + 0.02)
        assert time.monotonic() - started < 2

    def test_one_that_runs_out_of_time_gets_further_at_each_poll(self) -> None:
        reader, body = ExpositionReader(), b"".join(b'm{a="%d"} 1\n' % n for n in range(30_000))
        started = time.monotonic()
        read(body)
        too_little = (time.monotonic() - started) / 2
        with pytest.raises(OutOfTime):
            reader.read(body, deadline=time.monotonic())
        for _ in range(200):
            try:
                assert len(reader.read(body, deadline=time.monotonic() + too_little).samples) == 30_000
                break
            except OutOfTime:
                continue
        else:
            pytest.fail("it never gets to the end")

    def test_one_that_ran_out_of_time_is_read_as_if_it_were_the_first(self) -> None:
        reader = ExpositionReader()
        reader.read(b"m 1\nn 2\n")
        many = b"".join(b"m%d 1\n" % n for n in range(3000))
        with pytest.raises(OutOfTime):
            reader.read(many, deadline=0)
        for body in (b"n 2\nm 1\n", b"n 3\n", many):
            assert told(reader.read(body)) == told(read(body))

    def test_more_series_than_can_be_read_are_left_out_with_a_notice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_SERIES", 3)
        reader = ExpositionReader()
        for _ in range(2):
            exposition = reader.read(b"a 1\nb 1\nc 1\nd 1\ne 1\na 5\n")
            assert [series.name for series in exposition.series] == ["a", "b", "c"]
            assert exposition.notices == ("more than 3 series: 2 are left out",)
            assert exposition.values.tolist() == [5, 1, 1]


plain_labels = st.dictionaries(
    st.sampled_from(["a", "b", "le", "A9_", "provider"]), st.text(st.characters(codec="utf-8"), max_size=8)
)


@settings(max_examples=300, deadline=None)
@given(plain_labels, st.sampled_from([",", ", "]))
def test_names_and_labels_read_as_prometheus_client_reads_them(labels: dict[str, str], comma: str) -> None:
    line = f"m{{{comma.join(f'{label}={chr(34)}{value}{chr(34)}' for label, value in labels.items())}}} 1"
    if "\n" in line:
        return
    try:
        [[sample]] = [family.samples for family in text_string_to_metric_families(line + "\n")]
        expected = [(sample.name, sample.labels, 1.0)]
    except (ValueError, IndexError, KeyError):
        expected = []
    assert samples(line.encode()) == expected


exposition_like = st.lists(st.sampled_from(WORDS + BLANKS), max_size=60).map(b"".join)


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.binary(max_size=300), exposition_like))
@example(b'{"')
@example(b"{} 0")
@example(b'm{"')
def test_no_bytes_make_the_reader_raise_and_every_line_is_accounted_for(body: bytes) -> None:
    reader = ExpositionReader()
    exposition = reader.read(body)
    lines = [line for line in body.split(b"\n") if line.strip() and not line.strip().startswith(b"#")]
    assert len(exposition.samples) + exposition.rejected_lines <= len(lines)
    assert exposition.samples or exposition.rejected_lines == len(lines)
    assert len(exposition.first_rejected) == min(exposition.rejected_lines, SHOWN_REJECTS)
    again = reader.read(body)
    assert (again.samples.keys(), again.rejected_lines) == (exposition.samples.keys(), exposition.rejected_lines)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just(GOOD.rstrip()), st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")))))
def test_whatever_stands_beside_it_a_good_line_is_read(lines: list[bytes]) -> None:
    found = samples(b"\n".join([*lines, GOOD]))
    assert ("health_score", {"provider": "openai"}, 97.5) in found


label_values = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.tuples(label_values, label_values), st.floats(), max_size=6))
def test_what_prometheus_client_writes_is_read_back_whole(values: dict[tuple[str, str], float]) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("score", "of\nproviders \\ x", ["provider", "model"], registry=registry)
    counter = Counter("calls", "", ["provider", "model"], registry=registry)
    histogram = Histogram("seconds", "", ["provider", "model"], registry=registry)
    summary = Summary("bytes", "", ["provider", "model"], registry=registry)
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
        counter.labels(*labels).inc(min(abs(value), 1e300) if math.isfinite(value) else 1)
        histogram.labels(*labels).observe(value)
        summary.labels(*labels).observe(value)
    body = generate_latest(registry)
    found = {(name, *sorted(labels.items())): value for name, labels, value in samples(body)}
    written = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    assert read(body).rejected_lines == 0
    assert found.keys() == written.keys()
    assert all(same(found[series], written[series]) for series in written)


def test_it_agrees_with_prometheus_clients_own_parser_on_a_page_of_many_kinds() -> None:
    registry = CollectorRegistry()
    Histogram("seconds", "Time", ["le_not"], registry=registry).labels("x").observe(3)
    Counter("calls", "Calls", registry=registry).inc(2)
    body = generate_latest(registry)
    parsed = [
        (sample.name, sample.labels, float(sample.value))
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    ]
    assert sorted(samples(body), key=str) == sorted(parsed, key=str)
