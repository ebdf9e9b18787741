"""What one series means to one signal.

Series of one shape have their labels in the same places, so where a signal's entry in the dialect finds what it names
is worked out once a shape; of each series only values are looked at.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

from bridge.gateway.choice import Chosen
from bridge.gateway.dialect import COUNTERS, SignalSource
from bridge.gateway.identities import Identity
from bridge.gateway.series import Series, Shape
from bridge.model import FAILURE_CLASSES, CircuitState, CounterId, Key

MAX_NAME_LENGTH = 256
STATE_WORDS = {
    "closed": CircuitState.CLOSED,
    "open": CircuitState.OPEN,
    "half_open": CircuitState.HALF_OPEN,
    "half-open": CircuitState.HALF_OPEN,
    "halfopen": CircuitState.HALF_OPEN,
}


class Route(NamedTuple):
    """What one series gives: the counter ``counter``, or a gauge or state of ``key``."""

    chosen: Chosen
    key: Key
    counter: CounterId | None = None
    factor: float = 1.0
    """Brings the counter's value into the bridge's unit."""
    state: str | None = None
    """The state a one-hot series stands for."""
    circuit: frozenset[tuple[str, str]] = frozenset()
    """All labels of a one-hot series but its state: those with the same ones are of one circuit."""
    identity: Identity | None = None
    failure_class: str | None = None
    """What kind of failure a series counts, where its labels say."""

    @property
    def source(self) -> SignalSource:
        """The dialect's entry that it is read by."""
        return self.chosen.source


class Routers:
    """The routers of each shape of series."""

    def __init__(self, chosen: Sequence[Chosen]) -> None:
        self._by_name: dict[str, list[Chosen]] = {}
        for one in chosen:
            for name in one.source.sample_names():
                self._by_name.setdefault(name, []).append(one)
        self._by_shape: dict[Shape, list[Router]] = {}

    def of(self, shape: Shape) -> list[Router]:
        """One for each signal that a series of this shape can give."""
        found = self._by_shape.get(shape)
        if found is None:
            found = self._by_shape[shape] = [Router(shape, one) for one in self._by_name.get(shape.name, ())]
        return found


class Router:
    """What series of one shape mean to one signal."""

    def __init__(self, shape: Shape, chosen: Chosen) -> None:
        self._chosen = chosen
        self._source = source = chosen.source
        places = {label: place for place, label in enumerate(shape.labels)}

        def place(label: str | None) -> int:
            return places.get(label or "", len(places))  # behind all values, where there is none

        self._provider = place(source.provider.label)
        self._model = place(source.model)
        self._has_model = source.model in places
        self._only = [(place(label), values) for label, values in source.only.items()]
        self._exclude = [(place(label), values) for label, values in source.exclude.items()]
        self._is_choosy = bool(self._only or self._exclude)
        self._identity = [place(label) for label in source.identity]
        self._moves = [place(label) for label in (source.from_state, source.to_state)]
        self._bound = place("le")
        self._bounds: dict[str, str | None] = {}
        self._state = place(source.state)
        self._has_state = source.signal == "circuit_state" and source.state in places
        self._counter = source.signal if source.signal in COUNTERS else ""
        if source.signal == "latency_histogram":
            self._counter = "latency" + shape.name.removeprefix(source.family)
        self._tells_failures_apart = source.signal == "failures" and bool(source.failure_classes)
        self._factor = source.factor if self._counter == "latency_sum" else 1.0

    def route(self, series: Series) -> Route | None:
        """What a series means; None when it is nobody's, or not one that counts."""
        values = (*series.values, "")
        provider, model = self._source.provider.name(values[self._provider]), values[self._model]
        identity = self._identity_of(values) if self._identity else None
        nobody = not provider or (self._has_model and not model)
        if (nobody and identity is None) or len(provider) > MAX_NAME_LENGTH or len(model) > MAX_NAME_LENGTH:
            return None
        if self._is_choosy and not self._counts(values):
            return None
        key = Key("") if nobody else Key(provider, model)
        if self._counter:
            detail = self._detail(values)
            if detail is None:
                return None
            failure_class = self._source.failure_class(series.labels) if self._tells_failures_apart else None
            signal = FAILURE_CLASSES.get(failure_class or "", self._counter)
            counter = CounterId(signal, provider, model, detail, _digest(series.identity))
            return Route(self._chosen, key, counter, self._factor, identity=identity, failure_class=failure_class)
        if self._has_state:
            state = self._source.state_word(values[self._state])
            circuit = frozenset(label for label in series.labels.items() if label[0] != self._source.state)
            return Route(self._chosen, key, state=state, circuit=circuit, identity=identity)
        return Route(self._chosen, key, identity=identity)

    def is_too_long(self, series: Series) -> bool:
        """True when a name is longer than those that are followed."""
        values = (*series.values, "")
        return max(len(self._source.provider.name(values[self._provider])), len(values[self._model])) > MAX_NAME_LENGTH

    def counts(self, series: Series) -> bool:
        """True when the signal is made of series like this one, and it is somebody's."""
        values = (*series.values, "")
        return bool(self._source.provider.name(values[self._provider])) and self._counts(values)

    def _counts(self, values: Sequence[str]) -> bool:
        return all(values[place] in wanted for place, wanted in self._only) and not any(
            values[place] in unwanted for place, unwanted in self._exclude
        )

    def _identity_of(self, values: Sequence[str]) -> Identity | None:
        """What a series says of its identity, as a digest; None when it says nothing of it."""
        told = [values[place] for place in self._identity]
        return (self._chosen.dialect, _digest("\0".join(told).encode())) if told[-1] else None

    def _detail(self, values: Sequence[str]) -> str | None:
        """What else tells a counter apart: a bucket's bound in seconds; None where that is no number."""
        if self._counter == "latency_bucket":
            written = values[self._bound]
            if written not in self._bounds:
                self._bounds[written] = _seconds(written, self._source.factor)
            return self._bounds[written]
        if self._counter == "transitions":
            return ">".join(_word(values[place]) for place in self._moves)
        return ""


def _seconds(written: str, factor: float) -> str | None:
    try:
        bound = float(written) * factor
    except ValueError:
        return None
    return None if math.isnan(bound) else repr(bound)


def _word(written: str) -> str:
    state = STATE_WORDS.get(written.lower())
    return state.name if state is not None else ""


def _digest(value: bytes) -> str:
    return hashlib.blake2b(value, digest_size=8).hexdigest()
