"""The board: the three answers an on-call engineer needs, as text; and the first of them as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bridge.model import FLEET, Circuit, CircuitState, Incident, Status, Verdict
from bridge.queries import tables
from bridge.queries.budget import Budget
from bridge.queries.incidents import bad_for, most_urgent_first, name, phase, told
from bridge.queries.view import View, clock, duration
from bridge.web.text import TEXT_WIDTH, printable, text_table, warning, wrapped

PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
NOT_CLOSED = (CircuitState.OPEN, CircuitState.HALF_OPEN)
NAMES_SHOWN = 5
REASONS_SHOWN = 12
NOTICES_SHOWN = 5
LABEL_WIDTH = 6
OPEN_CIRCUITS_SHOWN = 12
INCIDENTS_SHOWN = 8
FLAPPING_SECONDS = 3600.0
"""A circuit that opened more than once within this time is flapping."""
FAILING_FROM = 0.1
"""Error rate from which a model counts as one that fails."""
HINTS = """\
Go deeper:
  curl '{base}/providers/{name}?format=text'
  curl '{base}/query?target=transitions&from=now-6h&format=text'
  curl '{base}/incidents?from=now-24h&format=text'
"""


def summary(view: View) -> dict[str, Any]:
    """Who is degraded and how far it reaches, which breakers are open, and how fresh the data is."""
    verdicts = view.verdicts()
    poll, reach = view.poll, Reach(view)
    return {
        "service": "provider-health-bridge",
        "status": "stale" if view.stale else "ok",
        "message": headline(view),
        "trouble": view.trouble,
        "data_age_seconds": view.age_seconds,
        "snapshot_time": None if view.snapshot is None else tables.milliseconds(view.snapshot.at),
        "gateway": {
            "up": None if view.gateway_up is None else bool(view.gateway_up),
            "outcome": poll.outcome if poll else None,
            "failing_since": view.latest.failing_since if view.latest else None,
            "dialects": list(view.snapshot.dialects) if view.snapshot else [],
            "notices": list(view.snapshot.notices) if view.snapshot else [],
            "rejected_lines": view.snapshot.rejected_lines if view.snapshot else None,
        },
        "providers": {status.word: sum(view.status(verdict) is status for verdict in verdicts) for status in Status},
        "not_healthy": [
            {
                "provider": verdict.provider,
                "status": verdict.status.word,
                "models": reach.of(verdict.provider) or None,
                "why": why(view, verdict),
            }
            for verdict in verdicts
            if verdict.status is not Status.HEALTHY and not view.stale
        ],
        "incidents": [_incident(view, one) for one in (view.snapshot.incidents if view.snapshot else ())],
    }


def _incident(view: View, it: Incident) -> dict[str, Any]:
    """An incident that is not over; one of the fleet has no provider."""
    return {
        "provider": it.provider or None,
        "status": it.peak.word,
        "phase": phase(view, it),
        "kind": it.kind,
        "start": tables.milliseconds(it.start.at),
        "bad_seconds": round(bad_for(view, it), 3),
        "affected": list(it.affected),
        "reached": it.reached,
        "among": it.among,
        "requests": it.requests,
        "failed": it.failed,
        "cause": it.cause,
        "number": it.number,
        "recurring": it.recurring,
        "fleet": it.fleet is not None or it.provider == FLEET,
        "pages": it.pages,
        "told": told(view, it),
    }


def headline(view: View) -> str:
    """The fleet in one line."""
    if view.stale:
        return view.trouble
    if not view.verdicts():
        return "the gateway answers, but names no provider this bridge can read"
    by_status = {
        status: [printable(verdict.provider) for verdict in view.verdicts() if verdict.status is status]
        for status in (Status.DOWN, Status.DEGRADED)
    }
    told = [f"{status.word}: {shortened(names)}" for status, names in by_status.items() if names]
    healthy = sum(verdict.status is Status.HEALTHY for verdict in view.verdicts())
    return "; ".join(told) or f"all {healthy} providers with data are healthy"


def board_text(view: View, base: str, incidents: Sequence[str], budget: Budget) -> str:
    """The board: three answers first, then the table, then where to look further.

    ``base`` is the bridge's own URL; ``incidents`` are the lines of the third answer: blip or regression.
    """
    lines = ["PROVIDER HEALTH", ""]
    if view.trouble:
        lines += [f"! {printable(view.trouble)}", ""]  # whole, in one line, whatever its length
    for notice in (view.snapshot.notices if view.snapshot else ())[:NOTICES_SHOWN]:
        lines += [warning(notice), ""]
    if not view.stale:
        lines += _labelled("Now", [headline(view), *_reasons(view)])
        lines += _labelled("Open", _open_circuits(view))
    lines += _labelled("Blip?", list(incidents))
    lines += [*_labelled("Data", [freshness(view)]), ""]
    table = tables.providers(view, lambda _: True)
    body = text_table(table, view.now, budget) if table.rows else "(no providers yet)\n"
    return "\n".join([*lines, body, HINTS.format(base=base, name=_name_to_type(view))])


def incident_lines(view: View, found: Sequence[Incident]) -> list[str]:
    """The third answer: the incidents of the last 24 h, those that last first."""
    urgent = most_urgent_first(found)
    if not urgent:
        return ["no incident in the last 24 h"]
    lines = [printable(f"{name(one)}: {told(view, one)}") for one in urgent[:INCIDENTS_SHOWN]]
    more = len(urgent) - INCIDENTS_SHOWN
    return [*lines, f"and {more} more, see /incidents?from=now-24h&format=text"] if more > 0 else lines


def _name_to_type(view: View) -> str:
    """The worst provider whose name a shell and a URL take as it is, for the hint to be typed as it stands."""
    plain = (verdict.provider for verdict in view.verdicts() if PLAIN_NAME.fullmatch(verdict.provider))
    return next(plain, "NAME")


def _labelled(label: str, lines: list[str]) -> list[str]:
    folded = [part for line in lines for part in wrapped(line, TEXT_WIDTH - LABEL_WIDTH, indent="  ")]
    return [f"{'' if number else label:<{LABEL_WIDTH}}{line}" for number, line in enumerate(folded)]


def _reasons(view: View) -> list[str]:
    concerns, reach = troubled(view), Reach(view)
    told = [
        f"{printable(verdict.provider)}: {joined(reach.of(verdict.provider), why(view, verdict))}"
        for verdict in concerns[:REASONS_SHOWN]
    ]
    more = len(concerns) - REASONS_SHOWN
    return [*told, f"and {more} more, see the table"] if more > 0 else told


def troubled(view: View) -> list[Verdict]:
    """Providers that are down or degraded, worst first."""
    return [verdict for verdict in view.verdicts() if verdict.status in (Status.DOWN, Status.DEGRADED)]


def joined(*parts: str) -> str:
    """What there is to say, as one line."""
    return "; ".join(part for part in parts if part)


class Reach:
    """How far what is wrong with a provider reaches among its models."""

    def __init__(self, view: View) -> None:
        """What is known of all models, read once for all providers."""
        snapshot = view.snapshot
        self._circuits = tables.by_provider(snapshot.circuits if snapshot else ())
        self._rates: dict[str, dict[str, float]] = {}
        for key, rate in snapshot.model_error_rates.items() if snapshot else ():
            if key.model:
                self._rates.setdefault(key.provider, {})[key.model] = rate

    def of(self, provider: str) -> str:
        """Whether it is one model or all of them: ``one model of 4: gpt-4o``, ``all 3 models``; empty: none is known.

        Models are those with circuits that are not CLOSED; where there are none, those with many errors.
        """
        circuits = [one for one in self._circuits.get(provider, ()) if one.model]
        broken = [printable(one.model) for one in circuits if one.state in NOT_CLOSED]
        if broken:
            return _share(broken, len(circuits))
        rates = self._rates.get(provider, {})
        failing = sorted((model for model in rates if rates[model] >= FAILING_FROM), key=lambda model: -rates[model])
        told = [f"{printable(model)} {rates[model]:.0%}" for model in failing]
        return f"errors in {_share(told, len(rates))}" if told else ""


def _share(models: list[str], count: int) -> str:
    if len(models) == count:
        return f"all {count} models" if count > 1 else f"its only model, {models[0]}"
    among = f"one model of {count}" if len(models) == 1 else f"{len(models)} of {count} models"
    return f"{among}: {shortened(models)}"


def shortened(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def why(view: View, verdict: Verdict) -> str:
    """Why a provider stands as it does, and for how long."""
    return f"{tables.reason(verdict)}; {verdict.status.word} for {duration(view.now - verdict.status_since)}"


def _open_circuits(view: View) -> list[str]:
    """The breakers that are not closed, the longest open first."""
    circuits = [circuit for circuit in view.circuits() if circuit.state in NOT_CLOSED]
    lines = [_open_line(view, circuit) for circuit in circuits[:OPEN_CIRCUITS_SHOWN]]
    if len(circuits) > OPEN_CIRCUITS_SHOWN:
        lines.append(f"and {len(circuits) - OPEN_CIRCUITS_SHOWN} more, see /query?target=circuits&format=text")
    return lines or ["no breaker is open"]


def _open_line(view: View, circuit: Circuit) -> str:
    """Since when a circuit is as it is, since when it is not closed, how often it opened, and why."""
    first = circuit.since if circuit.first_opened is None else circuit.first_opened
    state = "" if circuit.state is None else circuit.state.name
    at_least = "" if circuit.since_known else "at least "
    told = f"{printable(str(circuit.key))}: {state} for {at_least}{duration(view.now - circuit.since)}"
    if first == circuit.since:
        told += f", since {clock(first)}"
    else:
        told += f", not closed for {duration(view.now - first)}, since {clock(first)}"
    return f"{told}{openings(view, circuit)} ({printable(circuit.reason)})"


def openings(view: View, circuit: Circuit) -> str:
    """How often a circuit opened in 24 h, where it was more than once, and whether it is flapping now."""
    recent = sum(at > view.now - FLAPPING_SECONDS for at in circuit.opens)
    flapping = "flapping: " if recent > 1 else ""
    return f", {flapping}opened {len(circuit.opens)} times in 24 h" if len(circuit.opens) > 1 else ""


def freshness(view: View) -> str:
    """How old the data is, and how much there is of it."""
    if view.snapshot is None or view.age_seconds is None:
        return "none yet"
    read = f"{len(view.snapshot.verdicts)} providers, {len(view.snapshot.circuits)} circuits"
    rejected = f", {view.snapshot.rejected_lines} lines could not be read" if view.snapshot.rejected_lines else ""
    return f"{duration(view.age_seconds)} old ({clock(view.snapshot.at)}): {read}{rejected}"
