"""The board: the three answers an on-call engineer needs, as text and as JSON."""

from __future__ import annotations

from typing import Any

from bridge.model import Circuit, CircuitState, Status, Verdict
from bridge.queries import tables
from bridge.queries.view import View, clock, duration
from bridge.web.text import TEXT_WIDTH, printable, text_table, warning, wrapped

NAMES_SHOWN = 5
NOTICES_SHOWN = 5
LABEL_WIDTH = 6
OPEN_CIRCUITS_SHOWN = 12
HINTS = """\
Go deeper:
  curl '{base}/providers/NAME?format=text'
  curl '{base}/query?target=transitions&from=now-6h&format=text'
  curl '{base}/query?target=provider_health_score&from=now-1h&format=text'
"""


def summary(view: View) -> dict[str, Any]:
    """Who is degraded and how far it reaches, which breakers are open, and how fresh the data is."""
    verdicts = view.verdicts()
    poll = view.poll
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
            {"provider": verdict.provider, "status": verdict.status.word, "why": why(view, verdict)}
            for verdict in verdicts
            if verdict.status is not Status.HEALTHY and not view.stale
        ],
    }


def headline(view: View) -> str:
    """The fleet in one line."""
    if view.stale:
        return view.trouble
    if not view.verdicts():
        return "the gateway answers, but names no provider this bridge can read"
    troubled = [
        f"{status.word}: {_names([verdict.provider for verdict in view.verdicts() if verdict.status is status])}"
        for status in (Status.DOWN, Status.DEGRADED)
        if any(verdict.status is status for verdict in view.verdicts())
    ]
    healthy = sum(verdict.status is Status.HEALTHY for verdict in view.verdicts())
    return "; ".join(troubled) or f"all {healthy} providers with data are healthy"


def _names(providers: list[str]) -> str:
    shown = ", ".join(printable(name) for name in providers[:NAMES_SHOWN])
    return shown + (f" and {len(providers) - NAMES_SHOWN} more" if len(providers) > NAMES_SHOWN else "")


def board_text(view: View, base: str) -> str:
    """The board: three answers first, then the table, then where to look further. ``base``: the bridge's own URL."""
    lines = ["PROVIDER HEALTH", ""]
    if view.trouble:
        lines += [f"! {printable(view.trouble)}", ""]  # whole, in one line, whatever its length
    for notice in (view.snapshot.notices if view.snapshot else ())[:NOTICES_SHOWN]:
        lines += [warning(notice), ""]
    if not view.stale:
        lines += _labelled("Now", [headline(view), *_reasons(view)])
        lines += _labelled("Open", _open_circuits(view))
    lines += [*_labelled("Data", [_freshness(view)]), ""]
    table = tables.providers(view, lambda _: True)
    body = text_table(table, view.now) if table.rows else "(no providers yet)\n"
    return "\n".join([*lines, body, HINTS.format(base=base)])


def _labelled(label: str, lines: list[str]) -> list[str]:
    folded = [part for line in lines for part in wrapped(line, TEXT_WIDTH - LABEL_WIDTH, indent="  ")]
    return [f"{'' if number else label:<{LABEL_WIDTH}}{line}" for number, line in enumerate(folded)]


def _reasons(view: View) -> list[str]:
    return [
        f"{printable(verdict.provider)}: {why(view, verdict)}"
        for verdict in view.verdicts()
        if verdict.status in (Status.DOWN, Status.DEGRADED)
    ]


def why(view: View, verdict: Verdict) -> str:
    """Why a provider stands as it does, whether it is one model or all, and for how long."""
    reason = verdict.evidence[0].note.partition(": ")[2] if verdict.evidence else ""
    return f"{reason}; {verdict.status.word} for {duration(view.now - verdict.status_since)}"


def _open_circuits(view: View) -> list[str]:
    """The breakers that are not closed, the longest open first."""
    circuits = [circuit for circuit in view.circuits() if circuit.state in (CircuitState.OPEN, CircuitState.HALF_OPEN)]
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
    flapping = f", opened {len(circuit.opens)} times in 24 h" if len(circuit.opens) > 1 else ""
    return f"{told}{flapping} ({printable(circuit.reason)})"


def _freshness(view: View) -> str:
    if view.snapshot is None or view.age_seconds is None:
        return "none yet"
    read = f"{len(view.snapshot.verdicts)} providers, {len(view.snapshot.circuits)} circuits"
    rejected = f", {view.snapshot.rejected_lines} lines could not be read" if view.snapshot.rejected_lines else ""
    return f"{duration(view.age_seconds)} old ({clock(view.snapshot.at)}): {read}{rejected}"
