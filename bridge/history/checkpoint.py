"""What a restart goes on from: the memory of the last good poll, and the counters of the polls its windows span.

Counters go down poll by poll, as arrays: a poll's own, and behind them what it added to each key (see ``Step``), which
the counters alone do not tell where series were missing. Whose they are says a layout that is stored once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
from isal import isal_zlib as zlib

from bridge.health.breaker import Derivation
from bridge.health.incidents import Watch
from bridge.health.memory import Memory
from bridge.health.recent import RecentTraffic, Step
from bridge.health.series_index import SeriesIndex
from bridge.health.windows import LastValue, Window
from bridge.history import codec
from bridge.history.database import Database
from bridge.model import CircuitState, CounterId, Counters, Floats, Key, Learnt, Moment, Named, Sight, Status
from bridge.policy import RATE_WINDOW_SECONDS

_BEFORE_THEM: dict[str, Any] = {
    "moment": None,
    "window_seconds": RATE_WINDOW_SECONDS,
    "recent_from": None,
    "past": [],
    "quiet": [],
    "forgotten": [0, None],
    "falls": [],
    "clock_set": None,
    "units": {},
    "dialects": [],
    "last_success": {},
    "watch": {},
}
"""What a checkpoint did not hold before it held these."""
_NONE: Mapping[str, Any] = MappingProxyType({})
Row = tuple[float, tuple[CounterId, ...], Floats]
"""A poll's time (steady), whose counters it has, and the arrays one behind another."""


class CounterLayouts:
    """The layouts of counters, each written down once. Not thread-safe."""

    def __init__(self) -> None:
        self._written: tuple[tuple[CounterId, ...], int] | None = None

    @contextmanager
    def kept_if_written(self) -> Iterator[None]:
        """Around a transaction: what one that is rolled back wrote down is not there."""
        try:
            yield
        except BaseException:
            self._written = None
            raise

    def number(self, connection: sqlite3.Connection, database: Database, ids: tuple[CounterId, ...]) -> int:
        """The number of these counters' layout, stored if it is new."""
        if self._written is None or self._written[0] is not ids:
            layout = database.layout_id(connection, orjson.dumps(ids, default=codec.plain))
            self._written = ids, layout
        return self._written[1]


def write(connection: sqlite3.Connection, database: Database, layouts: CounterLayouts, poll: int, it: Memory) -> bytes:
    """Write a poll's counters down, and take away those that no window spans any more; the memory without them."""
    at, steady = it.moment or Moment(0.0, 0.0)
    layout = layouts.number(connection, database, it.counters.ids)
    connection.execute(
        "INSERT INTO counters (poll, at, steady, layout, numbers) VALUES (?, ?, ?, ?, ?)",
        (poll, at, steady, layout, codec.pack(_numbers(it))),
    )
    oldest = min([steady, *it.window.times[:1], *(step.end for step in it.recent.steps[:1])])
    connection.execute("DELETE FROM counters WHERE coalesce(steady, at) < ?", (oldest,))
    return dump(it)


def read(database: Database) -> Memory:
    """What the next poll needs to go on where the last one stood; an empty memory for an empty log.

    Raises one of ``codec.CORRUPT`` for what was not written so.
    """
    connection = database.connection()
    row = connection.execute("SELECT memory FROM latest").fetchone()
    if row is None or row[0] is None:
        return Memory()
    rows = connection.execute("SELECT coalesce(steady, at), layout, numbers FROM counters ORDER BY poll")
    known: dict[int, tuple[CounterId, ...]] = {}

    def counted() -> Iterable[Row]:
        for steady, layout, numbers in rows:
            if layout not in known:  # read once: with thousands of series it is larger than a poll
                [content] = connection.execute("SELECT content FROM layouts WHERE id = ?", (layout,)).fetchone()
                known[layout] = tuple(CounterId(*fields) for fields in orjson.loads(content))
            yield steady, known[layout], codec.unpack(numbers)

    return load(row[0], counted())


def _numbers(memory: Memory) -> Floats:
    """A poll's counters, and behind them what it added to each of their keys: since when, successes, failures."""
    if not memory.recent.steps:
        return memory.counters.numbers
    step, keys = memory.recent.steps[-1], _keys(memory.counters.ids, memory.window.index)
    if keys is memory.window.index.keys:
        return np.concatenate((memory.counters.numbers, step.begins, step.successes, step.failures))
    places = np.array([memory.window.index.place_of_key[key] for key in keys], dtype=np.int64)
    added = (step.begins[places], step.successes[places], step.failures[places])
    return np.concatenate((memory.counters.numbers, *added))


def _keys(ids: tuple[CounterId, ...], index: SeriesIndex) -> tuple[Key, ...]:
    return index.keys if len(index.ids) == len(ids) else SeriesIndex(ids).keys


def dump(memory: Memory) -> bytes:
    """A memory without the polls of its windows."""
    window = memory.window
    quiet = np.flatnonzero(~np.isnan(window.last) & (window.seen < (window.times[0] if window.times else 0.0)))
    content = {
        "moment": memory.moment,
        "window_seconds": window.seconds,
        "recent_from": memory.recent.steps[0].end if memory.recent.steps else None,
        "past": [[*counter, *last] for counter, last in window.past.items()],
        "quiet": [[*window.ids[it], float(window.last[it]), float(window.seen[it])] for it in quiet.tolist()],
        "forgotten": [window.forgotten, window.forgotten_at],
        "falls": memory.falls,
        "clock_set": memory.clock_set,
        "circuits": list(memory.circuits.values()),
        "reported": [[*key, state] for key, state in memory.reported.items()],
        "derivations": [[*key, derivation] for key, derivation in memory.derivations.items()],
        "unreported": [[*key, count] for key, count in memory.unreported.items()],
        "absences": memory.absences,
        "families": {family: sorted(providers) for family, providers in memory.families.items()},
        "lost_families": memory.lost_families,
        "disbelieved": memory.disbelieved,
        "names": memory.learnt.names,
        "units": memory.learnt.units,
        "dialects": memory.learnt.dialects,
        "statuses": {provider: list(entry) for provider, entry in memory.statuses.items()},
        "last_success": memory.last_success,
        "watch": _dump_watch(memory.watch),
    }
    return zlib.compress(orjson.dumps(content, default=codec.plain), level=1)


def load(data: bytes, rows: Iterable[Row]) -> Memory:
    """The memory that was stored, with windows over these polls, oldest first. One of schema 1 knew less."""
    content = _BEFORE_THEM | orjson.loads(zlib.decompress(data))
    if "at" in content and content["moment"] is None:
        content["moment"] = [content["at"], content["at"]]
    circuits = [codec.load_circuit(fields) for fields in content["circuits"]]
    window, recent, counters = _windows(content["window_seconds"], rows)
    return Memory(
        moment=None if content["moment"] is None else Moment(*content["moment"]),
        counters=counters,
        window=_completed(window, content),
        recent=recent.since(content["recent_from"] or 0.0),
        falls=tuple(content["falls"]),
        clock_set=None if content["clock_set"] is None else tuple(content["clock_set"]),
        circuits={circuit.key: circuit for circuit in circuits},
        reported={Key(provider, model): CircuitState(state) for provider, model, state in content["reported"]},
        derivations={
            Key(provider, model): codec.known(Derivation, it) for provider, model, it in content["derivations"]
        },
        unreported={Key(provider, model): count for provider, model, count in content["unreported"]},
        absences=content["absences"],
        families={family: frozenset(providers) for family, providers in content["families"].items()},
        lost_families=content["lost_families"],
        disbelieved=content["disbelieved"],
        learnt=Learnt(
            names=tuple(_named(*fields) for fields in content["names"]),
            units=content["units"],
            dialects=tuple(content["dialects"]),
        ),
        statuses={provider: (Status(status), since) for provider, (status, since) in content["statuses"].items()},
        last_success=content["last_success"],
        watch=_load_watch(**content["watch"]),
    )


def _dump_watch(watch: Watch) -> dict[str, Any]:
    """What the next poll goes on from. The rest of it is of its own poll alone."""
    return {
        "sight": watch.sight,
        "interval": watch.interval,
        "statuses": watch.statuses,
        "incidents": watch.incidents,
        "starts": watch.starts,
    }


def _load_watch(
    sight: list[float] | None = None,
    interval: float = 0.0,
    statuses: Mapping[str, int] = _NONE,
    incidents: Mapping[str, dict[str, Any]] = _NONE,
    starts: Mapping[str, list[float]] = _NONE,
) -> Watch:
    return Watch(
        sight=None if sight is None else Sight(*sight),
        interval=interval,
        statuses={provider: Status(status) for provider, status in statuses.items()},
        incidents={provider: codec.load_incident(fields) for provider, fields in incidents.items()},
        starts={provider: tuple(its) for provider, its in starts.items()},
    )


def _named(dialect: str, digest: str, rank: int, name: tuple[str, str], number: int, absent: int = 0) -> Named:
    return Named(dialect, digest, rank, Key(*name), number, absent)


def _windows(seconds: float, rows: Iterable[Row]) -> tuple[Window, RecentTraffic, Counters]:
    window, recent, counters = Window(seconds), RecentTraffic(), Counters()
    for steady, ids, numbers in rows:
        counters = Counters(ids, numbers[: len(ids)])
        window, _ = window.append(steady, counters)
        if len(numbers) > len(ids) or not ids:  # schema 1 had no more than the counters
            step = Step(steady, *numbers[len(ids) :].reshape(3, -1))
            recent = recent.with_step(window.index, _keys(ids, window.index), step)
    return window, recent, counters


def _completed(window: Window, content: dict[str, Any]) -> Window:
    """The window with what it knows of series that the polls it spans do not show."""
    last, seen = window.last.copy(), window.seen.copy()
    if content["quiet"]:
        places = {counter: place for place, counter in enumerate(window.ids)}
        for *fields, value, at in content["quiet"]:
            if (place := places.get(CounterId(*fields))) is not None:
                last[place], seen[place] = value, at
    past = {CounterId(*fields): LastValue(value, at) for *fields, value, at in content["past"]}
    forgotten, forgotten_at = content["forgotten"]
    return replace(window, last=last, seen=seen, past=past, forgotten=forgotten, forgotten_at=forgotten_at)
