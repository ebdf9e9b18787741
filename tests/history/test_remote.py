"""The client of a remote history: what it asks, what it believes, and that nobody waits for it long."""

from __future__ import annotations

import math
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.history import promql
from bridge.history.promql import Selector
from bridge.history.remote import CONNECTIONS, FINAL_SECONDS, RemoteHistory
from bridge.history.remote_answer import MAX_SERIES, RemoteAnswer, RemoteHistoryError, read_answer
from tests.gateway.hostile import (
    Answer,
    answer,
    chunk,
    drip,
    forever,
    gateway,
    head,
    then_close,
    then_hang,
    then_reset,
)
from tests.history.api import Api, Asked, Reply, body, matrix, serving, success

T0_MS = 1_800_000_000_000
LATER = T0_MS / 1000 + 10 * FINAL_SECONDS
"""When all that is asked for is old enough to be final."""
SCORES = Selector("provider_health_score")
OPENAI = {"__name__": "provider_health_score", "provider": "openai", "job": "bridge"}
POINTS = [(1_800_000_000.123, "98.5"), (1_800_000_015.123, "97")]
Made = Callable[..., tuple[Api, RemoteHistory]]


@pytest.fixture
def made() -> Iterator[Made]:
    """A server with this answer, and a client of it: ``made(answer, token="…")``."""
    with ExitStack() as stack:

        def make(answer: Callable[[Asked], Reply] | Reply, **options: Any) -> tuple[Api, RemoteHistory]:
            api = stack.enter_context(serving(answer if callable(answer) else lambda _: answer))
            remote = RemoteHistory(api.url, **{"timeout_seconds": 1.0, "clock": lambda: LATER, **options})
            stack.callback(remote.close)
            stack.callback(api.over.set)
            return api, remote

        yield make


def ask(remote: RemoteHistory, selector: Selector = SCORES, *, end_ms: int = T0_MS + 60_000) -> RemoteAnswer:
    return remote.samples(selector, T0_MS, end_ms, limit_seconds=10.0)


def refusal(remote: RemoteHistory, **more: Any) -> str:
    with pytest.raises(RemoteHistoryError) as caught:
        ask(remote, **more)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) <= 300
    return said


class TestAsking:
    def test_samples_are_asked_for_with_their_own_times(self, made: Made) -> None:
        api, remote = made(matrix((OPENAI, POINTS)))
        [series] = ask(remote).series
        assert series.labels == OPENAI
        assert series.times.tolist() == [1_800_000_000.123, 1_800_000_015.123]
        assert series.values.tolist() == [98.5, 97.0]
        assert api.questions("query") == [{"query": "provider_health_score{}[60001ms]", "time": "1800000060.000"}]

    def test_a_long_range_is_asked_for_by_the_worst_of_each_step(self, made: Made) -> None:
        api, remote = made(matrix((OPENAI, POINTS)))
        remote.worst(SCORES, "low", 1_800_000_000, 1_800_086_400, 3600, limit_seconds=10.0)
        [asked] = api.questions("query_range")
        assert asked == {
            "query": "min_over_time(provider_health_score{}[3600s])",
            "start": "1800000000",
            "end": "1800086400",
            "step": "3600",
        }

    def test_tenant_and_token_are_sent_and_nothing_else_of_this_machine(self, made: Made) -> None:
        api, remote = made(matrix(), tenant="team-a", token="hush")
        ask(remote)
        [asked] = api.asked
        assert asked.headers["X-Scope-OrgID"] == "team-a"
        assert asked.headers["Authorization"] == "Bearer hush"
        assert "Cookie" not in asked.headers

    def test_without_them_neither_is(self, made: Made) -> None:
        api, remote = made(matrix())
        ask(remote)
        assert not {"X-Scope-OrgID", "Authorization"} & api.asked[0].headers.keys()

    def test_a_redirect_is_not_followed(self, made: Made) -> None:
        api, remote = made(body(b"", 307, Location="/elsewhere"))
        assert "307 Temporary Redirect" in refusal(remote)
        assert len(api.asked) == 1

    def test_the_same_question_is_not_asked_twice(self, made: Made) -> None:
        api, remote = made(matrix((OPENAI, POINTS)))
        assert ask(remote) is ask(remote)
        ask(remote, end_ms=T0_MS + 120_000)
        assert len(api.asked) == 2

    def test_what_late_samples_may_still_change_is_asked_again(self, made: Made) -> None:
        now = T0_MS / 1000 + 60 + FINAL_SECONDS - 1
        api, remote = made(matrix((OPENAI, POINTS)), clock=lambda: now)
        for _ in range(2):
            ask(remote)
        assert len(api.asked) == 2
        now += 1
        for _ in range(2):
            ask(remote)
        assert len(api.asked) == 3

    def test_the_same_question_of_many_at_once_is_one_request(self, made: Made) -> None:
        def slowly(_: Asked) -> Reply:
            time.sleep(0.3)
            return matrix((OPENAI, POINTS))

        api, remote = made(slowly)
        with ThreadPoolExecutor(16) as threads:
            found = list(threads.map(lambda _: ask(remote).series[0].values[0], range(16)))
        assert found == [98.5] * 16
        assert len(api.asked) == 1


class TestReading:
    @pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "Inf", "1e999"])
    def test_what_is_no_number_is_not_known(self, made: Made, text: str) -> None:
        _, remote = made(matrix((OPENAI, [(1.0, "5"), (2.0, text)])))
        values = ask(remote).series[0].values
        assert values[0] == 5.0
        assert math.isnan(values[1])

    def test_no_series_is_an_answer(self, made: Made) -> None:
        _, remote = made(matrix())
        assert ask(remote).series == []

    def test_warnings_are_handed_on_and_such_an_answer_is_not_kept(self, made: Made) -> None:
        api, remote = made(matrix((OPENAI, POINTS), warnings=["a store\nis down"]))
        assert ask(remote).warnings == ("a store\\nis down",)
        ask(remote)
        assert len(api.asked) == 2

    @pytest.mark.parametrize(
        "reply",
        [
            body(b"<html>Sign in</html>"),
            body(b""),
            body(b"[" * 100_000),
            body(b"null"),
            body(b"[]"),
            body(b"{}"),
            body(b'{"status":"success"}'),
            body(b'{"status":"success","data":{}}'),
            body(b'{"status":"success","data":{"resultType":"vector","result":[]}}'),
            body(b'{"status":"success","data":{"resultType":"matrix","result":null}}'),
            body(b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}}]}}'),
            body(b'{"status":"success","data":[7]}'),
            body(b'{"status":"success","warnings":7,"data":[]}'),
            body(b'{"status":"error","error":"no"}'),
            success({"resultType": "matrix", "result": [{"metric": {"a": 1}, "values": []}]}),
            matrix((OPENAI, [(1.0, "soon")])),
            matrix((OPENAI, [(1.0, "1", "2")])),  # type: ignore[list-item]
            matrix((OPENAI, [(2.0, "1"), (1.0, "1")])),
            matrix((OPENAI, [(1.0, "1"), (1.0, "1")])),
            body(b'{"status":"success","data":{"resultType":"matrix","result":[]}}', **{"Content-Encoding": "gzip"}),
        ],
    )
    def test_nonsense_is_no_answer(self, made: Made, reply: Reply) -> None:
        _, remote = made(reply)
        assert "answer" in refusal(remote)

    @given(st.binary(max_size=200))
    def test_whatever_the_bytes_they_are_an_answer_or_an_error(self, content: bytes) -> None:
        for data in (content, b'{"status":"success","data":' + content + b"}"):
            try:
                read_answer(data)
            except RemoteHistoryError as error:
                assert str(error).isprintable()

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 502, 503])
    def test_a_refusal_names_its_status_and_reason_but_no_secret(self, made: Made, status: int) -> None:
        reply = body(b'{"status":"error","errorType":"bad_data","error":"too\\nmany for hush-hush"}', status)
        _, remote = made(reply, token="hush-hush")
        said = refusal(remote)
        assert said.startswith(f"it answered {status} ")
        assert "too\\nmany for ***" in said
        assert "hush" not in said

    def test_an_answer_that_is_too_large_is_given_up(self, made: Made) -> None:
        _, remote = made(Reply([b" " * 65_536] * 64), max_bytes=100_000)
        assert "larger than 100000 bytes" in refusal(remote)


class TestWaiting:
    def test_one_that_hangs_is_waited_for_as_long_as_allowed(self, made: Made) -> None:
        api, remote = made(lambda asked: api.hang(asked), timeout_seconds=0.4)
        began = time.monotonic()
        assert refusal(remote) == "no answer within 0.4 s"
        assert time.monotonic() - began < 1.0

    def test_the_one_who_asks_may_allow_less(self, made: Made) -> None:
        api, remote = made(lambda asked: api.hang(asked), timeout_seconds=5.0)
        began = time.monotonic()
        with pytest.raises(RemoteHistoryError, match=r"no answer within 0\.2 s"):
            remote.samples(SCORES, T0_MS, T0_MS + 1, limit_seconds=0.2)
        with pytest.raises(RemoteHistoryError, match="no time was left"):
            remote.samples(SCORES, T0_MS, T0_MS + 2, limit_seconds=-1.0)
        assert time.monotonic() - began < 1.0

    def test_a_body_that_drips_is_given_up_in_time(self, made: Made) -> None:
        _, remote = made(Reply([b" "] * 100, pause=0.05), timeout_seconds=0.4)
        began = time.monotonic()
        refusal(remote)
        assert time.monotonic() - began < 1.0

    def test_nobody_listens(self) -> None:
        remote = RemoteHistory("http://127.0.0.1:1", timeout_seconds=1.0)
        assert "no connection could be made" in refusal(remote)
        remote.close()

    def test_one_that_is_down_is_left_alone_for_a_while_and_then_asked_again(self, made: Made) -> None:
        replies = [body(b"", 503), matrix((OPENAI, POINTS))]
        api, remote = made(lambda _: replies[min(len(api.asked) - 1, 1)], back_off_seconds=0.5)
        assert "503" in refusal(remote)
        for end_ms in range(T0_MS + 1, T0_MS + 20):
            assert "503" in refusal(remote, end_ms=end_ms)
        assert len(api.asked) == 1
        time.sleep(0.6)
        assert len(ask(remote).series) == 1

    def test_a_question_that_is_refused_does_not_stop_others(self, made: Made) -> None:
        def picky(asked: Asked) -> Reply:
            bad = asked.arguments["time"].endswith("1.000")
            return body(b'{"status":"error","error":"too long"}', 422) if bad else matrix((OPENAI, POINTS))

        api, remote = made(picky)
        for _ in range(3):
            assert "422" in refusal(remote, end_ms=T0_MS + 1_000)
        assert len(api.asked) == 1, "it is asked again at once"
        assert len(ask(remote, end_ms=T0_MS + 2_000).series) == 1

    def test_a_slow_question_does_not_stop_others_that_are_answered(self, made: Made) -> None:
        def one_is_slow(asked: Asked) -> Reply:
            return api.hang(asked) if asked.arguments["time"].endswith("1.000") else matrix((OPENAI, POINTS))

        api, remote = made(one_is_slow, timeout_seconds=0.6)
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(refusal, remote, end_ms=T0_MS + 1_000)
            time.sleep(0.2)
            assert len(ask(remote, end_ms=T0_MS + 2_000).series) == 1
            assert "no answer" in slow.result()
        assert len(ask(remote, end_ms=T0_MS + 3_000).series) == 1

    def test_too_many_different_questions_do_not_queue_up(self, made: Made) -> None:
        api, remote = made(lambda asked: api.hang(asked), timeout_seconds=0.8)
        began = time.monotonic()
        with ThreadPoolExecutor(50) as threads:
            said = list(threads.map(lambda n: refusal(remote, end_ms=T0_MS + n), range(50)))
        assert sum("wait for it already" in one for one in said) >= 18
        assert time.monotonic() - began < 2.0


ANSWER = answer(200, matrix((OPENAI, POINTS)).chunks[0])
SLOW_HEADERS = drip(b"", b"HTTP/1.1 200 OK\r\n" + b"X-Header: y\r\n" * 50)


def many(remote: RemoteHistory, count: int, first_ms: int = T0_MS) -> list[str]:
    """What is said to so many different questions at once."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda n: refusal(remote, end_ms=first_ms + n), range(1, count + 1)))


def held() -> int:
    """Threads of a remote history that are at work."""
    stacks = sys._current_frames()
    ours = [one for one in threading.enumerate() if one.name.startswith("remote-history")]
    return sum(frame.f_code.co_name != "_worker" for one in ours if (frame := stacks.get(one.ident or 0)))


class TestASideThatMisbehavesAndRecovers:
    @pytest.mark.parametrize(
        ("sent", "options"),
        [
            pytest.param(SLOW_HEADERS, {}, id="headers-drip"),
            pytest.param(drip(head(200, "Content-Length: 1000"), b" " * 1000), {}, id="body-drips"),
            pytest.param(drip(head(200, "Transfer-Encoding: chunked"), b"1\r\n \r\n" * 200), {}, id="chunks-drip"),
            pytest.param(drip(head(503, "Content-Length: 1000"), b" " * 1000), {}, id="body-of-a-refusal-drips"),
            pytest.param(forever(b"", head(100)), {}, id="endless-100-continue"),
            pytest.param(then_hang(b""), {"speaks_first": True}, id="tls-stalls"),
            pytest.param(drip(b"", b"\x16\x03\x03\x40\x00\x02" + b"\0" * 500), {"speaks_first": True}, id="tls-drips"),
        ],
    )
    def test_the_next_question_is_answered_once_it_is_well_and_no_thread_is_held(
        self, sent: Answer, options: dict[str, bool]
    ) -> None:
        scheme = "https" if options else "http"
        with gateway(sent, **options) as server:
            url = f"{scheme}://127.0.0.1:{server.port}"
            remote = RemoteHistory(url, timeout_seconds=0.4, back_off_seconds=0.3)
            began = time.monotonic()
            many(remote, 20)
            assert time.monotonic() - began < 0.4 + 0.6
            time.sleep(0.6)
            assert held() == 0
            server.answers_now(ANSWER, speaks_first=False)
            remote._api = remote._api.replace("https", "http")
            assert len(ask(remote).series) == 1
            remote.close()

    def test_a_question_that_waited_too_long_for_its_turn_is_not_asked(self) -> None:
        with gateway(then_hang(b"")) as server:
            remote = RemoteHistory(server.url, timeout_seconds=0.4, back_off_seconds=5.0)
            many(remote, 20)
            time.sleep(0.6)
            assert len(server.requests) <= CONNECTIONS
            remote.close()

    def test_a_name_that_does_not_resolve_for_long_holds_threads_no_longer_than_that(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, resolves = socket.getaddrinfo, threading.Event()

        def hangs(*args: Any, **options: Any) -> Any:
            resolves.wait(5)
            return real(*args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", hangs)
        with gateway(ANSWER) as server:
            remote = RemoteHistory(server.url, timeout_seconds=0.4, back_off_seconds=0.2)
            assert set(many(remote, 8)) == {"no answer within 0.4 s"}
            assert held() == CONNECTIONS
            resolves.set()
            time.sleep(0.3)
            assert held() == 0
            assert server.requests == [], "time that resolving took was given again"
            assert len(ask(remote).series) == 1
            remote.close()

    def test_what_a_failed_answer_left_behind_is_not_taken_for_the_next_one(self) -> None:
        with gateway(answer(503, b"{}") + answer(200, b"{}"), ANSWER) as server:
            remote = RemoteHistory(server.url, timeout_seconds=0.4, back_off_seconds=0.0)
            assert "503" in refusal(remote)
            assert len(ask(remote).series) == 1
            assert server.connections == 2
            remote.close()

    def test_a_good_connection_serves_the_next_question(self) -> None:
        with gateway(ANSWER) as server:
            remote = RemoteHistory(server.url, timeout_seconds=1.0)
            for n in range(5):
                ask(remote, end_ms=T0_MS + n)
            assert server.connections == 1
            remote.close()

    @pytest.mark.parametrize(
        ("sent", "said"),
        [
            pytest.param(then_close(b""), "the connection to it broke", id="closed"),
            pytest.param(then_reset(b""), "the connection to it broke", id="reset"),
            pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "its answer is not HTTP that can be read", id="not-http"),
            pytest.param(then_close(head(200, "Content-Length: 99") + b"{}"), "its answer is cut off", id="cut-off"),
            pytest.param(then_close(head(200) + ANSWER[-200:-20]), "its answer is not JSON", id="close-delimited"),
        ],
    )
    def test_each_way_to_fail_has_its_words(self, sent: Answer, said: str) -> None:
        with gateway(sent) as server:
            remote = RemoteHistory(server.url, timeout_seconds=1.0, token="hush")
            assert said in refusal(remote)
            remote.close()

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(forever(head(200), b" " * 65536), id="endless-body"),
            pytest.param(forever(head(200, "Transfer-Encoding: chunked"), chunk(b" " * 65536)), id="endless-chunks"),
            pytest.param(
                forever(head(200, "Transfer-Encoding: chunked") + b"-1\r\n", b"x" * 65536), id="negative-chunk"
            ),
            pytest.param(forever(b"HTTP/1.1 200 OK\r\n", b"X-Header: y\r\n" * 40), id="endless-headers"),
            pytest.param(answer(200, b"[" + b"{}," * 300_000 + b"{}]"), id="more-objects-than-bytes-allow"),
        ],
    )
    def test_an_endless_or_exploding_answer_is_refused_quickly_in_little_memory(self, sent: Answer) -> None:
        with gateway(sent) as server:
            remote = RemoteHistory(server.url, timeout_seconds=8.0, max_bytes=1_000_000)
            tracemalloc.start()
            began = time.monotonic()
            refusal(remote)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert time.monotonic() - began < 3
            assert peak < 40_000_000
            remote.close()

    def test_an_answer_of_values_that_weigh_many_times_their_text_is_not_taken_apart(self) -> None:
        with pytest.raises(RemoteHistoryError, match="1000000 values") as caught:
            read_answer(b'{"status":"success","data":[' + b"{}," * 1_000_001 + b"{}]}")
        assert caught.value.of_question

    @pytest.mark.parametrize("data", ["[%s]", '{"resultType":"matrix","result":[%s]}'])
    def test_an_answer_of_too_many_series_is_not_taken_apart(self, data: str) -> None:
        many_series = ",".join(['{"metric":{},"values":[]}'] * (MAX_SERIES + 1))
        with pytest.raises(RemoteHistoryError, match="20000 series") as caught:
            read_answer(f'{{"status":"success","data":{data % many_series}}}'.encode())
        assert caught.value.of_question

    def test_long_labels_weigh_what_they_are(self) -> None:
        reply = matrix(({"provider": "x" * 1_000_000}, POINTS))
        assert read_answer(reply.chunks[0]).nbytes > 1_000_000


class TestPromql:
    @pytest.mark.parametrize(
        ("operator", "value", "text"),
        [
            ("=", "openai", '"openai"'),
            ("!=", 'a"b', '"a\\"b"'),
            ("=", "a\\b\n", '"a\\\\b\\n"'),
            ("=", "gpt-4.1", '"gpt-4.1"'),
            ("=~", "openai|groq", '"openai|groq"'),
            ("=~", r"gpt-4\.1|x.*", r'"(?s:gpt-4\\.1|x.*)"'),
            ("=", '"} or vector(1) #', '"\\"} or vector(1) #"'),
        ],
    )
    def test_a_value_stays_inside_its_quotes(self, operator: str, value: str, text: str) -> None:
        selector = Selector("provider_status", (("provider", operator, value),))
        assert str(selector) == f"provider_status{{provider{operator}{text}}}"

    @pytest.mark.parametrize(
        ("metric", "label", "operator"),
        [
            ("a b", "x", "="),
            ("", "x", "="),
            ("a{", "x", "="),
            ("a", "x y", "="),
            ("a", "", "="),
            ("a", "x", "=="),
            ("a", "é", "="),
        ],
    )
    def test_what_is_no_name_or_operator_is_refused(self, metric: str, label: str, operator: str) -> None:
        with pytest.raises(ValueError, match="not a selector"):
            Selector(metric, ((label, operator, "v"),))

    @pytest.mark.parametrize("samples", [[0, 0], [2, 0], [0, 2, 1], [1, 1, 1], [2, 2], [0, 1, 2, 2, 2, 0]])
    def test_the_open_circuits_formula_counts_the_ones(self, samples: list[int]) -> None:
        array = np.array(samples, dtype=np.float64)
        count = (2 * array.mean() - array.var() - array.mean() ** 2) * len(array)
        assert count == pytest.approx(samples.count(1))
        assert "2 * avg_over_time(x[60s]) - stdvar_over_time" in promql.WORST["circuit"].format("x[60s]")
