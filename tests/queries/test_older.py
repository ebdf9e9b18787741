"""A range that is older than the embedded history: what comes from elsewhere, and how the two are joined."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.application import create_app
from bridge.health.memory import Memory
from bridge.history.promql import Selector
from bridge.history.remote import FINAL_SECONDS
from bridge.history.remote_answer import RemoteAnswer, RemoteHistoryError, RemoteSeries
from bridge.history.store import Store
from bridge.model import FLEET_METRICS, PROVIDER_METRICS, ModelNumbers, Moment, Poll, Snapshot, Status, Verdict
from bridge.queries.catalog import metric
from bridge.queries.series import Recorded, Series, Steps
from bridge.queries.severity import badness, worse
from bridge.queries.targets import parse
from bridge.queries.timerange import TimeRange
from bridge.queries.view import View
from bridge.settings import Settings
from tests.history.api import Api, Asked, Reply, body, matrix, serving, success
from tests.one_poller import reads

T0 = 1_800_000_000.0
"""The embedded history's first poll."""
INTERVAL = 15.0
BRIDGE = {"job": "bridge", "instance": "bridge:5050", "env": "production"}
Samples = Sequence[tuple[float, float]]


@dataclass
class Remote:
    """A Prometheus of a few lines: label sets, each with its samples."""

    series: list[tuple[Mapping[str, str], Samples]] = field(default_factory=list)
    scraped: Sequence[Mapping[str, str]] = (BRIDGE,)
    failure: str = ""
    warnings: tuple[str, ...] = ()
    most_samples: int = 10_000_000
    asked: list[tuple[str, str, int, int]] = field(default_factory=list)

    def samples(self, selector: Selector, start_ms: int, end_ms: int, *, limit_seconds: float) -> RemoteAnswer:
        self._note("samples", selector, start_ms, end_ms)

        def inside(samples: Samples) -> Samples:
            return [(at, value) for at, value in samples if start_ms <= round(at * 1000) <= end_ms]

        found = [(labels, inside(samples)) for labels, samples in self.series]
        if sum(len(samples) for _, samples in found) > self.most_samples:
            raise RemoteHistoryError("its answer is too large", of_question=True)
        return self._answer(found)

    def worst(
        self, selector: Selector, kind: str, start: int, end: int, step: int, *, limit_seconds: float
    ) -> RemoteAnswer:
        self._note("worst", selector, start * 1000, end * 1000)
        assert step > 0
        assert start % step == end % step == 0

        def stepped(samples: Samples) -> Samples:
            windows: dict[int, list[float]] = {}
            for at, value in samples:
                window = math.ceil(at / step) * step
                if start <= window <= end:
                    windows.setdefault(window, []).append(value)
            return [
                (float(window), values[int(np.argmax(badness(np.array(values), kind)))])
                for window, values in sorted(windows.items())
            ]

        return self._answer([(labels, stepped(samples)) for labels, samples in self.series])

    def label_sets(self, selector: Selector, start: int, end: int, *, limit_seconds: float) -> RemoteAnswer:
        self._note("label_sets", selector, start * 1000, end * 1000)
        return self._answer([(labels, []) for labels in self.scraped], drop_empty=False)

    def _note(self, kind: str, selector: Selector, start_ms: int, end_ms: int) -> None:
        if self.failure:
            raise RemoteHistoryError(self.failure)
        self.asked.append((kind, str(selector), start_ms, end_ms))

    def _answer(self, series: list[tuple[Mapping[str, str], Samples]], *, drop_empty: bool = True) -> RemoteAnswer:
        return RemoteAnswer(
            [
                RemoteSeries(labels, *np.array(samples, dtype=np.float64).reshape(-1, 2).T)
                for labels, samples in series
                if samples or not drop_empty
            ],
            self.warnings,
        )


def snapshot(at: float, **scores: float | None) -> Snapshot:
    unknown: dict[str, float | None] = dict.fromkeys(PROVIDER_METRICS)
    verdicts = tuple(
        Verdict(name, Status.HEALTHY, at, unknown | {"provider_health_score": score}) for name, score in scores.items()
    )
    return Snapshot(at, verdicts, (), ModelNumbers(), dict.fromkeys(FLEET_METRICS))


def record(store: Store, at: float, **scores: float | None) -> None:
    store.append(
        Poll(at, INTERVAL, "ok", "", 0.01),
        failing_since=None,
        snapshot=snapshot(at, **scores),
        memory=Memory(moment=Moment(at, at)),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty log."""
    store = Store(tmp_path / "data", retention_seconds=7 * 86_400.0)
    yield store
    store.close()


@pytest.fixture
def polled(store: Store) -> Store:
    """A log of four polls of openai, from T0 on."""
    for number in range(4):
        record(store, T0 + INTERVAL * number, openai=90.0 + number)
    return store


def ask(
    store: Store,
    remote: Remote,
    start: float,
    end: float = T0 + 45.0,
    *,
    target: str = "provider_health_score",
    points: int = 1_000,
) -> tuple[dict[tuple[str, ...], list[tuple[float, float | None]]], Sequence[str]]:
    """Points by label values, None for not known; and what was told of the remote history."""
    read = parse(target)
    view = View(max(end, T0 + 45.0), store.latest(), 45.0)
    recorded = Recorded(store, view, TimeRange(start, end), Steps(points), remote)  # type: ignore[arg-type]
    found = recorded.series(metric(read.metric), read, ())
    return {tuple(one.labels.values()): known(one) for one in found}, recorded.troubles


def known(series: Series) -> list[tuple[float, float | None]]:
    pairs = zip(series.times.tolist(), series.values.tolist(), strict=True)
    return [(at, None if value != value else value) for at, value in pairs]


def every(interval: float, start: float, end: float, value: float = 50.0) -> list[tuple[float, float]]:
    """Samples from ``start`` up to before ``end``."""
    return [(at, value) for at in np.arange(start, end, interval).tolist()]


def of(provider: str, **more: str) -> dict[str, str]:
    return {"__name__": "provider_health_score", "provider": provider, **BRIDGE, **more}


EMBEDDED = [(T0 + INTERVAL * number, 90.0 + number) for number in range(4)]


class TestSeam:
    def test_older_samples_come_before_the_embedded_polls(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 60, T0))])
        answer, troubles = ask(polled, remote, T0 - 60)
        assert answer == {("openai",): [*every(15.0, T0 - 60, T0), *EMBEDDED]}
        assert not troubles

    def test_what_both_have_comes_from_the_embedded_one(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 30, T0 + 60, 1.0))])
        answer, _ = ask(polled, remote, T0 - 30)
        assert answer["openai",] == [(T0 - 30, 1.0), (T0 - 15, 1.0), *EMBEDDED]

    def test_a_sample_in_the_first_polls_own_millisecond_is_not_doubled(self, store: Store) -> None:
        record(store, T0 + 0.0004, openai=90.0)
        remote = Remote([(of("openai"), [(T0 - 15.0, 1.0), (T0 - 0.001, 2.0), (T0, 3.0)])])
        answer, _ = ask(store, remote, T0 - 30, T0 + 1)
        assert answer["openai",] == [(T0 - 15.0, 1.0), (T0 - 0.001, 2.0), (T0 + 0.0004, 90.0)]

    def test_time_between_the_two_in_which_nobody_looked_is_a_gap(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 300, T0 - 120))])
        answer, _ = ask(polled, remote, T0 - 300)
        assert [at for at, value in answer["openai",] if value is None] == [T0 - 120]

    def test_a_missing_sample_is_a_gap(self, polled: Store) -> None:
        samples = [sample for sample in every(15.0, T0 - 150, T0) if sample[0] != T0 - 75]
        answer, _ = ask(polled, Remote([(of("openai"), samples)]), T0 - 150)
        assert [at for at, value in answer["openai",] if value is None] == [T0 - 75]

    def test_a_series_that_was_not_known_for_a_while_breaks(self, polled: Store) -> None:
        some = [sample for sample in every(15.0, T0 - 150, T0) if not T0 - 90 <= sample[0] <= T0 - 60]
        remote = Remote([(of("openai"), every(15.0, T0 - 150, T0)), (of("groq"), some)])
        answer, _ = ask(polled, remote, T0 - 150)
        assert None not in [value for _, value in answer["openai",]]
        assert [at for at, value in answer["groq",] if value is None] == [T0 - 90, T0, T0 + 45]

    def test_a_range_before_the_first_poll_is_all_from_there(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 600, T0))])
        answer, _ = ask(polled, remote, T0 - 300, T0 - 200)
        assert answer["openai",] == every(15.0, T0 - 300, T0 - 200)

    def test_a_range_within_the_embedded_history_asks_nobody(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 600, T0))])
        answer, _ = ask(polled, remote, T0)
        assert answer["openai",] == EMBEDDED
        assert remote.asked == []

    def test_an_empty_log_answers_from_there_alone(self, store: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 60, T0))])
        answer, _ = ask(store, remote, T0 - 60, T0)
        assert answer["openai",] == every(15.0, T0 - 60, T0)

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_for_any_samples_points_are_samples_or_polls_and_times_rise(
        self, tmp_path_factory: Any, data: st.DataObject
    ) -> None:
        log = Store(tmp_path_factory.mktemp("log"), retention_seconds=7 * 86_400.0)
        record(log, T0, openai=90.0)
        record(log, T0 + 15, openai=91.0, groq=40.0)
        times = st.lists(st.integers(0, 80_000_000), max_size=40, unique=True)
        values = st.sampled_from([0.0, 50.0, 99.0])
        series = []
        for provider in ("openai", "groq", "groq"):
            moments = sorted(data.draw(times))
            samples = [(T0 + 10 - at / 1000, data.draw(values)) for at in reversed(moments)]
            series.append((of(provider, instance=f"i-{len(series)}"), samples))
        remote = Remote(series, [labels for labels, _ in series])
        length = data.draw(st.sampled_from([60.0, 3600.0, 80_000.0]))
        start = T0 - length
        points = data.draw(st.sampled_from([1, 10, 1_000]))
        answer, _ = ask(log, remote, start, T0 + 20, points=points)
        log.close()
        for provider, found in answer.items():
            there = [
                (round(at * 1000), value)
                for labels, samples in series
                for at, value in samples
                if labels["provider"] == provider[0]
            ]
            allowed = {
                *there,
                (round(T0 * 1000), 90.0),
                (round((T0 + 15) * 1000), 91.0),
                (round((T0 + 15) * 1000), 40.0),
            }
            moments = [round(at * 1000) for at, _ in found]
            assert all(earlier < later for earlier, later in pairwise(moments))
            assert all(start * 1000 <= at <= (T0 + 20) * 1000 for at in moments)
            assert sum(value is not None for _, value in found) <= points
            if length <= 3600.0:
                assert {(round(at * 1000), value) for at, value in found if value is not None} <= allowed
            else:
                assert {value for _, value in found if value is not None} <= {value for _, value in allowed}


class TestLabels:
    def test_labels_that_are_not_ours_are_dropped_and_series_that_are_one_are_merged(self, polled: Store) -> None:
        one, other = of("openai", instance="a"), of("openai", instance="b")
        remote = Remote(
            [(one, [(T0 - 30, 70.0), (T0 - 15, 80.0)]), (other, [(T0 - 30, 60.0), (T0 - 15, 90.0)])], [one, other]
        )
        answer, _ = ask(polled, remote, T0 - 30)
        assert answer["openai",] == [(T0 - 30, 60.0), (T0 - 15, 80.0), *EMBEDDED]

    def test_a_gateways_own_metric_of_the_same_name_is_not_taken_for_ours(self, polled: Store) -> None:
        gateway = of("openai", job="gateway", instance="gateway:8000")
        remote = Remote([(gateway, every(15.0, T0 - 60, T0, 1.0)), (of("openai"), every(15.0, T0 - 60, T0))])
        answer, _ = ask(polled, remote, T0 - 60)
        assert answer["openai",] == [*every(15.0, T0 - 60, T0), *EMBEDDED]

    def test_a_number_that_names_no_state_is_not_known(self, polled: Store) -> None:
        samples = [(T0 - 60, 1.0), (T0 - 45, 7.0), (T0 - 30, -1.0), (T0 - 15, 0.5)]
        answer, _ = ask(polled, Remote([(of("groq"), samples)]), T0 - 60, target="provider_status")
        assert [value for _, value in answer["groq",] if value is not None] == [1.0]

    def test_matchers_go_along_and_are_checked_again(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 60, T0)), (of("groq"), every(15.0, T0 - 60, T0))])
        answer, _ = ask(polled, remote, T0 - 60, target='provider_health_score{provider=~"op.*|x",env!="y"}')
        assert answer.keys() == {("openai",)}
        assert ("samples", 'provider_health_score{provider=~"(?s:op.*|x)"}') in [asked[:2] for asked in remote.asked]

    def test_a_fleet_metric_has_no_labels_left(self, polled: Store) -> None:
        remote = Remote([({"__name__": "gateway_up", **BRIDGE}, every(15.0, T0 - 30, T0, 1.0))])
        answer, _ = ask(polled, remote, T0 - 30, target="gateway_up")
        assert [value for _, value in answer[()]] == [1.0] * 6


class TestLongRanges:
    DAY = 86_400.0

    def test_the_worst_of_each_step_and_the_samples_at_both_ends(self, polled: Store) -> None:
        samples = every(15.0, T0 - 30 * self.DAY, T0, 99.0)
        samples[100_000] = (samples[100_000][0], 3.0)
        answer, _ = ask(polled, Remote([(of("openai"), samples)]), T0 - 30 * self.DAY, points=500)
        points = answer["openai",]
        assert 3.0 in [value for _, value in points]
        assert len(points) <= 501
        assert None not in [value for _, value in points]
        assert points[-1][0] >= T0

    def test_questions_are_few_and_on_a_grid_that_two_viewers_share(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - self.DAY, T0))])
        for second in (0.0, 7.0, 14.0):
            ask(polled, remote, T0 - 20 * 3600 + second, T0 + 30 + second)
        assert len(set(remote.asked)) <= 6
        assert len(remote.asked) == 12
        assert all(start % 1000 == 0 for _, _, start, _ in remote.asked)

    @pytest.mark.parametrize("points", [1, 10, 11_000])
    @pytest.mark.parametrize("length", [6.1 * 3600, 86_400.0, 366 * 86_400.0, T0])
    def test_no_question_asks_for_more_points_than_prometheus_gives(
        self, polled: Store, length: float, points: int
    ) -> None:
        remote = Remote()
        steps: list[float] = []
        ask_worst = remote.worst

        def worst(
            selector: Selector, kind: str, start: int, end: int, step: int, *, limit_seconds: float
        ) -> RemoteAnswer:
            steps.append((end - start) / step)
            return ask_worst(selector, kind, start, end, step, limit_seconds=limit_seconds)

        remote.worst = worst  # type: ignore[method-assign]
        ask(polled, remote, T0 - length, points=points)
        assert 5 < max(steps) <= 11_000
        samples = [(start, end) for kind, _, start, end in remote.asked if kind == "samples"]
        assert all(0 <= end - start < 12 * 3600 * 1000 for start, end in samples)

    def test_steps_coarser_than_the_scrapes_are_no_gaps(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(120.0, T0 - self.DAY, T0))])
        answer, _ = ask(polled, remote, T0 - self.DAY, points=11_000)
        assert [at for at, value in answer["openai",] if value is None and at < T0 - 200] == []


class TestTroubles:
    def test_a_remote_that_fails_costs_its_part_alone(self, polled: Store) -> None:
        answer, troubles = ask(polled, Remote(failure="no answer within 5 s"), T0 - 60)
        assert answer["openai",] == EMBEDDED
        assert troubles == ["remote history is not available: no answer within 5 s"]

    def test_an_answer_with_a_warning_is_used_and_the_warning_told(self, polled: Store) -> None:
        remote = Remote([(of("openai"), every(15.0, T0 - 60, T0))], warnings=("a store is down",))
        answer, troubles = ask(polled, remote, T0 - 60)
        assert len(answer["openai",]) == 8
        assert set(troubles) == {"remote history may not be complete: a store is down"}

    def test_samples_too_many_to_be_sent_are_asked_for_by_the_worst_of_each_step(self, polled: Store) -> None:
        samples = every(1.0, T0 - 3600, T0, 99.0)
        samples[1_000] = (samples[1_000][0], 3.0)
        answer, troubles = ask(polled, Remote([(of("openai"), samples)], most_samples=1_000), T0 - 3600, points=200)
        assert not troubles
        assert 3.0 in [value for _, value in answer["openai",]]
        assert None not in [value for _, value in answer["openai",]]

    def test_samples_too_scattered_to_be_held_are_refused(self, polled: Store) -> None:
        series = [(of(f"p{n}"), [(T0 - 20_000 + n + k / 100, 1.0) for k in range(30)]) for n in range(800)]
        answer, [trouble] = ask(polled, Remote(series), T0 - 21_000)
        assert "too many" in trouble
        assert answer["openai",] == EMBEDDED


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., tuple[Api, FlaskClient]]]:
    """A bridge of four polls whose remote history answers as given; it is so long after the first of them."""
    made: list[Any] = []

    def make(answer: Callable[[Asked], Reply], since: float = 50.0) -> tuple[Api, FlaskClient]:
        server = serving(answer)
        api = server.__enter__()
        given = Settings(gateway_url="http://gateway.test", data_dir=tmp_path, history_url=api.url)
        app = create_app(given, clock=reads(lambda: T0 + since))
        bridge = app.extensions["bridge"]
        made.append((server, api, bridge))
        for number in range(4):
            record(bridge.store, T0 + INTERVAL * number, openai=90.0 + number)
        return api, app.test_client()

    yield make
    for server, api, bridge in made:
        api.over.set()
        bridge.stop()
        bridge.store.close()
        server.__exit__(None, None, None)


BODY = {
    "targets": [{"target": "provider_health_score"}],
    "range": {"from": (T0 - 60) * 1000, "to": (T0 + 45) * 1000},
}


def well(asked: Asked) -> Reply:
    if asked.path.endswith("/series"):
        return success([BRIDGE])
    return matrix((of("openai"), [(T0 - 30, "55"), (T0 - 15, "NaN")]))


class TestAnswers:
    def test_a_range_is_answered_from_both_without_a_warning(self, site: Any) -> None:
        _, client = site(well)
        response = client.post("/query", json=BODY)
        assert "Warning" not in response.headers
        [series] = response.get_json()
        values = [value for value, _ in series["datapoints"]]
        assert values == [55.0, None, 90.0, 91.0, 92.0, 93.0]
        assert "meta" not in series

    def test_a_good_answer_is_computed_once(self, site: Any) -> None:
        api, client = site(well, FINAL_SECONDS)
        first = client.post("/query", json=BODY).data
        asked = len(api.asked)
        assert client.post("/query", json=BODY).data == first
        assert len(api.asked) == asked == 2

    def test_samples_that_arrive_late_leave_no_hole_at_the_seam(self, site: Any) -> None:
        late: list[tuple[float, str]] = []

        def slowly(asked: Asked) -> Reply:
            if asked.path.endswith("/series"):
                return success([BRIDGE])
            return matrix((of("openai"), [(T0 - 30, "55"), *late]))

        _, client = site(slowly)
        client.post("/query", json=BODY)
        late.append((T0 - 15, "56"))
        [series] = client.post("/query", json=BODY).get_json()
        assert [value for value, _ in series["datapoints"]] == [55.0, 56.0, 90.0, 91.0, 92.0, 93.0]

    def test_tables_and_annotations_say_from_when_on_they_know(self, site: Any) -> None:
        _, client = site(well)
        asked = {"targets": [{"target": "transitions", "type": "table"}], "range": BODY["range"]}
        [table] = client.post("/query", json=asked).get_json()
        assert "events are known from 2027-01-15 08:00:00 UTC on" in table["meta"]["notices"][0]["text"]
        annotations = {"annotation": {"query": "all"}, "range": BODY["range"]}
        assert "events are known from" in client.post("/annotations", json=annotations).headers["Warning"]
        within = {"annotation": {"query": "all"}, "range": {"from": (T0 + 10) * 1000, "to": (T0 + 45) * 1000}}
        assert "Warning" not in client.post("/annotations", json=within).headers

    @pytest.mark.parametrize("answer", [body(b"", 500), body(b"<html>"), body(b'{"status":"success","data":7}')])
    def test_a_bad_one_is_answered_without_it_and_says_so(self, site: Any, answer: Reply) -> None:
        api, client = site(lambda _: answer)
        for response in (client.post("/query", json=BODY), client.get("/query", query_string=as_arguments())):
            assert response.status_code == 200
            assert response.headers["Warning"].startswith('199 - "remote history is not available: ')
            [series] = response.get_json()
            assert [value for value, _ in series["datapoints"]] == [90.0, 91.0, 92.0, 93.0]
            [notice] = series["meta"]["notices"]
            assert notice["severity"] == "warning"
            assert notice["text"].startswith("remote history is not available: ")
        text = client.get("/query", query_string=as_arguments(format="text"))
        assert "Warning" in text.headers
        assert len(api.asked) == 1, "a dead remote is asked for every request"

    def test_an_answer_without_the_remote_part_is_not_kept(self, site: Any) -> None:
        api, client = site(lambda asked: body(b"", 500) if len(api.asked) == 1 else well(asked))
        assert "Warning" in client.post("/query", json=BODY).headers
        remote = client.application.extensions["bridge"].remote
        remote._down_until = 0.0
        again = client.post("/query", json=BODY)
        assert "Warning" not in again.headers
        assert again.get_json()[0]["datapoints"][0][0] == 55.0

    def test_what_a_remote_says_cannot_break_the_header(self, site: Any) -> None:
        said = b'{"status":"error","error":"\\r\\nX-Evil: 1 \\"quoted\\" \\\\ \\u00fc \\ud83d\\ude00"}'
        _, client = site(lambda _: body(said, 422))
        response = client.post("/query", json=BODY)
        assert "X-Evil" not in response.headers
        assert response.headers["Warning"].count('"') == 2
        assert response.headers["Warning"].isascii()

    def test_one_that_hangs_is_not_waited_for_long(self, site: Any) -> None:
        api, client = site(lambda asked: api.hang(asked))
        client.application.extensions["bridge"].remote.timeout_seconds = 0.5
        began = time.monotonic()
        for _ in range(3):
            response = client.post("/query", json=BODY)
            assert "no answer within 0.5 s" in response.headers["Warning"]
        assert time.monotonic() - began < 1.5

    def test_current_values_and_recent_ranges_ask_nobody(self, site: Any) -> None:
        api, client = site(well)
        client.post("/query", json={"targets": BODY["targets"]})
        client.post("/query", json=BODY | {"range": {"from": T0 * 1000, "to": (T0 + 45) * 1000}})
        assert api.asked == []


def as_arguments(**more: str) -> dict[str, str]:
    span = {"from": str(round((T0 - 60) * 1000)), "to": str(round((T0 + 45) * 1000))}
    return {"target": "provider_health_score", **span, **more}


@pytest.mark.parametrize(
    ("kind", "one", "other", "expected"),
    [
        ("low", 3.0, 2.0, 2.0),
        ("high", 3.0, 2.0, 3.0),
        ("circuit", 1.0, 2.0, 1.0),
        ("circuit", 0.0, 2.0, 2.0),
        ("status", 0.0, 1.0, 0.0),
        ("status", 0.0, 3.0, 3.0),
        ("low", math.nan, 2.0, 2.0),
        ("high", 2.0, math.nan, 2.0),
    ],
)
def test_the_worse_of_two(kind: str, one: float, other: float, expected: float) -> None:
    for pair in ((one, other), (other, one)):
        assert worse(np.array(pair[:1]), np.array(pair[1:]), kind).tolist() == [expected]
