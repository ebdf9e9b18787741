"""History kept elsewhere: a client of a Prometheus-compatible API (Prometheus, Mimir, Thanos, VictoriaMetrics).

Whoever waits for an answer is a panel, so a question has a time limit, and who asks never waits longer than that,
whatever the other side does. Identical questions are one request. A side that does not answer is left alone for a
while, so that it costs one time limit and not one a panel.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

import orjson
import requests
from cachetools import TLRUCache, TTLCache
from requests.adapters import HTTPAdapter

from bridge.history import promql
from bridge.history.promql import Selector
from bridge.history.remote_answer import RemoteAnswer, RemoteHistoryError, read_answer

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 8 * 2**20
"""Some 350,000 points, which take ten times as much memory while they are read."""
BACK_OFF_SECONDS = 10.0
KEPT_SECONDS = 60.0
"""How long an answer is good for. The past changes only while samples still arrive late."""
KEPT_BYTES = 16 * 2**20
CONNECTIONS = 4
MOST_WAITING = 32
"""Different questions that may wait at once."""
MAX_ERROR_BYTES = 4096
CHUNK_BYTES = 64 * 1024
USER_AGENT = "provider-health-bridge"
_ABOUT_THE_QUESTION = frozenset({400, 413, 414, 422})
"""Answers that say something of the question, and nothing of how the other side is."""


@dataclass(frozen=True, slots=True)
class _Question:
    """``path`` below the API's base, and its arguments."""

    path: str
    arguments: tuple[tuple[str, str], ...]


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
    ) -> None:
        self._api = f"{url}/api/v1/"
        self._token = token
        self._max_bytes = max_bytes
        self._back_off_seconds = back_off_seconds
        self._session = _session(tenant, token)
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="remote-history")
        self._lock = threading.Lock()
        self._flights: dict[_Question, Future[RemoteAnswer]] = {}
        self._kept: TLRUCache[_Question, RemoteAnswer] = TLRUCache(
            KEPT_BYTES, ttu=lambda _, __, now: now + KEPT_SECONDS, getsizeof=lambda it: it.nbytes
        )
        self._refused: TTLCache[_Question, RemoteHistoryError] = TTLCache(256, back_off_seconds)
        self._down: RemoteHistoryError | None = None
        self._down_until = 0.0
        self._answered_at = 0.0
        self.timeout_seconds = timeout_seconds

    def close(self) -> None:
        """Drop connections and threads. It cannot be asked any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    def samples(self, selector: Selector, start_ms: int, end_ms: int, *, limit_seconds: float) -> RemoteAnswer:
        """The samples from ``start_ms`` to ``end_ms`` (epoch milliseconds, both included), at their own times.

        Raises RemoteHistoryError, at the latest after ``limit_seconds``.
        """
        # A millisecond more than needed, for sides that leave a range's first one out; it may bring one sample more.
        query = promql.samples(selector, end_ms - start_ms + 1)
        question = _Question("query", (("query", query), ("time", _seconds(end_ms))))
        return self._ask(question, limit_seconds)

    def worst(
        self, selector: Selector, kind: str, start: int, end: int, step: int, *, limit_seconds: float
    ) -> RemoteAnswer:
        """For each step that ends at ``start``, ``start + step`` … ``end`` (epoch seconds), its worst sample.

        ``kind`` is a key of ``promql.WORST``. A value carries its step's end. Raises as ``samples`` does.
        """
        arguments = {"query": promql.worst(selector, kind, step), "start": start, "end": end, "step": step}
        question = _Question("query_range", tuple((name, str(value)) for name, value in arguments.items()))
        return self._ask(question, limit_seconds)

    def label_sets(self, selector: Selector, start: int, end: int, *, limit_seconds: float) -> RemoteAnswer:
        """Which series there are from ``start`` to ``end`` (epoch seconds), without points. Raises as above."""
        arguments = (("match[]", str(selector)), ("start", str(start)), ("end", str(end)))
        return self._ask(_Question("series", arguments), limit_seconds)

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
                flight = self._flights[question] = self._pool.submit(self._fly, question)
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

    def _fly(self, question: _Question) -> RemoteAnswer:
        """Ask, in a thread of the pool."""
        began = time.monotonic()
        try:
            answer = read_answer(self._fetch(question, began + self.timeout_seconds))
            with self._lock:
                self._answered_at = time.monotonic()
                if not answer.warnings and answer.nbytes <= KEPT_BYTES // 4:
                    self._kept[question] = answer
            return answer
        except RemoteHistoryError as error:
            self._failed(question, error, began)
            raise
        except Exception as error:  # noqa: BLE001  libraries fed with hostile bytes can raise anything
            # Not chained: what libraries raise can quote headers, and so the token.
            said = RemoteHistoryError(self._explained(error))
            self._failed(question, said, began)
            raise said from None
        finally:
            with self._lock:
                self._flights.pop(question, None)

    def _failed(self, question: _Question, error: RemoteHistoryError, began: float) -> None:
        """Leave the other side alone for a while; only about this question, when others are answered."""
        with self._lock:
            if error.of_question or self._answered_at > began:
                self._refused[question] = error
            else:
                self._down, self._down_until = error, time.monotonic() + self._back_off_seconds

    def _fetch(self, question: _Question, deadline: float) -> bytes:
        """The body of a 200. As a form: a selector can be longer than an address may be."""
        response = self._session.post(
            self._api + question.path,
            data=list(question.arguments),
            timeout=self.timeout_seconds,
            stream=True,
            allow_redirects=False,
        )
        with contextlib.closing(response):
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise RemoteHistoryError("its answer is compressed, which was not asked for")
            if response.status_code != HTTPStatus.OK:
                raise self._refusal(response, deadline)
            return _body(response, self._max_bytes, deadline)

    def _refusal(self, response: requests.Response, deadline: float) -> RemoteHistoryError:
        """What any status but 200 means, in the other side's words where it has some."""
        status = response.status_code
        message = f"it answered {_named(status)}"
        if status in (401, 403):
            message += "; is HISTORY_TOKEN right, and HISTORY_TENANT?"
        with contextlib.suppress(RemoteHistoryError, ValueError, AttributeError):
            said = orjson.loads(_body(response, MAX_ERROR_BYTES, deadline)).get("error")
            if isinstance(said, str) and said:
                message += f": {self._without_token(said)}"
        return RemoteHistoryError(message, of_question=status in _ABOUT_THE_QUESTION)

    def _without_token(self, said: str) -> str:
        return said.replace(self._token, "***") if self._token else said

    def _explained(self, error: Exception) -> str:
        """A library's exception in a few words that hold no secret."""
        if isinstance(error, requests.exceptions.Timeout | TimeoutError):
            return f"no answer within {self.timeout_seconds:.3g} s"
        if isinstance(error, requests.exceptions.SSLError):
            return "no TLS connection could be made to it"
        if isinstance(error, requests.exceptions.ConnectionError):
            return "no connection could be made to it, or it broke"
        return f"its answer could not be read ({type(error).__name__})"


class _Session(requests.Session):
    """A session that leaves redirects alone: they would carry the tenant, and read bodies of any size."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Nowhere."""
        return None


def _session(tenant: str | None, token: str | None) -> _Session:
    session = _Session()
    # Nothing is taken from the environment: a ~/.netrc must not replace the token, and a proxy must not receive it.
    session.trust_env = False
    session.headers.update(
        {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        | ({"X-Scope-OrgID": tenant} if tenant else {})
        | ({"Authorization": f"Bearer {token}"} if token else {})
    )
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _body(response: requests.Response, max_bytes: int, deadline: float) -> bytes:
    """The whole body, read as it comes: a library's own reading starts its time limit anew with every byte."""
    read = bytearray()
    while True:
        if time.monotonic() > deadline:
            raise RemoteHistoryError("its answer did not end in time")
        chunk = response.raw.read1(CHUNK_BYTES)
        if not chunk:
            return bytes(read)
        read += chunk
        if len(read) > max_bytes:
            raise RemoteHistoryError(f"its answer is larger than {max_bytes} bytes; ask for less", of_question=True)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
