"""Names for what a gateway tells apart by labels that are never shown (a deployment's id, a slot's key).

One identity may go by several names: the entry that stands first in the dialect gives the one that is shown. Several
identities may go by one name: the first seen has it alone, the others are counted, as ``name #2``. A number that would
make a name which the gateway itself uses is left out. An identity that is absent keeps its name for as long as a
provider that is absent stays on the roster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.model import VANISHED_AFTER_POLLS, Key, Named

MAX_NAMED = 20_000
"""Identities that have a name; what is over has none, and those that are absent give theirs up first."""

Identity = tuple[str, str]
"""Dialect, and a digest of the labels' values."""


class Claim(NamedTuple):
    """An identity goes by this name in the dialect's entry of this rank (0 first). A name without provider is none."""

    identity: Identity
    rank: int
    name: Key


class Names:
    """Names in use, to be looked up."""

    def __init__(self, named: Iterable[Named]) -> None:
        self._named = {(one.dialect, one.digest): one for one in named}

    def shown(self, identity: Identity) -> Key | None:
        """What an identity is shown as; None when it has no name."""
        known = self._named.get(identity)
        return _numbered(known.name, known.number) if known else None

    def own_name(self, identity: Identity) -> Key | None:
        """The name an identity goes by, without its number."""
        known = self._named.get(identity)
        return known.name if known else None


def after(before: Iterable[Named], claims: Sequence[Claim], literal: Collection[Key] = ()) -> tuple[Named, ...]:
    """The names in use after an exposition with these claims, given those before it.

    ``literal`` are further names that the gateway uses as they stand: no number makes one of them.
    """
    in_use = {(one.dialect, one.digest): one for one in before}
    best: dict[Identity, tuple[int, Key]] = {}
    for identity, rank, name in claims:
        if name.provider and (identity not in best or rank < best[identity][0]):
            best[identity] = rank, name
    numbers = _Numbers({*literal, *(claim.name for claim in claims), *(one.name for one in in_use.values())})
    present = {claim.identity for claim in claims}
    named, absent = {}, {}
    for identity, one in in_use.items():
        if identity not in present:
            if one.absent + 1 < VANISHED_AFTER_POLLS:
                absent[identity] = one._replace(absent=one.absent + 1)
                numbers.take(one.dialect, one.name, one.number)
            continue
        rank, name = best.setdefault(identity, (one.rank, one.name))
        if (name == one.name or rank > one.rank) and numbers.take(one.dialect, one.name, one.number):
            named[identity] = one._replace(absent=0) if one.absent else one
            del best[identity]
    for identity, (rank, name) in best.items():
        if len(named) < MAX_NAMED:
            named[identity] = Named(*identity, rank, name, numbers.next(identity[0], name))
    lingering = sorted(absent.values(), key=lambda one: one.absent)[: max(0, MAX_NAMED - len(named))]
    return (*named.values(), *lingering)


@dataclass(slots=True)
class _Numbers:
    """The numbers that are taken, by dialect and name."""

    literal: set[Key]
    taken: set[tuple[str, Key, int]] = field(default_factory=set)
    last: dict[tuple[str, Key], int] = field(default_factory=dict)
    """Up to where no number is free: else finding one for each of many takes time quadratic in them."""

    def take(self, dialect: str, name: Key, number: int) -> bool:
        """Take a number, if it is free."""
        free = (dialect, name, number) not in self.taken and not self._is_literal(name, number)
        if free:
            self.taken.add((dialect, name, number))
        return free

    def next(self, dialect: str, name: Key) -> int:
        """Take the smallest number that is free."""
        number = self.last.get((dialect, name), 0) + 1
        while not self.take(dialect, name, number):
            number += 1
        self.last[dialect, name] = number
        return number

    def _is_literal(self, name: Key, number: int) -> bool:
        return number > 1 and _numbered(name, number) in self.literal


def _numbered(name: Key, number: int) -> Key:
    """A name with its number; the first of a name has it alone."""
    if number == 1:
        return name
    provider, model = name
    return Key(provider, f"{model} #{number}") if model else Key(f"{provider} #{number}")
