"""How snapshots, memories and polls are written down in the log, and read back.

A poll's numbers are one array of float64, compressed; a *layout* says whose they are. Layouts are stored once and
change only when providers, models or series come and go, so a poll costs a few hundred bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from isal import isal_zlib as zlib
from numpy.typing import NDArray

from bridge.model import (
    FLEET_METRICS,
    PROVIDER_METRICS,
    Circuit,
    CircuitState,
    Evidence,
    Key,
    ModelNumbers,
    Snapshot,
    Status,
    Verdict,
)

Floats = NDArray[np.float64]
CORRUPT: tuple[type[Exception], ...] = (zlib.error, LookupError, TypeError, ValueError)  # type: ignore[assignment]  # isal types its error as an instance
"""What reading something back raises when it is not what was written."""
TWICE = b"\x02"
"""What an array begins with that was compressed twice; one that was compressed once never does."""


@dataclass(frozen=True, slots=True)
class PollLayout:
    """Whose numbers a poll's array holds: each metric for all providers, then the fleet's, then models' error rates."""

    providers: tuple[str, ...]
    models: tuple[Key, ...]
    metrics: tuple[str, ...] = PROVIDER_METRICS
    fleet: tuple[str, ...] = FLEET_METRICS

    @property
    def size(self) -> int:
        """Numbers in the array."""
        return len(self.metrics) * len(self.providers) + len(self.fleet) + len(self.models)


def plain(value: object) -> object:
    """What orjson does not write by itself: named tuples."""
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"cannot write down {type(value).__name__}")


def pack(values: Floats) -> bytes:
    """An array as it is stored."""
    return zlib.compress(values.tobytes(), level=1)


def pack_column(values: Floats) -> bytes:
    """A block's column as it is stored.

    Most of thousands of models stay as they are for hours, and what that is compressed to can be compressed again.
    """
    once = pack(values)
    twice = TWICE + zlib.compress(once, level=1)
    return min(once, twice, key=len)


def unpack(data: bytes) -> Floats:
    """An array as it was; read-only."""
    if data.startswith(TWICE):
        data = zlib.decompress(data[len(TWICE) :])
    return np.frombuffer(zlib.decompress(data), dtype=np.float64)


def poll_numbers(snapshot: Snapshot) -> tuple[PollLayout, Floats]:
    """What is recorded of a good poll; NaN for what is not known."""
    rates = snapshot.model_error_rates
    models = tuple(rates)
    layout = PollLayout(tuple(verdict.provider for verdict in snapshot.verdicts), models)
    numbers: list[float | None] = []
    for metric in layout.metrics:
        numbers.extend(verdict.values[metric] for verdict in snapshot.verdicts)
    numbers.extend(snapshot.fleet[metric] for metric in layout.fleet)
    numbers.extend(rates.values())
    return layout, np.array(numbers, dtype=np.float64)


def dump_layout(layout: PollLayout) -> bytes:
    """A layout as it is stored; equal layouts give equal bytes."""
    fields = {
        "providers": layout.providers,
        "models": list(map(list, layout.models)),
        "metrics": layout.metrics,
        "fleet": layout.fleet,
    }
    return orjson.dumps(fields)


def load_layout(content: bytes) -> PollLayout:
    """The layout that was stored."""
    fields = orjson.loads(content)
    return PollLayout(
        providers=tuple(fields["providers"]),
        models=tuple(Key(*key) for key in fields["models"]),
        metrics=tuple(fields["metrics"]),
        fleet=tuple(fields["fleet"]),
    )


def dump_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot as it is stored."""
    content = {
        "at": snapshot.at,
        "verdicts": snapshot.verdicts,
        "circuits": snapshot.circuits,
        "models": [snapshot.models.keys, {it: column.tolist() for it, column in snapshot.models.columns.items()}],
        "fleet": snapshot.fleet,
        "dialects": snapshot.dialects,
        "samples": snapshot.samples,
        "rejected_lines": snapshot.rejected_lines,
        "notices": snapshot.notices,
    }
    return zlib.compress(orjson.dumps(content, default=plain), level=1)


def load_snapshot(data: bytes) -> Snapshot:
    """The snapshot that was stored."""
    content = orjson.loads(zlib.decompress(data))
    return Snapshot(
        at=content["at"],
        verdicts=tuple(_verdict(fields) for fields in content["verdicts"]),
        circuits=tuple(circuit(fields) for fields in content["circuits"]),
        models=_models(*content["models"]),
        fleet=content["fleet"],
        dialects=tuple(content["dialects"]),
        samples=content["samples"],
        rejected_lines=content["rejected_lines"],
        notices=tuple(content["notices"]),
    )


def _models(keys: list[list[str]], columns: dict[str, list[float | None]]) -> ModelNumbers:
    return ModelNumbers(
        tuple(Key(*key) for key in keys),
        {metric: np.array(values, dtype=np.float64) for metric, values in columns.items()},
    )


def _verdict(fields: dict[str, Any]) -> Verdict:
    evidence = tuple(Evidence(**entry) for entry in fields["evidence"])
    return Verdict(fields["provider"], Status(fields["status"]), fields["status_since"], fields["values"], evidence)


def circuit(fields: dict[str, Any]) -> Circuit:
    """The circuit that was stored."""
    state = None if fields["state"] is None else CircuitState(fields["state"])
    return Circuit(**{**fields, "state": state, "opens": tuple(fields["opens"])})
