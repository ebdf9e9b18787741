"""How snapshots and polls are written down in the log, and read back.

A poll's numbers are one array of float64; a *layout* says whose they are. Layouts are stored once and change only when
providers or models come and go, so a poll costs a few hundred bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import orjson
from isal import isal_zlib as zlib

from bridge.history.numbers import CORRUPT, Floats, pack, unpack
from bridge.model import (
    FLEET_METRICS,
    PROVIDER_METRICS,
    Circuit,
    CircuitState,
    Evidence,
    Incident,
    Key,
    ModelNumbers,
    Sight,
    Snapshot,
    Status,
    Verdict,
)

__all__ = ["CORRUPT", "Floats", "pack", "unpack"]
Stored = TypeVar("Stored")
FLEET = "fleet"
"""The one name of the fleet's level."""
Name = TypeVar("Name", bound=Any)


class Level(NamedTuple, Generic[Name]):
    """Names of one kind, and the metrics that each of them has."""

    names: tuple[Name, ...] = ()
    metrics: tuple[str, ...] = ()


NONE: Level[Any] = Level()


@dataclass(frozen=True, slots=True)
class PollLayout:
    """Whose numbers a poll's array holds: level by level, each metric for all of the level's names.

    No two levels have a metric of the same name.
    """

    provider: Level[str] = NONE
    fleet: Level[str] = NONE
    """All of it under one name, or none."""
    model: Level[Key] = NONE

    @property
    def levels(self) -> tuple[Level[Any], ...]:
        """In the order of the array."""
        return self.provider, self.fleet, self.model

    @property
    def size(self) -> int:
        """Numbers in the array."""
        return sum(len(level.names) * len(level.metrics) for level in self.levels)

    @property
    def widths(self) -> dict[str, int]:
        """Every metric, and how many names have it."""
        return {metric: len(level.names) for level in self.levels for metric in level.metrics}


def plain(value: object) -> object:
    """What orjson does not write by itself: named tuples, as lists."""
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"cannot write down {type(value).__name__}")


def known(cls: type[Stored], fields: Mapping[str, Any]) -> Stored:
    """A stored dataclass again: a field that it no longer has is left out, one that it did not have has its default.

    Raises TypeError where that has none.
    """
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value for name, value in fields.items() if name in names})


def poll_numbers(snapshot: Snapshot) -> tuple[PollLayout, Floats]:
    """What is recorded of a good poll; NaN for what is not known."""
    models = snapshot.models
    layout = PollLayout(
        Level(tuple(verdict.provider for verdict in snapshot.verdicts), PROVIDER_METRICS),
        Level((FLEET,), FLEET_METRICS),
        Level(models.keys, tuple(models.columns)) if models.keys else Level(),
    )
    numbers: list[float | None] = []
    for metric in PROVIDER_METRICS:
        numbers.extend(verdict.values[metric] for verdict in snapshot.verdicts)
    numbers.extend(snapshot.fleet[metric] for metric in FLEET_METRICS)
    of_models = models.columns.values() if models.keys else ()
    return layout, np.concatenate([np.array(numbers, dtype=np.float64), *of_models])


def dump_layout(layout: PollLayout) -> bytes:
    """A layout as it is stored; equal layouts give equal bytes."""
    return orjson.dumps(dict(zip(("provider", "fleet", "model"), layout.levels, strict=True)), default=plain)


def load_layout(content: bytes) -> PollLayout:
    """The layout that was stored. Raises one of ``CORRUPT``."""
    fields = orjson.loads(content)
    if "providers" in fields:
        return _first_layout(fields)
    levels = {name: (tuple(names), tuple(metrics)) for name, (names, metrics) in fields.items()}
    models, metrics = levels.get("model", ((), ()))
    return PollLayout(
        Level(*levels.get("provider", ((), ()))),
        Level(*levels.get("fleet", ((), ()))),
        Level(tuple(Key(*key) for key in models), metrics),
    )


def _first_layout(fields: Mapping[str, Any]) -> PollLayout:
    """A layout of schema 1, which held the same array: of models it knew the error rate alone."""
    models = tuple(Key(*key) for key in fields["models"])
    return PollLayout(
        Level(tuple(fields["providers"]), tuple(fields["metrics"])),
        Level((FLEET,), tuple(fields["fleet"])),
        Level(models, ("model_error_rate",)) if models else Level(),
    )


def dump_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot as it is stored."""
    content = {field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)}
    content["models"] = [snapshot.models.keys, {it: column.tolist() for it, column in snapshot.models.columns.items()}]
    return zlib.compress(orjson.dumps(content, default=plain), level=1)


def load_snapshot(data: bytes) -> Snapshot:
    """The snapshot that was stored. Raises one of ``CORRUPT``."""
    content = orjson.loads(zlib.decompress(data))
    content["verdicts"] = tuple(_verdict(fields) for fields in content["verdicts"])
    content["circuits"] = tuple(load_circuit(fields) for fields in content["circuits"])
    content["incidents"] = tuple(load_incident(fields) for fields in content.get("incidents", ()))
    content["models"] = _models(*content["models"])
    return known(Snapshot, {name: tuple(it) if isinstance(it, list) else it for name, it in content.items()})


def _models(keys: list[list[str]], columns: dict[str, list[float | None]]) -> ModelNumbers:
    return ModelNumbers(
        tuple(Key(*key) for key in keys),
        {metric: np.array(values, dtype=np.float64) for metric, values in columns.items()},
    )


def _verdict(fields: dict[str, Any]) -> Verdict:
    evidence = tuple(known(Evidence, entry) for entry in fields["evidence"])
    values = dict.fromkeys(PROVIDER_METRICS) | fields["values"]  # an earlier version knew fewer
    return known(Verdict, {**fields, "status": Status(fields["status"]), "values": values, "evidence": evidence})


def load_circuit(fields: dict[str, Any]) -> Circuit:
    """The circuit that was stored."""
    state = None if fields["state"] is None else CircuitState(fields["state"])
    return known(Circuit, {**fields, "state": state, "opens": tuple(fields["opens"])})


def load_incident(fields: dict[str, Any]) -> Incident:
    """The incident that was stored."""
    sights = {name: fields[name] and Sight(*fields[name]) for name in ("start", "turned", "last_bad", "end", "unseen")}
    return known(Incident, fields | sights | {"peak": Status(fields["peak"]), "affected": tuple(fields["affected"])})
