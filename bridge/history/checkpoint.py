"""What a restart goes on from: the memory of the last good poll, and the counters of the polls that windows span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from isal import isal_zlib as zlib

from bridge.health.breaker import Derivation
from bridge.health.memory import Memory
from bridge.history import codec
from bridge.history.codec import Floats
from bridge.history.database import Database
from bridge.model import CircuitState, CounterId, Key, Named, Status


def read(database: Database) -> Memory:
    """What the next poll needs to go on where the last one stood; an empty memory for an empty log."""
    connection = database.connection()
    row = connection.execute("SELECT memory FROM latest").fetchone()
    if row is None or row[0] is None:
        return Memory()
    checkpoint = load_memory(row[0])
    windows = Memory()
    rows = connection.execute(
        "SELECT c.at, l.content, c.numbers FROM counters c JOIN layouts l ON l.id = c.layout ORDER BY c.poll"
    )
    for at, layout, numbers in rows:
        windows = windows.with_counters(at, load_counters(layout, codec.unpack(numbers)))
    return checkpoint.with_windows_of(windows)


def dump_counters(counters: Mapping[CounterId, float]) -> tuple[bytes, Floats]:
    """A poll's counters: whose they are, as stored, and the values."""
    return orjson.dumps(list(counters), default=codec.plain), np.fromiter(
        counters.values(), dtype=np.float64, count=len(counters)
    )


def load_counters(layout: bytes, values: Floats) -> dict[CounterId, float]:
    """The counters that were stored."""
    ids = (CounterId(*fields) for fields in orjson.loads(layout))
    return dict(zip(ids, values.tolist(), strict=True))


def dump_memory(memory: Memory) -> bytes:
    """A memory without its windows (they are made again from the stored counters)."""
    content = {
        "at": memory.at,
        "circuits": list(memory.circuits.values()),
        "reported": [[*key, state] for key, state in memory.reported.items()],
        "derivations": [[*key, derivation] for key, derivation in memory.derivations.items()],
        "unreported": [[*key, count] for key, count in memory.unreported.items()],
        "absences": memory.absences,
        "families": {family: sorted(providers) for family, providers in memory.families.items()},
        "lost_families": memory.lost_families,
        "disbelieved": memory.disbelieved,
        "names": memory.names,
        "statuses": {provider: list(entry) for provider, entry in memory.statuses.items()},
    }
    return zlib.compress(orjson.dumps(content, default=codec.plain), level=1)


def load_memory(data: bytes) -> Memory:
    """The memory that was stored, with empty windows."""
    content = orjson.loads(zlib.decompress(data))
    circuits = [codec.load_circuit(fields) for fields in content["circuits"]]
    return Memory(
        at=content["at"],
        circuits={circuit.key: circuit for circuit in circuits},
        reported={Key(provider, model): CircuitState(state) for provider, model, state in content["reported"]},
        derivations={Key(provider, model): _derivation(it) for provider, model, it in content["derivations"]},
        unreported={Key(provider, model): count for provider, model, count in content["unreported"]},
        absences=content["absences"],
        families={family: frozenset(providers) for family, providers in content["families"].items()},
        lost_families=content["lost_families"],
        disbelieved=content["disbelieved"],
        names=tuple(
            Named(dialect, digest, rank, Key(*name), number) for dialect, digest, rank, name, number in content["names"]
        ),
        statuses={provider: (Status(status), since) for provider, (status, since) in content["statuses"].items()},
    )


def _derivation(fields: dict[str, Any]) -> Derivation:
    window = tuple((at, successes, failures) for at, successes, failures in fields["window"])
    return Derivation(**{**fields, "window": window})
