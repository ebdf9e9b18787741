"""How many names the history knows: a gateway that names its providers anew with every poll must not make it grow.

One budget for all that is kept by name: polls' numbers, their layouts, and events. What is over it is in current
values alone, which are bounded by one poll, and a notice says so.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import structlog

from bridge.health.incidents import Watch
from bridge.history import codec
from bridge.history.codec import Floats, Level, PollLayout
from bridge.history.database import Database
from bridge.model import Event, Key

FREE_PROVIDERS, MOST_PROVIDERS = 1_000, 1_500
FREE_MODELS, MOST_MODELS = 20_000, 25_000
"""The first are what one poll can hold: so many are taken up as they come. The places up to the second are for names
that stay, so that those which never repeat do not keep a new provider out until the retention has passed."""
LASTING_POLLS = 10
"""Good polls in a row that a name must be in to be one that stays; longer than a vanished provider is still listed."""
LAYOUTS_READ = 500
"""Of a history that is opened, the newest."""

Name = TypeVar("Name", bound=Hashable)
log = structlog.get_logger("bridge.history")


class Roll(Generic[Name]):
    """The names of one kind that are known, each with when (steady seconds) it was last recorded."""

    def __init__(self, free: int, most: int) -> None:
        self._free, self._most = free, most
        self._waiting: dict[Name, int] = {}
        """Names that were not taken up, and for how many polls in a row they have been there."""
        self.seen: dict[Name, float] = {}

    @property
    def crowded(self) -> bool:
        """True when a name is no longer taken up as it comes."""
        return len(self.seen) >= self._free

    @property
    def full(self) -> bool:
        """True when none is taken up any more."""
        return len(self.seen) >= self._most

    def know(self, names: Iterable[Name], steady: float) -> None:
        """These were recorded at ``steady``, and maybe later."""
        for name in names:
            self.seen.setdefault(name, steady)

    def admit(self, names: Iterable[Name], steady: float, kept_since: float) -> list[Name]:
        """Take up what there is room for; those of ``names`` that are known then.

        Room is made by names that were last recorded before ``kept_since``: the history holds nothing of them.
        """
        names = list(names)
        new = [name for name in names if name not in self.seen]
        if new and len(self.seen) + len(new) > self._free:
            self.seen = {name: at for name, at in self.seen.items() if at >= kept_since}
        waiting = {}
        for name in new:
            polls = self._waiting.get(name, 0) + 1
            if self.full or (self.crowded and polls < LASTING_POLLS):
                waiting[name] = polls
            else:
                self.seen[name] = steady
        self._waiting = waiting
        known = [name for name in names if name not in waiting]
        self.seen.update(dict.fromkeys(known, steady))
        return known


class Names:
    """The providers and models that the history knows. For the process that writes."""

    def __init__(self, retention_seconds: float) -> None:
        self._retention_seconds = retention_seconds
        self._providers: Roll[str] = Roll(FREE_PROVIDERS, MOST_PROVIDERS)
        self._models: Roll[Key] = Roll(FREE_MODELS, MOST_MODELS)
        self._refusing = False
        self.notice = ""
        """What is not recorded of the last poll; empty when all of it is."""

    def read(self, database: Database) -> None:
        """Know what the history holds already. Raises sqlite3.Error when it cannot be read."""
        rows = database.connection().execute(
            "SELECT layout, max(steady) AS steady FROM"
            " (SELECT layout, coalesce(polls.steady, polls.at) AS steady FROM fresh JOIN polls ON polls.id = poll"
            " UNION ALL SELECT layout, coalesce(steady, end) FROM blocks)"
            " GROUP BY layout ORDER BY steady DESC LIMIT ?",
            (LAYOUTS_READ,),
        )
        for layout_id, steady in rows.fetchall():
            try:
                layout, at = database.layout(layout_id), float(steady)
            except codec.CORRUPT:  # polls of this layout are lost
                continue
            self._providers.know(layout.provider.names, at)
            self._models.know(layout.model.names, at)
            if self._providers.full or self._models.full:
                break

    def admit(self, layout: PollLayout, numbers: Floats, steady: float) -> tuple[PollLayout, Floats]:
        """What is to be recorded of a good poll at ``steady``: its numbers under names that are known, or are now."""
        providers, models = self._admit(layout, steady)
        refused = len(layout.provider.names) - len(providers) + len(layout.model.names) - len(models)
        self._tell(refused)
        if not refused:
            return layout, numbers
        return _only(layout, numbers, set(providers), set(models))

    def knows(self, event: Event) -> bool:
        """True where an event is to be recorded: whose name is known, or would have been taken up."""
        if not self._knows_provider(event.provider):
            return False
        key = Key(event.provider, event.model)
        return not event.model or key in self._models.seen or not self._models.crowded

    def known_of(self, watch: Watch) -> Watch:
        """What is to be recorded of incidents and uptimes."""
        told = tuple(one for one in watch.told if self._knows_provider(one.provider))
        passed = {provider: status for provider, status in watch.passed.items() if self._knows_provider(provider)}
        return replace(watch, told=told, passed=passed)

    def _knows_provider(self, provider: str) -> bool:
        return not provider or provider in self._providers.seen or not self._providers.crowded

    def _admit(self, layout: PollLayout, steady: float) -> tuple[Sequence[str], Sequence[Key]]:
        kept_since = steady - self._retention_seconds
        providers = self._providers.admit(layout.provider.names, steady, kept_since)
        known = self._providers.seen
        of_known = (key for key in layout.model.names if key.provider in known)
        return providers, self._models.admit(of_known, steady, kept_since)

    def _tell(self, refused: int) -> None:
        self.notice = ""
        if refused:
            self.notice = (
                f"{refused} providers and models of the last poll are not recorded: the gateway keeps naming new ones,"
                f" and the history knows {len(self._providers.seen)} providers and {len(self._models.seen)} models"
                " already; one that stays is taken up, while there is room"
            )
            if not self._refusing:
                log.warning("names_not_recorded", message=self.notice)
        self._refusing = bool(refused)


def _only(layout: PollLayout, numbers: Floats, providers: set[str], models: set[Key]) -> tuple[PollLayout, Floats]:
    """A poll without those names that are not among these."""
    levels: list[Level[Any]] = []
    parts: list[Floats] = []
    start = 0
    known: tuple[Collection[Any], ...] = (providers, layout.fleet.names, models)
    for level, wanted in zip(layout.levels, known, strict=True):
        size = len(level.names) * len(level.metrics)
        values = numbers[start : start + size].reshape(len(level.metrics), len(level.names))
        start += size
        kept = [place for place, name in enumerate(level.names) if name in wanted]
        levels.append(level._replace(names=tuple(level.names[place] for place in kept)))
        parts.append(values[:, kept].ravel())
    return PollLayout(*levels), np.concatenate(parts)
