"""``python -m bridge.gateway check``: what the bridge makes of one exposition, for who writes a dialect."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bridge.gateway import plan as plans
from bridge.gateway.choice import Chosen, declares_known, not_recognised
from bridge.gateway.client import GatewayClient
from bridge.gateway.dialect import Dialect
from bridge.gateway.exposition import Exposition, ExpositionReader, declared
from bridge.gateway.routes import Routers
from bridge.gateway.translate import Translator
from bridge.health.assess import assess
from bridge.health.memory import Memory
from bridge.history.store import Latest
from bridge.model import Learnt, Moment, Poll
from bridge.policy import Policy
from bridge.queries import tables
from bridge.queries.budget import Budget
from bridge.queries.tables import Cell, Column, Table
from bridge.queries.view import View
from bridge.web.text import printable, text_table

FETCH_SECONDS = 30.0
MAX_BYTES = 64 * 2**20
PROVIDER_LIKE = ("provider", "service", "model", "upstream", "backend", "deployment", "vendor", "node")
"""What the name of a label that names a provider is likely to hold."""
FAMILIES_SHOWN = 40
WITHOUT_TRAFFIC = "It declares families of a known gateway: the bridge would accept this poll, with nobody in it\n"
_HISTOGRAM_PART = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True, slots=True)
class Finding:
    """What an exposition was found to be: a report, and whether any dialect fits."""

    report: str
    recognised: bool


def fetch(url: str, token: str | None) -> bytes:
    """The exposition a URL serves. Raises GatewayError, or ValueError for what is no URL."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url!r} is no http or https URL")
    client = GatewayClient(url, token=token, timeout_seconds=FETCH_SECONDS, max_bytes=MAX_BYTES)
    try:
        return client.fetch().body
    finally:
        client.close()


def check(body: bytes, dialects: Sequence[Dialect]) -> Finding:
    """What is recognised in an exposition and why, what is read as what, what is not read, and what comes of it.

    Raises ReadingGivenUp for what is no exposition.
    """
    exposition = ExpositionReader().read(body)
    plan = plans.make(dialects, exposition.series, Learnt())
    recognised = plan.recognised
    now = time.time()
    signals = Translator(dialects).translate(exposition)
    _, snapshot, _ = assess(Memory(), signals, Moment(now, now), Policy())
    view = View(now, Latest(0, Poll(now, 15.0, "ok", "", 0.0), snapshot, None), 60.0)
    parts = [
        _lines(exposition),
        _recognised(dialects, recognised, exposition, known=declares_known(dialects, declared(body))),
        "The gateway says that its own scrape failed: the bridge would refuse this poll\n"
        if signals.scrape_succeeded is False
        else "",
        _read(plan.chosen, exposition),
        _unread(plan.chosen, exposition),
        *(f"Notice: {printable(notice)}\n" for notice in signals.notices if recognised),
        "Providers (rates, error rates and latencies need a second poll)\n" + _table(tables.providers(view, _all)),
        "Circuits\n" + _table(tables.circuits(view, _all)),
    ]
    return Finding("\n".join(part for part in parts if part), bool(recognised))


def _all(_labels: dict[str, str]) -> bool:
    return True


def _table(table: Table) -> str:
    return text_table(table, time.time(), Budget()) if table.rows else "(none)\n"


def _lines(exposition: Exposition) -> str:
    told = f"{len(exposition.series)} series read, {exposition.rejected_lines} lines could not be read"
    first = ", ".join(str(rejected) for rejected in exposition.first_rejected)
    return told + (f", the first: {first}\n" if first else "\n")


def _recognised(
    dialects: Sequence[Dialect], recognised: Sequence[Dialect], exposition: Exposition, *, known: bool
) -> str:
    if not recognised:
        return not_recognised(dialects) + "\n" + (WITHOUT_TRAFFIC if known else "")
    names: dict[str, set[str]] = {}
    for series in exposition.series:
        names.setdefault(series.name, set()).update(series.labels)
    told = [
        f"Recognised: {dialect.name} ({dialect.title}), by "
        + ", ".join(str(sign) for sign in dialect.recognised_by if sign.seen_in(names))
        for dialect in recognised
    ]
    return "\n".join(told) + "\n"


def _read(plan: Sequence[Chosen], exposition: Exposition) -> str:
    """What is read as what; and where a family is there, but none of its series has the label that says whose it is."""
    columns = tuple(Column(title) for title in ("Signal", "Family", "Dialect", "Provider", "Model", "As"))
    rows: list[Sequence[Cell]] = []
    nobodys = []
    for chosen in plan:
        source = chosen.source
        names = [chosen.source.signal, source.family, chosen.dialect, source.provider.label, source.model or ""]
        present = any(series.name in source.sample_names() for series in exposition.series)
        if present and not _series_count(chosen, exposition):
            nobodys.append(
                f"Not read: no series of {source.family} counts for {source.signal} by {source.provider.label}\n"
            )
        else:
            told = ", ".join(source.failure_classes)
            rows.append([*names, source.unit or (f"classes by {told}" if told else "")])
    return "Read\n" + _table(Table("read", columns, rows)) + "".join(nobodys)


def _series_count(chosen: Chosen, exposition: Exposition) -> int:
    routers = Routers([chosen])
    return sum(router.counts(series) for series in exposition.series for router in routers.of(series.shape))


def _unread(plan: Sequence[Chosen], exposition: Exposition) -> str:
    read = {name for chosen in plan for name in chosen.source.sample_names()}
    unread: dict[str, set[str]] = {}
    for series in exposition.series:
        telling = {label for label in series.labels if any(word in label.lower() for word in PROVIDER_LIKE)}
        if telling and series.name not in read and not series.name.endswith("_created"):
            unread.setdefault(_HISTOGRAM_PART.sub("", series.name), set()).update(telling)
    columns = (Column("Family"), Column("Labels that may name a provider"))
    rows: list[Sequence[Cell]] = [[name, ", ".join(sorted(labels))] for name, labels in sorted(unread.items())]
    more = f"and {len(rows) - FAMILIES_SHOWN} more\n" if len(rows) > FAMILIES_SHOWN else ""
    return (
        "Not read, though it may be about providers\n" + _table(Table("unread", columns, rows[:FAMILIES_SHOWN])) + more
    )
