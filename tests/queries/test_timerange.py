"""Times in: every spelling that clients use, and a clear answer for every other."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.queries.timerange import MAX_TIME, TimeError, TimeRange, parse_count, parse_range, parse_time, url_time

HUGE = 10**5000  # more digits than Python will write out


def assert_safe_to_show(error: TimeError) -> None:
    assert error.message.isprintable()
    assert len(error.message) < 130


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-03-18T13:45:30.250")  # a Wednesday

GARBAGE: list[object] = [
    None,
    True,
    False,
    math.nan,
    math.inf,
    -math.inf,
    HUGE,
    1e300,
    "",
    "   ",
    "yesterday",
    "nan",
    "inf",
    "1e999",
    "1_000",
    "١٢٣",
    "0x10",
    "nowhere",
    "now-",
    "now-6",
    "now-6x",
    "now-6ms",
    "now/",
    "now/2d",
    "now 6h",
    "now-6h/x",
    "now-12345678901s",
    "now-1.5h",
    "now+9999999999y",
    "now+9999999999w",
    "now-9999999999w/M",
    "2026-02-30",
    "2026-13-01",
    "2026-01-01T25:00:00Z",
    "2026-01-01T00:00:00+99:00",
    "2026-01-01Z",
    "2026-01-01T",
    "2026-W01-1",
    "26-01-01",
    "2026-01-01T00:00:00Z; DROP",
    "1" * 10_000,
    "0" * 10_000 + "5",
    ["x" * 500] * 5,
    "now" + "-1s" * 10_000,
    "\ud800",
    "\0",
    [],
    [1, 2],
    {"from": "now"},
    b"now",
]


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00"),
            ("2026-01-31T12:00:00.250Z", "2026-01-31T12:00:00.250"),
            ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456"),
            ("2026-01-31T12:00:00", "2026-01-31T12:00:00"),
            ("2026-01-31 12:00", "2026-01-31T12:00:00"),
            ("2026-01-31", "2026-01-31T00:00:00"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00"),
            ("2026-01-31T12:00:00-0530", "2026-01-31T17:30:00"),
            ("2026-01-31t12:00:00z", "2026-01-31T12:00:00"),
            (" 2026-01-31T12:00:00Z\n", "2026-01-31T12:00:00"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999"),
        ],
    )
    def test_iso_8601_is_read_and_without_a_zone_it_is_utc(self, text: str, expected: str) -> None:
        assert parse_time(text, NOW) == at(expected)

    @pytest.mark.parametrize(
        "value", [1769860800250, 1769860800250.0, "1769860800250", " 1769860800250 ", "1.76986080025e12"]
    )
    def test_a_number_is_epoch_milliseconds_as_a_number_or_as_text(self, value: object) -> None:
        assert parse_time(value, NOW) == 1769860800.25

    def test_a_small_number_is_milliseconds_too_never_seconds(self) -> None:
        assert parse_time(1769860800, NOW) == 1769860.8
        assert parse_time("20260131", NOW) == 20260.131

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("now", "2026-03-18T13:45:30.250"),
            ("now-6h", "2026-03-18T07:45:30.250"),
            ("now+1h", "2026-03-18T14:45:30.250"),
            ("now-90s", "2026-03-18T13:44:00.250"),
            ("now-1h-30m", "2026-03-18T12:15:30.250"),
            ("now-d", "2026-03-17T13:45:30.250"),
            (" now - 2w ", "2026-03-04T13:45:30.250"),
            ("now-1M", "2026-02-18T13:45:30.250"),
            ("now-3M", "2025-12-18T13:45:30.250"),
            ("now+10M", "2027-01-18T13:45:30.250"),
            ("now-2y", "2024-03-18T13:45:30.250"),
        ],
    )
    def test_relative_times_count_from_the_now_that_was_given(self, text: str, expected: str) -> None:
        assert parse_time(text, NOW) == pytest.approx(at(expected), abs=1e-6)

    @pytest.mark.parametrize(
        ("now", "text", "expected"),
        [
            ("2026-01-31T10:00:00", "now+1M", "2026-02-28T10:00:00"),
            ("2024-01-31T10:00:00", "now+1M", "2024-02-29T10:00:00"),
            ("2026-03-31T10:00:00", "now-1M", "2026-02-28T10:00:00"),
            ("2024-02-29T10:00:00", "now+1y", "2025-02-28T10:00:00"),
            ("2026-12-31T10:00:00", "now+2M", "2027-02-28T10:00:00"),
        ],
    )
    def test_a_month_further_stays_within_a_shorter_month(self, now: str, text: str, expected: str) -> None:
        assert parse_time(text, at(now)) == at(expected)

    @pytest.mark.parametrize(
        ("unit", "first", "last"),
        [
            ("s", "2026-03-18T13:45:30", "2026-03-18T13:45:30.999"),
            ("m", "2026-03-18T13:45:00", "2026-03-18T13:45:59.999"),
            ("h", "2026-03-18T13:00:00", "2026-03-18T13:59:59.999"),
            ("d", "2026-03-18T00:00:00", "2026-03-18T23:59:59.999"),
            ("w", "2026-03-16T00:00:00", "2026-03-22T23:59:59.999"),
            ("M", "2026-03-01T00:00:00", "2026-03-31T23:59:59.999"),
            ("y", "2026-01-01T00:00:00", "2026-12-31T23:59:59.999"),
        ],
    )
    def test_a_slash_goes_to_the_beginning_of_the_unit_or_to_its_end(self, unit: str, first: str, last: str) -> None:
        assert parse_time(f"now/{unit}", NOW) == at(first)
        assert parse_time(f"now/{unit}", NOW, round_up=True) == pytest.approx(at(last), abs=1e-6)

    @pytest.mark.parametrize("day", ["2026-03-16", "2026-03-17", "2026-03-21", "2026-03-22"])
    def test_a_week_begins_on_monday(self, day: str) -> None:
        assert parse_time("now/w", at(day + "T12:00:00")) == at("2026-03-16")

    def test_steps_are_taken_from_left_to_right(self) -> None:
        assert parse_time("now-1d/d", NOW) == at("2026-03-17")
        assert parse_time("now/d-1h", NOW) == at("2026-03-17T23:00:00")
        assert parse_time("now-1d/d", NOW, round_up=True) == pytest.approx(at("2026-03-17T23:59:59.999"), abs=1e-6)

    @pytest.mark.parametrize("value", GARBAGE, ids=lambda value: type(value).__name__)
    def test_what_is_no_time_is_named_cut_short_and_answered_with_what_is_accepted(self, value: object) -> None:
        with pytest.raises(TimeError) as caught:
            parse_time(value, NOW)
        error = caught.value
        assert "is not a time" in error.message or "outside the years 1970 to 9999" in error.message
        assert_safe_to_show(error)
        assert "ISO 8601" in error.hint
        assert "now-6h" in error.hint

    @pytest.mark.parametrize("value", [math.nan, math.inf, "1e999", HUGE], ids=["nan", "inf", "text", "int"])
    def test_what_is_not_finite_is_no_time_at_all(self, value: object) -> None:
        with pytest.raises(TimeError, match="is not a time"):
            parse_time(value, NOW)

    def test_a_long_value_is_cut_in_the_error(self) -> None:
        with pytest.raises(TimeError) as caught:
            parse_time("x" * 500, NOW)
        assert 70 <= len(caught.value.message.removesuffix(" is not a time")) <= 80

    def test_the_value_stands_in_the_error(self) -> None:
        with pytest.raises(TimeError, match=r"^'yesterday' is not a time$"):
            parse_time("yesterday", NOW)

    @pytest.mark.parametrize(
        "value",
        [-1, "-1", "1969-12-31T23:59:59Z", "0001-01-01", "now-60y", 253402300800000, "9999-12-31T23:59:59-10:00", 1e18],
    )
    def test_a_time_outside_1970_to_9999_is_refused_not_clamped(self, value: object) -> None:
        with pytest.raises(TimeError, match="outside the years 1970 to 9999"):
            parse_time(value, NOW)

    @given(
        st.one_of(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.binary(max_size=9)
            | st.lists(st.none(), max_size=2),
            st.text(
                st.one_of(st.sampled_from("now-+/0169smhdwMyT:Z. "), st.characters(exclude_categories=[])), max_size=70
            ),
            st.from_regex(r"\Anow([+-][0-9]{0,10}[smhdwMy]|/[smhdwMy]){0,6}\Z"),
            st.from_regex(
                r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?\Z"
            ),
        ),
        st.booleans(),
    )
    @example("now+9999999999w+9999999999w+9999999999w+9999999999w/M", True)
    @example("9999-12-31T23:59:59.999999Z", False)
    def test_anything_is_a_time_in_the_accepted_years_or_a_time_error(self, value: object, round_up: bool) -> None:
        try:
            seconds = parse_time(value, NOW, round_up=round_up)
        except TimeError as error:
            assert_safe_to_show(error)
        else:
            assert isinstance(seconds, float)
            assert 0 <= seconds < MAX_TIME


class TestRanges:
    def test_a_range_goes_from_its_start_to_its_end(self) -> None:
        assert parse_range("2026-01-01", "2026-01-02", NOW) == TimeRange(at("2026-01-01"), at("2026-01-02"))

    @pytest.mark.parametrize("missing", [None, ""])
    def test_a_missing_end_is_now_and_a_missing_start_an_hour_before_the_end(self, missing: object) -> None:
        assert parse_range("now-6h", missing, NOW) == TimeRange(NOW - 6 * 3600, NOW)
        assert parse_range(missing, "2026-01-02", NOW) == TimeRange(at("2026-01-01T23:00:00"), at("2026-01-02"))
        assert parse_range(missing, missing, NOW) == TimeRange(NOW - 3600, NOW)

    def test_yesterday_is_from_its_midnight_to_its_last_millisecond(self) -> None:
        yesterday = parse_range("now-1d/d", "now-1d/d", NOW)
        assert yesterday.start == at("2026-03-17")
        assert yesterday.end == pytest.approx(at("2026-03-17T23:59:59.999"), abs=1e-6)

    def test_one_moment_is_a_range(self) -> None:
        assert parse_range("now", "now", NOW) == TimeRange(NOW, NOW)

    @pytest.mark.parametrize(
        ("start", "end"), [("now", "now-1h"), ("now+1h", None), (2, 1), ("2026-01-02", "2026-01-01")]
    )
    def test_a_reversed_range_is_refused_and_not_turned_round(self, start: object, end: object) -> None:
        with pytest.raises(TimeError, match="from is after to") as caught:
            parse_range(start, end, NOW)
        assert "swap" in caught.value.hint

    @pytest.mark.parametrize(("start", "end"), [("x", "now"), ("now", "x"), (None, 1000), (True, "now"), ("now", [])])
    def test_a_range_with_an_end_that_cannot_be_used_is_refused(self, start: object, end: object) -> None:
        with pytest.raises(TimeError):
            parse_range(start, end, NOW)


class TestCounts:
    @staticmethod
    def count(value: object) -> int:
        return parse_count(value, default=500, lowest=1, highest=11_000, name="maxDataPoints")

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, 500),
            ("", 500),
            (1000, 1000),
            ("1000", 1000),
            (" 1000 ", 1000),
            (99.9, 99),
            ("99.9", 99),
            ("1e3", 1000),
            (0, 1),
            (-5, 1),
            (-0.5, 1),
            ("-5", 1),
            (1e12, 11_000),
            pytest.param(HUGE, 11_000, id="huge"),
            pytest.param(-HUGE, 1, id="-huge"),
        ],
    )
    def test_a_count_is_rounded_down_and_brought_within_its_bounds(self, value: object, expected: int) -> None:
        result = self.count(value)
        assert result == expected
        assert type(result) is int

    @pytest.mark.parametrize(
        "value",
        [
            True,
            False,
            math.nan,
            math.inf,
            -math.inf,
            "many",
            "nan",
            "1e999",
            "1_0",
            "٣",
            "1" * 999,
            "0" * 999 + "5",
            [],
            {},
            "\ud800",
        ],
    )
    def test_what_is_no_finite_number_is_refused_by_the_name_of_the_count(self, value: object) -> None:
        with pytest.raises(TimeError, match=r"^maxDataPoints is not a number") as caught:
            self.count(value)
        assert caught.value.message.isprintable()
        assert "maxDataPoints" in caught.value.hint


class TestUrls:
    """Times in a URL, as Grafana's macros write them there."""

    @pytest.mark.parametrize(
        "text",
        [
            "1769860800250",
            "1769860800.25",
            "2026-01-31T12:00:00.250Z",
            "2026-01-31T14:00:00.250+02:00",
            "2026-01-31T14:00:00.250 02:00",
            " 2026-01-31T14:00:00.250 0200 ",
        ],
    )
    def test_milliseconds_seconds_and_iso_8601_are_one_time(self, text: str) -> None:
        assert parse_time(url_time(text), NOW) == 1769860800.25

    @pytest.mark.parametrize("text", ["", "now", "now-6h", "now - 2w", "2026-01-31", "2026-01-31 12:00", "yesterday"])
    def test_anything_else_is_left_as_it_is(self, text: str) -> None:
        assert url_time(text) == text

    @pytest.mark.parametrize("text", ["1" * 70, "1e400", "-5", "nan", "2026-01-31T12:00:00 99:99"])
    def test_what_is_no_time_stays_none(self, text: str) -> None:
        with pytest.raises(TimeError):
            parse_time(url_time(text), NOW)
