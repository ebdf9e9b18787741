"""What tiles and tables have to say for what is true: their texts and colours."""

from __future__ import annotations

import calendar
import re
import time
from collections import Counter
from collections.abc import Sequence

from bridge.queries.catalog import LEVELS, METRICS, STATUS_WORDS
from grafana.generate import looks
from grafana.generate.panels import COLUMN_METRICS
from tests.grafana.story import FAILING, FLEET, SCORE, SECONDS, Key, Truth, circuits_of
from tests.grafana.viewer import Seen, Text

NO_DATA = Text(looks.NO_DATA, looks.UNKNOWN)
UNCOLOURED = Text(looks.NO_DATA, None)
NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)\s*(ms|s|%|req/s|)")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
SLACK_SECONDS = 1.5
"""Between a gateway's being asked and a poll's time, or a time that is written without fractions."""
ERROR_RATE_SLACK = 0.03
"""Counters are extrapolated to the whole window, as PromQL does."""
REQUEST_RATE_SLACK = 12.0
"""Of 40 requests a second: the window is short."""


def number(text: str) -> float:
    """What is written, in seconds, shares or as it stands."""
    found = NUMBER.fullmatch(text)
    assert found, f"{text!r} is no number"
    return float(found[1]) * {"ms": 0.001, "%": 0.01}.get(found[2], 1.0)


def colour_of(metric: str, value: float) -> str:
    """The colour of the level that a value is on."""
    degraded, down = LEVELS[metric]
    if METRICS[metric].worst == "low":
        return looks.DOWN if value < down else looks.DEGRADED if value < degraded else looks.HEALTHY
    return looks.DOWN if value >= down else looks.DEGRADED if value >= degraded else looks.HEALTHY


def seconds(text: str) -> float:
    """A time as it is written, to the second."""
    assert TIME.fullmatch(text), text
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


def near(at: float, text: str) -> bool:
    """Whether a written time is that one."""
    return abs(seconds(text) - at) <= SLACK_SECONDS


def word(text: Text, expected: str) -> None:
    """A state's word, in its colour."""
    assert text == Text(expected, looks.COLOURS[expected])


def level(text: Text, metric: str, expected: float | None, slack: float) -> None:
    """A value, on the colour of its level; grey where it is not known."""
    if expected is None:
        assert text == NO_DATA
        return
    percent = METRICS[metric].unit == "percent"
    value = number(text.text) * (100 if percent else 1)
    assert abs(value - expected) <= slack, (text, expected)
    assert text.colour == colour_of(metric, value)


# Tiles


def data(seen: Seen, truth: Truth) -> None:
    """In words: fresh, stale since when, or never read."""
    state = "never read" if truth.never else "stale" if truth.stale else "fresh"
    [(title, text)] = seen.tiles.items()
    assert title == state
    assert text.text.strip()
    assert text.colour == looks.COLOURS[state]
    if state == "stale":
        began = min(poll.at for poll in truth.missed if poll.at > truth.good[-1].at)
        times = [time.strftime("%H:%M:%S", time.gmtime(began + off)) for off in (-1, 0, 1)]
        assert any(at in text.text for at in times), (text.text, times)


def by_status(seen: Seen, truth: Truth) -> None:
    if truth.never:
        assert set(seen.tiles.values()) == {NO_DATA}
        return
    counts = Counter(map(truth.status, truth.providers))
    assert seen.tiles == {word: Text(str(counts[word]), looks.COLOURS[word]) for word in STATUS_WORDS.values()}


def open_circuits(seen: Seen, truth: Truth) -> None:
    [text] = seen.tiles.values()
    opened = sum(map(truth.open_circuits, truth.providers))
    assert text == (Text(str(opened), None) if truth.known else UNCOLOURED)


def fleet_health(seen: Seen, truth: Truth) -> None:
    [text] = seen.tiles.values()
    scores = [score for score in map(truth.score, truth.providers) if score is not None]
    level(text, "fleet_health_score", sum(scores) / len(scores) if truth.known else None, 1.5)


def fleet_errors(seen: Seen, truth: Truth) -> None:
    [text] = seen.tiles.values()
    level(text, "fleet_error_rate", truth.error_rate(*FLEET), ERROR_RATE_SLACK)


def age(seen: Seen, truth: Truth) -> None:
    [text] = seen.tiles.values()
    if truth.never:
        assert text == UNCOLOURED
        return
    written = number(text.text)
    assert text.colour is None
    assert written > 0, "the data is never 0 s old"
    assert abs(written - (truth.at - truth.good[-1].at)) <= SLACK_SECONDS


def status_tiles(seen: Seen, truth: Truth) -> None:
    if truth.never:
        assert list(seen.tiles.values()) == [NO_DATA]
        return
    assert set(seen.tiles) == set(truth.providers)
    for provider, text in seen.tiles.items():
        word(text, truth.status(provider))
    assert next(iter(seen.tiles)) == FAILING, "worst first"


# Tables


def providers(seen: Seen, truth: Truth) -> None:
    _providers(seen, truth, truth.providers)


def not_healthy(seen: Seen, truth: Truth) -> None:
    _providers(seen, truth, [name for name in truth.providers if truth.status(name) != "healthy"])


def _providers(seen: Seen, truth: Truth, expected: Sequence[str]) -> None:
    rows = {row["Provider"].text: row for row in seen.rows}
    assert set(rows) == set(expected)
    assert len(seen.rows) == len(rows)
    for provider, row in rows.items():
        word(row["Status"], truth.status(provider))
        known = truth.known
        if known:
            word(row["Circuit"], truth.worst(provider))
        else:
            assert row["Circuit"] == NO_DATA
        opened, circuits = truth.open_circuits(provider), circuits_of(provider)
        assert row["Open circuits"].text == (f"{opened} of {len(circuits)}" if known else looks.NO_DATA)
        since = truth.first_opened(*circuits) if known else None
        if since is None:
            assert row["Open since"].text == "–"
        else:
            assert near(since, row["Open since"].text)
        expectations = {
            "Score": (truth.score(provider), 2.0),
            "Reported score": (SCORE if known else None, 0.0),
            "Error rate": (truth.error_rate(*circuits), ERROR_RATE_SLACK),
            "Availability": (100 * truth.available(provider) if known else None, 0.0),
            "Latency": (SECONDS if known else None, 0.01),
            "p95": (SECONDS if known else None, 0.1),
        }
        for column, (value, slack) in expectations.items():
            level(row[column], COLUMN_METRICS[column], value, slack)
        if known:
            assert abs(number(row["Request rate"].text) - truth.request_rate(*circuits)) <= REQUEST_RATE_SLACK
        else:
            assert row["Request rate"].text == looks.NO_DATA
        assert abs(number(row["Data age"].text) - (truth.at - truth.good[-1].at)) <= SLACK_SECONDS


def not_closed(seen: Seen, truth: Truth) -> None:
    states = {} if truth.never else {key: truth.state(key) for key in FLEET}
    expected = {key: state for key, state in states.items() if state != "CLOSED"}
    rows = {(row["Provider"].text, row["Model"].text): row for row in seen.rows}
    assert set(rows) == set(expected)
    for key, row in rows.items():
        word(row["State"], expected[key])
        if not truth.known:
            assert (row["Since"].text, row["For"].text) == (looks.NO_DATA, looks.NO_DATA)
            continue
        since = truth.bars(key)[-1][0]
        assert near(since, row["Since"].text)
        assert abs(number(row["For"].text) - (truth.at - since)) <= SLACK_SECONDS


def moves(seen: Seen, truth: Truth) -> None:
    expected = truth.moves()
    assert len(seen.rows) == len(expected)
    written = [row["Time"].text for row in seen.rows]
    assert written == sorted(written, reverse=True), "newest first"
    unseen = [(key, before, after) for _, key, before, after in expected]
    for row in seen.rows:
        key = (row["Provider"].text, row["Model"].text)
        unseen.remove((key, row["From"].text, row["To"].text))
        same = [at for at, moved, _, after in expected if (moved, after) == (key, row["To"].text)]
        assert any(near(at, row["Time"].text) for at in same)
        for column in ("From", "To"):
            word(row[column], row[column].text)


def evidence(seen: Seen, truth: Truth) -> None:
    assert {row["Provider"].text for row in seen.rows} == set(truth.providers)
    if not truth.known:
        assert {row["Value"].text for row in seen.rows} <= {looks.NO_DATA}
        return
    said: dict[Key, str] = {(provider, ""): truth.status(provider) for provider in truth.providers}
    said |= {key: truth.state(key) for key in FLEET}
    for row in seen.rows:
        what, provider = row["What"].text, row["Provider"].text
        about = {"status": ""} | {f"circuit {model}": model for name, model in FLEET if name == provider}
        if what in about:
            expected = said.pop((provider, about[what]))
            words = {found for text in row.values() for found in re.findall(r"\w+", text.text)}
            assert expected in words, f"{what}: a bare code"
    assert not said
