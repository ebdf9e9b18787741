"""What timelines and graphs have to draw for what is true: bars in their colours, lines and their gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from grafana.generate import looks
from tests.grafana.reading import SLACK_SECONDS, level, number
from tests.grafana.story import FLEET, Key, Truth, circuits_of
from tests.grafana.viewer import Seen

Check = Callable[[Seen, Truth], None]

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
    times = [poll.at for poll in truth.good]
    for poll in truth.missed:
        if not times[0] < poll.at <= end:
            continue
        before = max(at for at in times if at < poll.at)
        after = min((at for at in times if at > poll.at), default=end + SLACK_SECONDS)
        assert any(value is None and before < at < after for at, value in points), "the line hides a missed poll"
    for at, value in points:
        assert value is None or min(abs(at - polled) for polled in times) <= SLACK_SECONDS


def nothing(seen: Seen, truth: Truth) -> None:
    """There is no history of so long ago."""
    assert all(value is None for points in seen.lines.values() for _, value in points)
