"""Ready answers, kept as bytes: two viewers of one dashboard cost one computation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from hashlib import blake2b

from cachetools import LRUCache

from bridge.history.columns import GAP_INTERVALS
from bridge.queries.answer import Answer, Request
from bridge.queries.series import Recorded
from bridge.queries.view import View

CACHE_BYTES = 16 * 2**20
KEY_BYTES = 512
"""What an entry costs beside its bytes, roughly."""
TIED_TO_NOW = frozenset({"gateway_data_age_seconds"})
"""Metrics whose latest value changes with every second."""


class AnswerCache:
    """The latest used answers, bounded in bytes. Any number of threads may use one.

    Two keys are the same where their reprs are.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES, *, observe: Callable[[bool], None] = lambda _: None) -> None:
        """``observe`` is told of every look into the cache whether it found something."""
        self._lock = threading.Lock()
        self._entries: LRUCache[Hashable, bytes] = LRUCache(max_bytes, getsizeof=lambda it: len(it) + KEY_BYTES)
        self._observe = observe
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable) -> bytes | None:
        """The answer kept under this key, which is short: see ``short``."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
        self._observe(found is not None)
        return found

    def put(self, key: Hashable, answer: bytes) -> None:
        """Keep an answer; one larger than a quarter of the cache is not worth it."""
        if len(answer) <= self._entries.maxsize // 4:
            with self._lock:
                self._entries[key] = answer


def short(key: bytes) -> bytes:
    """A key in few bytes: what a client sends can be a thousand times as long as its answer."""
    return key if len(key) <= KEY_BYTES // 2 else blake2b(key, digest_size=16).digest()


def moment(view: View) -> Hashable | None:
    """What an answer depends on beside its request, while all is well; None when answers change with every second."""
    if view.latest is None or view.trouble:
        return None
    return view.latest.poll_id, view.now - view.latest.poll.at > GAP_INTERVALS * view.latest.poll.interval


def canonical(request: Request, view: View, recorded: Recorded | None) -> Hashable | None:
    """The key that all requests share which have the same answer; None for one that is not kept.

    Ranges that differ by less than a poll, as those of two viewers of ``now-24h`` do, hold the same polls.
    """
    now = moment(view)
    if now is None:
        return None
    by_now = recorded is None or any(one.label == "status" for one in request.filters)
    moments = now if by_now else None, None if recorded is None else recorded.extent()
    asked = request.asks, request.filters, request.notices, request.steps, *moments
    return short(repr(asked).encode())


def keepable(answers: list[Answer], view: View, recorded: Recorded | None = None) -> bool:
    """True for an answer that is made of series alone and stays right until the next poll.

    One that lacks what a remote history did not answer, or does not show yet, may be better the next time.
    """
    if recorded is not None and (recorded.troubles or not recorded.final):
        return False
    return not view.trouble and all(
        answer.table is None
        and answer.error is None
        and not any(series.metric.name in TIED_TO_NOW for series in answer.series)
        for answer in answers
    )
