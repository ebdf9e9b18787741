"""Names for what a gateway tells apart by labels that are never shown (a deployment's id, a slot's key).

One identity may go by several names: the entry that stands first in the dialect gives the one that is shown. Several
identities may go by one name: the first seen has it alone, the others are counted, as ``name #2``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.model import Key, Named

Identity = tuple[str, str]
"""Dialect, and a digest of the labels' values."""


@dataclass(slots=True)
class Identities:
    """The names in use. Not for use by two threads at once."""

    _named: dict[Identity, Named] = field(default_factory=dict)
    _claims: list[tuple[Identity, int, Key]] = field(default_factory=list)

    def restore(self, named: Iterable[Named]) -> None:
        """Go on with the names that were in use before a restart."""
        self._named = {(one.dialect, one.digest): one for one in named}

    def in_use(self) -> tuple[Named, ...]:
        """The names in use, to be restored."""
        return tuple(self._named.values())

    def begin(self) -> None:
        """A new exposition begins."""
        self._claims.clear()

    def saw(self, identity: Identity, rank: int, name: Key) -> None:
        """An identity goes by this name in the entry of this rank (0 first). A name without provider is none."""
        self._claims.append((identity, rank, name))

    def end(self) -> None:
        """The exposition has been read through: who is not in it gives its name up, who is new gets one."""
        seen = {identity for identity, _, _ in self._claims}
        self._named = {identity: one for identity, one in self._named.items() if identity in seen}
        best: dict[Identity, tuple[int, Key]] = {}
        for identity, rank, name in self._claims:
            if name.provider and (identity not in best or rank < best[identity][0]):
                best[identity] = (rank, name)
        taken: dict[tuple[str, Key], set[int]] = {}
        for identity, one in list(self._named.items()):
            rank, name = best.get(identity, (one.rank, one.name))
            if name != one.name and rank > one.rank:
                name = one.name
            if name == one.name:
                taken.setdefault((identity[0], name), set()).add(one.number)
                best.pop(identity, None)
        for identity, (rank, name) in best.items():
            numbers = taken.setdefault((identity[0], name), set())
            number = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
            numbers.add(number)
            self._named[identity] = Named(*identity, rank, name, number)

    def shown(self, identity: Identity) -> Key | None:
        """What an identity is shown as; None when it has no name."""
        known = self._named.get(identity)
        if known is None or known.number == 1:
            return known.name if known else None
        provider, model = known.name
        number = f" #{known.number}"
        return Key(provider, model + number) if model else Key(provider + number)

    def own_name(self, identity: Identity) -> Key | None:
        """The name an identity goes by, without its number."""
        known = self._named.get(identity)
        return known.name if known else None
