"""History kept elsewhere: a client of a Prometheus-compatible API (Prometheus, Mimir, Thanos, VictoriaMetrics).

Whoever waits for an answer is a panel, so a question has a time limit, and who asks never waits longer than that,
whatever the other side does. Identical questions are one request. A side that does not answer is left alone for a
while, so that it costs one time limit and not one a panel.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from queue import LifoQueue

import orjson
import requests
from cachetools import TLRUCache, TTLCache

from bridge.history import promql
from bridge.history.promql import Selector
from bridge.history.remote_answer import RemoteAnswer, RemoteHistoryError, read_answer
from bridge.transport import CHUNK_BYTES, Budget, TransportError, explained, open_session

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 8 * 2**20
"""Some 350,000 points, which take ten times as much memory while they are read."""
BACK_OFF_SECONDS = 10.0
KEPT_SECONDS = 60.0
"""How long an answer is good for."""
FINAL_SECONDS = 120.0
"""What is older changes no more: samples are scraped, sent on and shown late (by VictoriaMetrics 30 s), and an answer
that was kept before they came would have a hole where they are."""
KEPT_BYTES = 16 * 2**20
CONNECTIONS = 4
MOST_WAITING = 32
"""Different questions that may wait at once."""
MAX_ERROR_BYTES = 4096
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_SAID = {
    "dns": "its name does not resolve",
    "refused": "no connection could be made to it",
    "reset": "the connection to it broke",
    "tls": "no TLS connection could be made to it",
    "truncated": "its answer is cut off",
    "not_http": "its answer is not HTTP that can be read",
}
"""What a viewer is told of a TransportError: it goes out in a header, and where the other side is stays out of it."""
_ABOUT_THE_QUESTION = frozenset({400, 413, 414, 422})
"""Answers that say something of the question, and nothing of how the other side is."""


@dataclass(frozen=True, slots=True)
class _Question:
    """``path`` below the API's base, and its arguments."""

    path: str
    arguments: tuple[tuple[str, str], ...]
    end: float
    """Up to when it asks, epoch seconds."""


class _Line:
    """One connection, for one question at a time, and what the question may spend."""

    def __init__(self, timeout_seconds: float, max_bytes: int, tenant: str | None, token: str | None) -> None:
        self.budget = Budget(timeout_seconds, max_bytes)
        self.session = open_session(self.budget, HEADERS | ({"X-Scope-OrgID": tenant} if tenant else {}), token)


class RemoteHistory:
    """One worker's client. Any number of threads may ask."""

    def __init__(
        self,
        url: str,
        *,
        tenant: str | None = None,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_bytes: int = MAX_BYTES,
        back_off_seconds: float = BACK_OFF_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` gives epoch seconds: what is old enough to be final is kept."""
        self._api = f"{url}/api/v1/"
        self._token = token
        self._max_bytes = max_bytes
        self._clock = clock
        self._back_off_seconds = back_off_seconds
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="remote-history")
        self._lines: LifoQueue[_Line] = LifoQueue()
        for _ in range(CONNECTIONS):
            self._lines.put(_Line(timeout_seconds, max_bytes, tenant, token))
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        """One answer at a time is taken apart: it takes many times its bytes meanwhile."""
        self._flights: dict[_Question, Future[RemoteAnswer]] = {}
        self._kept: TLRUCache[_Question, RemoteAnswer] = TLRUCache(
            KEPT_BYTES, ttu=lambda _, __, now: now + KEPT_SECONDS, getsizeof=lambda it: it.nbytes
        )
        self._refused: TTLCache[_Question, RemoteHistoryError] = TTLCache(256, back_off_seconds)
        self._down: RemoteHistoryError | None = None
        self._down_until = 0.0
        self._answered_at = 0.0
        self._closed = False
        self.timeout_seconds = timeout_seconds

    def close(self) -> None:
        """Drop connections and threads; those in use end with their question. It cannot be asked any more."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        while not self._lines.empty():
            self._lines.get_nowait().session.close()

    def samples(self, selector: Selector, start_ms: int, end_ms: int, *, limit_seconds: float) -> RemoteAnswer:
        """The samples from ``start_ms`` to ``end_ms`` (epoch milliseconds, both included), at their own times.

        Raises RemoteHistoryError, at the latest after ``limit_seconds``.
        """
        # A millisecond more than needed, for sides that leave a range's first one out; it may bring one sample more.
        query = promql.samples(selector, end_ms - start_ms + 1)
        question = _Question("query", (("query", query), ("time", _seconds(end_ms))), end_ms / 1000)
        return self._ask(question, limit_seconds)

    def worst(
        self, selector: Selector, kind: str, start: int, end: int, step: int, *, limit_seconds: float
    ) -> RemoteAnswer:
        """For each step that ends at ``start``, ``start + step`` … ``end`` (epoch seconds), its worst sample.

        ``kind`` is a key of ``promql.WORST``. A value carries its step's end. Raises as ``samples`` does.
        """
        arguments = {"query": promql.worst(selector, kind, step), "start": start, "end": end, "step": step}
        question = _Question("query_range", tuple((name, str(value)) for name, value in arguments.items()), end)
        return self._ask(question, limit_seconds)

    def label_sets(self, selector: Selector, start: int, end: int, *, limit_seconds: float) -> RemoteAnswer:
        """Which series there are from ``start`` to ``end`` (epoch seconds), without points. Raises as above."""
        arguments = (("match[]", str(selector)), ("start", str(start)), ("end", str(end)))
        return self._ask(_Question("series", arguments, end), limit_seconds)

    def _ask(self, question: _Question, limit_seconds: float) -> RemoteAnswer:
        """The answer, from memory, from a request that is under way, or from a new one."""
        limit = min(limit_seconds, self.timeout_seconds)
        began = time.monotonic()
        with self._lock:
            kept = self._kept.get(question)
            if kept is not None:
                return kept
            known = self._refused.get(question) or (self._down if began < self._down_until else None)
            if known is not None:
                raise RemoteHistoryError(str(known), of_question=known.of_question)
            if limit <= 0:
                raise RemoteHistoryError("no time was left to ask it")
            flight = self._flights.get(question)
            if flight is None:
                if len(self._flights) >= MOST_WAITING:
                    raise RemoteHistoryError(f"{MOST_WAITING} questions wait for it already")
                flight = self._flights[question] = self._pool.submit(self._fly, question, began)
        try:
            return flight.result(limit)
        except TimeoutError:
            error = RemoteHistoryError(f"no answer within {limit:.3g} s")
        except RemoteHistoryError as failure:
            # A new one for each who waits: an exception keeps the frames of all that raised it.
            raise RemoteHistoryError(str(failure), of_question=failure.of_question) from None
        if limit >= self.timeout_seconds:
            self._failed(question, error, began)
        raise error

    def _fly(self, question: _Question, asked_at: float) -> RemoteAnswer:
        """Ask, in a thread of the pool."""
        began = time.monotonic()
        try:
            self._still_wanted(began, asked_at)
            body = self._fetch(question, waited=began - asked_at)
            with self._reading:
                answer = read_answer(body)
            with self._lock:
                self._answered_at = time.monotonic()
                final = question.end <= self._clock() - FINAL_SECONDS
                if final and not answer.warnings and answer.nbytes <= KEPT_BYTES // 4:
                    self._kept[question] = answer
            return answer
        except _Unasked:
            raise
        except RemoteHistoryError as error:
            self._failed(question, error, began)
            raise
        except Exception as error:  # noqa: BLE001  libraries fed with hostile bytes can raise anything
            # Not chained: what libraries raise can quote headers, and so the token.
            said = RemoteHistoryError(f"its answer could not be read ({type(error).__name__})")
            self._failed(question, said, began)
            raise said from None
        finally:
            with self._lock:
                self._flights.pop(question, None)

    def _still_wanted(self, now: float, asked_at: float) -> None:
        """Raise for a question that waited for a thread too long to be asked, so that newer ones get their turn."""
        with self._lock:
            if self._down is not None and now < self._down_until:
                raise _Unasked(str(self._down))
        if now - asked_at >= self.timeout_seconds:
            raise _Unasked(f"no answer within {self.timeout_seconds:.3g} s")

    def _failed(self, question: _Question, error: RemoteHistoryError, began: float) -> None:
        """Leave the other side alone for a while; only about this question, when others are answered."""
        with self._lock:
            if error.of_question or self._answered_at > began:
                self._refused[question] = error
            else:
                self._down, self._down_until = error, time.monotonic() + self._back_off_seconds

    def _fetch(self, question: _Question, *, waited: float) -> bytes:
        """The body of a 200, ``waited`` seconds of its time having passed already. Raises RemoteHistoryError."""
        line = self._lines.get()
        line.budget.start(waited=waited)
        whole = False
        try:
            body = self._asked(line, question)
            whole = True
            return body
        except RemoteHistoryError:
            raise
        except Exception as error:  # noqa: BLE001  libraries fed with hostile bytes can raise anything
            raise self._told(explained(error, line.budget)) from None
        finally:
            if not whole or self._closed:
                # What a failed fetch leaves on its connection must not be taken for the next one's answer.
                line.session.close()
            self._lines.put(line)

    def _asked(self, line: _Line, question: _Question) -> bytes:
        """As a form: a selector can be longer than an address may be."""
        url, form = self._api + question.path, list(question.arguments)
        left = line.budget.remaining()
        with contextlib.closing(
            line.session.post(url, data=form, timeout=left, stream=True, allow_redirects=False)
        ) as response:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise RemoteHistoryError("its answer is compressed, which was not asked for")
            if response.status_code != HTTPStatus.OK:
                raise self._refusal(response)
            return _body(response, self._max_bytes)

    def _refusal(self, response: requests.Response) -> RemoteHistoryError:
        """What any status but 200 means, in the other side's words where it has some."""
        status = response.status_code
        message = f"it answered {_named(status)}"
        if status in (401, 403):
            message += "; is HISTORY_TOKEN right, and HISTORY_TENANT?"
        with contextlib.suppress(Exception):  # whatever becomes of its body, the status is the answer
            said = orjson.loads(_body(response, MAX_ERROR_BYTES)).get("error")
            if isinstance(said, str) and said:
                message += f": {self._without_token(said)}"
        return RemoteHistoryError(message, of_question=status in _ABOUT_THE_QUESTION)

    def _without_token(self, said: str) -> str:
        return said.replace(self._token, "***") if self._token else said

    def _told(self, error: TransportError) -> RemoteHistoryError:
        if error.code == "too_large":
            return _too_large(self._max_bytes)
        return RemoteHistoryError(_SAID.get(error.code, f"no answer within {self.timeout_seconds:.3g} s"))


class _Unasked(RemoteHistoryError):
    """A question that was never put to the other side, and so says nothing new of it."""


def _body(response: requests.Response, max_bytes: int) -> bytes:
    """The whole body, read as it comes."""
    read = bytearray()
    for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
        read += chunk
        if len(read) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(read)


def _too_large(max_bytes: int) -> RemoteHistoryError:
    return RemoteHistoryError(f"its answer is larger than {max_bytes} bytes; ask for less", of_question=True)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
