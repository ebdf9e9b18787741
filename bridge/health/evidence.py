"""What to believe of what a gateway prints. Evidence that cannot be true is set aside, and the reason kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.health.memory import Memory
from bridge.model import CircuitState, Key, Signals

CONTRADICTED_BY_OPEN = {"error_rate": 0.0, "availability": 100.0}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A published value that is not believed."""

    published: float
    reason: str


@dataclass(frozen=True, slots=True)
class Gauges:
    """One provider's gauges: those believed, and those set aside, by signal."""

    believed: Mapping[str, float] = field(default_factory=dict)
    set_aside: Mapping[str, SetAside] = field(default_factory=dict)


def disbelieved_ties(memory: Memory, signals: Signals, served: Mapping[str, float]) -> dict[str, str]:
    """Sources inside the gateway that said something impossible, and what; ``served``: requests, by provider.

    Once caught, a source stays disbelieved until it gives a possible latency: at the turn of the hour, with no request
    counted yet, an average latency of 0 would else look true for one poll.
    """
    if not signals.ties:
        return dict(memory.disbelieved)
    latencies = signals.gauges.get("latency", {})
    impossible = next(
        (
            f"{signals.sources['latency'][0]} is {latency:g} for {key}, who served {served[key.provider]:g} requests"
            for key, latency in latencies.items()
            if latency <= 0 and served.get(key.provider, 0) > 0
        ),
        None,
    )
    caught = dict(memory.disbelieved)
    for tie, tied in signals.ties.items():
        if "latency" not in tied:
            continue
        if impossible:
            caught[tie] = f"{impossible}: impossible, and {', '.join(sorted(tied))} share that source"
        elif any(latency > 0 for latency in latencies.values()):
            caught.pop(tie, None)
    return caught


def weigh(
    provider: str,
    signals: Signals,
    states: list[CircuitState | None],
    disbelieved: Mapping[str, str],
    served_in_window: float | None,
) -> Gauges:
    """One provider's gauges, weighed. ``served_in_window`` is its requests in the window of rates, None if unknown."""
    believed: dict[str, float] = {}
    set_aside: dict[str, SetAside] = {}
    for signal, by_key in signals.gauges.items():
        value = by_key.get(Key(provider))
        if value is None:
            continue
        reason = _doubt(signal, value, signals, states, disbelieved, served_in_window)
        if reason:
            set_aside[signal] = SetAside(value, reason)
        else:
            believed[signal] = value
    return Gauges(believed, set_aside)


def _doubt(
    signal: str,
    value: float,
    signals: Signals,
    states: list[CircuitState | None],
    disbelieved: Mapping[str, str],
    served_in_window: float | None,
) -> str:
    """Why a published value is not believed; empty when it is."""
    for tie, tied in signals.ties.items():
        if signal in tied and tie in disbelieved:
            return disbelieved[tie]
    if signal == "latency" and value <= 0:
        return "no request takes no time"
    if CONTRADICTED_BY_OPEN.get(signal) == value and CircuitState.OPEN in states:
        return "contradicted by an OPEN circuit"
    if signal == "error_rate" and served_in_window == 0:
        return "no requests in the window: no traffic is not perfection"
    return ""
