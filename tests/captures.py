"""Expositions with the truth beside them, and what the bridge makes of them.

Those that real gateways published lie beside the project, not in it: where they are absent, the tests that need them
skip. Those of the living gateways (tests/living) are in the project; what must never be skipped stands on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.health.traffic import Traffic, measure
from bridge.model import Circuit, Event, Key, Moment, Signals, Snapshot, Verdict
from bridge.policy import Policy
from tests.living import recording

CAPTURES = Path(__file__).parents[1].parent / "shared" / "captures"
START = 1_795_003_200.0
"""The epoch second of a capture's beginning, on the captured gateways' own clock."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One scrape: its number in the capture, its body, and what was true at that moment."""

    number: int
    name: str
    phase: str
    at: float
    body: bytes
    truth: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Polled:
    """A scrape and what the bridge made of it."""

    scrape: Scrape
    signals: Signals
    snapshot: Snapshot
    events: tuple[Event, ...]
    measured: Traffic
    """What the counters say over the window of rates, before anything is rounded."""

    @property
    def number(self) -> int:
        return self.scrape.number

    @property
    def at(self) -> float:
        return self.scrape.at

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        return {verdict.provider: verdict for verdict in self.snapshot.verdicts}

    @property
    def circuits(self) -> Mapping[Key, Circuit]:
        return {circuit.key: circuit for circuit in self.snapshot.circuits}

    def values(self, metric: str) -> dict[str, float | None]:
        """One metric of every provider."""
        return {verdict.provider: verdict.values[metric] for verdict in self.snapshot.verdicts}


@cache
def scrapes(gateway: str) -> tuple[Scrape, ...]:
    """A capture's scrapes, in order."""
    folder = CAPTURES / gateway
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no captured expositions in {folder}")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return tuple(
        Scrape(
            number,
            truth["file"],
            truth["phase"],
            START + truth["seconds"],
            (folder / truth["file"]).read_bytes(),
            truth,
        )
        for number, truth in enumerate(manifest)
    )


@cache
def recorded(dialect: str) -> tuple[Scrape, ...]:
    """The scrapes of a living gateway, in order."""
    return tuple(
        Scrape(
            number, f"{number:03}", one["phase"], recording.BEGAN + one["seconds"], one["body"].encode(), one["truth"]
        )
        for number, one in enumerate(recording.read(dialect))
    )


@cache
def replay(gateway: str) -> tuple[Polled, ...]:
    """A capture polled from beginning to end."""
    return tuple(poll(scrapes(gateway)))


def poll(of: tuple[Scrape, ...]) -> list[Polled]:
    """These scrapes polled one after another by a bridge that has just started."""
    reader, translator, memory = ExpositionReader(), Translator(select("auto")), Memory()
    polled = []
    for scrape in of:
        signals = translator.translate(reader.read(scrape.body), memory.learnt)
        memory, snapshot, events = assess(memory, signals, Moment(scrape.at, scrape.at), Policy())
        measured = measure(memory.window, signals.counters, signals.sources.keys())
        polled.append(Polled(scrape, signals, snapshot, tuple(events), measured))
    return polled


def evidence(verdict: Verdict, name: str) -> Any:
    """One number behind a verdict."""
    [found] = [one for one in verdict.evidence if one.name == name]
    return found
