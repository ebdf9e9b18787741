"""What each panel has to say, by its title, for what is true: its texts, their colours, its bars and lines."""

from __future__ import annotations

import calendar
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from bridge.queries.catalog import LEVELS, METRICS, STATUS_WORDS
from grafana.generate import looks
from grafana.generate.panels import COLUMN_METRICS
from tests.grafana.plugins import Json
from tests.grafana.story import FAILING, FLEET, SCORE, SECONDS, Key, Truth, circuits_of
from tests.grafana.viewer import Seen, Text

Check = Callable[[Seen, Truth], None]

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


# Timelines


def worst_circuits(seen: Seen, truth: Truth) -> None:
    _states(seen, truth, {name: circuits_of(name) for name in truth.providers})


def circuits_by_model(seen: Seen, truth: Truth) -> None:
    _states(seen, truth, {} if truth.never else {" / ".join(key): [key] for key in FLEET})


def _states(seen: Seen, truth: Truth, lanes: Mapping[str, Sequence[Key]]) -> None:
    assert set(seen.lanes) == set(lanes)
    for name, keys in lanes.items():
        expected, bars = truth.bars(*keys), seen.lanes[name]
        assert [text.text for _, text in bars] == [state for _, state in expected], f"{name} flapped otherwise"
        for (at, text), (true_at, state) in zip(bars, expected, strict=True):
            assert abs(at - true_at) <= SLACK_SECONDS
            assert text.colour == (looks.UNKNOWN if state == looks.NO_DATA else looks.COLOURS[state])


def availability(seen: Seen, truth: Truth) -> None:
    assert set(seen.lanes) == set(truth.providers)
    for provider, bars in seen.lanes.items():
        for _, text in bars:
            value = None if text.text == looks.NO_DATA else 100 * number(text.text)
            level(text, "provider_availability", value, 0.1)
        expected = 100 * truth.available(provider) if truth.known else None
        level(bars[-1][1], "provider_availability", expected, 0.1)


# Graphs


def graph(value_of: Callable[[Truth, Sequence[Key]], float | None], slack: float, *, models: bool = False) -> Check:
    """Lines that end in what is true now, and break where it is not known."""

    def check(seen: Seen, truth: Truth) -> None:
        names = {" / ".join(key): [key] for key in FLEET} if models else {p: circuits_of(p) for p in truth.providers}
        assert set(seen.lines) == (set() if truth.never else set(names))
        for name, points in seen.lines.items():
            expected, last = value_of(truth, names[name]), points[-1][1]
            if not truth.known or expected is None:
                assert last is None
                assert seen.legends[name]["last"] == looks.NO_DATA
                assert [value for _, value in points[-2:]] == [None, None], "old panels take the value before one null"
            else:
                assert last is not None
                assert abs(last - expected) <= slack, (name, last, expected)
                assert seen.legends[name]["last"] != looks.NO_DATA
            _breaks(points, truth)

    return check


def _breaks(points: Sequence[tuple[float, float | None]], truth: Truth) -> None:
    """A line has a gap where polls were missed, and no value there."""
    end = truth.at if truth.stale else truth.good[-1].at
    for poll in truth.missed:
        if not truth.good[0].at < poll.at <= end:
            continue
        assert any(value is None and abs(at - poll.at) <= SLACK_SECONDS for at, value in points)
    times = [poll.at for poll in truth.good]
    for at, value in points:
        assert value is None or min(abs(at - polled) for polled in times) <= SLACK_SECONDS


def nothing(seen: Seen, truth: Truth) -> None:
    """There is no history of so long ago."""
    assert all(value is None for points in seen.lines.values() for _, value in points)


def _provider(keys: Sequence[Key]) -> str:
    return keys[0][0]


HEALTH = graph(lambda truth, keys: truth.score(_provider(keys)), 2.0)
ERRORS = graph(lambda truth, keys: truth.error_rate(*keys), ERROR_RATE_SLACK)
SHIFTED = ("the same time yesterday", "the same time 7 days before")
CHECKS: Mapping[str, Check] = {
    "Data": data,
    "Providers by status": by_status,
    "Open circuits": open_circuits,
    "Fleet health": fleet_health,
    "Fleet error rate": fleet_errors,
    "Age of the data": age,
    "Status": status_tiles,
    "Providers": providers,
    "Providers that are not healthy": not_healthy,
    "Circuits that are not CLOSED": not_closed,
    "Every opening and closing in this range, newest first": moves,
    "Evidence": evidence,
    "Circuits: the worst of each provider": worst_circuits,
    "Circuits of each provider: bars that alternate are flapping": worst_circuits,
    "Circuits by model": circuits_by_model,
    "Availability": availability,
    "Health score": HEALTH,
    "Health score: this range": HEALTH,
    "Health score: the worst of every 20 minutes of the last 7 days": HEALTH,
    "Error rate": ERRORS,
    "Error rate: this range": ERRORS,
    "Error rate by model": graph(lambda truth, keys: truth.error_rate(*keys), ERROR_RATE_SLACK, models=True),
    "Latency, 95th percentile": graph(lambda truth, keys: SECONDS, 0.1),
    "Requests": graph(lambda truth, keys: truth.request_rate(*keys), REQUEST_RATE_SLACK),
    "Health score as the gateway reports it": graph(lambda truth, keys: SCORE, 0.0),
    **{f"{name}: {when}": nothing for name in ("Health score", "Error rate") for when in SHIFTED},
}
OPEN_CIRCUITS_GRAPH = graph(lambda truth, keys: float(truth.open_circuits(_provider(keys))), 0.0)


def check_of(panel: Json) -> Check:
    """The check of a panel. Of two that have one title the graph shows the same over time."""
    graphed = panel["type"] == "timeseries" and panel["title"] == "Open circuits"
    return OPEN_CIRCUITS_GRAPH if graphed else CHECKS[panel["title"]]
