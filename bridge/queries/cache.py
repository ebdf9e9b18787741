"""Ready answers: two viewers of one dashboard cost one computation, whether they ask at once or one after the other."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

from cachetools import LRUCache

from bridge.queries.admission import Admission, BusyError
from bridge.queries.answer import Answer, Request
from bridge.queries.series import Recorded
from bridge.queries.view import View

CACHE_BYTES = 24 * 2**20
MOST_ALIASES = 10_000
KEY_BYTES = 512
"""What an entry costs beside its bytes, roughly."""
LONGEST_FLIGHT_SECONDS = 5.0
"""How long those wait who ask for what is being made: a turn's wait and a budget's time, and something to spare."""
TIED_TO_NOW = frozenset({"gateway_data_age_seconds"})
"""Metrics whose latest value changes with every second."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, and what it takes."""

    answer: Any
    size: int


class AnswerCache:
    """The latest used answers, bounded in bytes. Any number of threads may use one.

    Two keys are the same where their reprs are.
    """

    def __init__(
        self,
        max_bytes: int = CACHE_BYTES,
        *,
        admission: Admission | None = None,
        observe: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """``observe`` is told of every look into the cache whether it found something."""
        self._lock = threading.Lock()
        self._entries: LRUCache[Hashable, _Kept] = LRUCache(max_bytes, getsizeof=lambda it: it.size + KEY_BYTES)
        self._aliases: LRUCache[Hashable, tuple[Hashable, float]] = LRUCache(MOST_ALIASES)
        self._flights: dict[Hashable, Future[tuple[Any, bool]]] = {}
        self._admission = admission or Admission()
        self._observe = observe

    @property
    def held_bytes(self) -> int:
        """What all kept answers take."""
        with self._lock:
            return int(self._entries.currsize)

    def once(self, key: Hashable, make: Callable[[], tuple[T, bool]], size: Callable[[T], int]) -> tuple[T, bool]:
        """The answer of this key (which is short: see ``short``), and whether it is kept.

        ``make`` gives both where there is none, and ``size`` the answer's bytes. It is called by one of those who ask
        at once; the others wait, and get the same, be it an exception. Raises BusyError where that takes too long.
        """
        with self._lock:
            kept = self._entries.get(key)
            flight = self._flights.get(key)
            if kept is None and flight is None:
                own = self._flights[key] = Future()
        self._observe(kept is not None)
        if kept is not None:
            return kept.answer, True
        if flight is not None:
            return self._awaited(flight)
        try:
            answer, keep = make()
        except BaseException as error:
            with self._lock:
                del self._flights[key]
            own.set_exception(error)
            raise
        with self._lock:
            if keep and size(answer) + KEY_BYTES <= self._entries.maxsize:
                self._entries[key] = _Kept(answer, size(answer))
            del self._flights[key]
        own.set_result((answer, keep))
        return answer, keep

    def _awaited(self, flight: Future[tuple[Any, bool]]) -> tuple[Any, bool]:
        with self._admission.waiter():
            try:
                return flight.result(LONGEST_FLIGHT_SECONDS)
            except TimeoutError:
                raise BusyError("the same is being made for another request") from None

    def call(self, alias: Hashable, key: Hashable, until: float) -> None:
        """Remember that what is kept under ``key`` is the answer to ``alias`` as well, ``until`` a time."""
        with self._lock:
            self._aliases[alias] = key, until

    def called(self, alias: Hashable, now: float) -> Any | None:
        """The answer that goes by this alias; None where none is kept."""
        with self._lock:
            key, until = self._aliases.get(alias, (None, -math.inf))
            kept = self._entries.get(key) if now < until else None
        self._observe(kept is not None)
        return None if kept is None else kept.answer


def short(key: bytes) -> bytes:
    """A key in few bytes: what a client sends can be a thousand times as long as its answer."""
    return key if len(key) <= KEY_BYTES // 2 else blake2b(key, digest_size=16).digest()


def moment(view: View) -> Hashable | None:
    """What current values depend on; None before the first poll.

    Data turns stale without any poll, so the clock of the request has its say.
    """
    latest = view.latest
    if latest is None:
        return None
    return latest.poll_id, latest.poll.at, latest.failing_since, view.stale, view.gateway_up


def canonical(request: Request, view: View, recorded: Recorded | None) -> Hashable | None:
    """The key that all requests share which have the same answer; None for one that is not kept.

    Ranges that differ by less than a poll, as those of two viewers of ``now-24h`` do, hold the same polls. What ends
    in the request's own time, as everything current does while the data is stale, is no one else's answer.
    """
    now = moment(view)
    if now is None or (view.stale and (recorded is None or recorded.ends_now)):
        return None
    by_now = recorded is None or recorded.reaches_now or any(one.label == "status" for one in request.filters)
    moments = now if by_now else None, None if recorded is None else recorded.extent()
    asked = request.asks, request.filters, request.notices, request.steps, *moments
    return short(repr(asked).encode())


def holds_until(view: View, recorded: Recorded | None) -> float:
    """When an answer ends to be right though there is no new poll: its range no longer reaches now."""
    if recorded is None or not recorded.reaches_now:
        return math.inf
    return recorded.end + view.stale_after_seconds


def keepable(answers: list[Answer], recorded: Recorded | None = None) -> bool:
    """True for an answer that is made of series alone and stays right as long as its key.

    One that lacks what a remote history did not answer, or does not show yet, may be better the next time.
    """
    if recorded is not None and (recorded.troubles or not recorded.final):
        return False
    reaches_now = recorded is None or recorded.reaches_now
    return all(
        answer.table is None
        and answer.error is None
        and (reaches_now or not answer.passing)
        and not any(series.metric.name in TIED_TO_NOW for series in answer.series)
        for answer in answers
    )
