"""Names for what a gateway tells apart by a label that is never shown (a deployment's id, a slot's key).

One identity may go by several names: the entry that stands first in the dialect gives the one that is shown. Several
identities may go by one name: the first seen has it alone, the others are counted, as ``name #2``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.model import Key

Identity = tuple[str, str]
"""Dialect and label value."""


@dataclass(slots=True)
class _Named:
    rank: int
    name: Key
    number: int


@dataclass(slots=True)
class Identities:
    """The names in use. Not for use by two threads at once."""

    _named: dict[Identity, _Named] = field(default_factory=dict)
    _holders: dict[tuple[str, Key], dict[int, Identity]] = field(default_factory=dict)
    _seen: set[Identity] = field(default_factory=set)

    def begin(self) -> None:
        """A new exposition begins; what is not seen in it is forgotten with the next ``end``."""
        self._seen.clear()

    def saw(self, identity: Identity, rank: int, name: Key) -> None:
        """An identity goes by this name in the entry of this rank (0 first). A name without provider is none."""
        self._seen.add(identity)
        known = self._named.get(identity)
        if not name.provider or (known is not None and known.rank <= rank and known.name != name):
            return
        if known is not None and known.name == name:
            known.rank = min(known.rank, rank)
            return
        self._forget(identity)
        holders = self._holders.setdefault((identity[0], name), {})
        number = next(number for number in range(1, len(holders) + 2) if number not in holders)
        holders[number] = identity
        self._named[identity] = _Named(rank, name, number)

    def end(self) -> None:
        """The exposition has been read through."""
        for identity in self._named.keys() - self._seen:
            self._forget(identity)

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

    def _forget(self, identity: Identity) -> None:
        known = self._named.pop(identity, None)
        if known is not None:
            holders = self._holders[identity[0], known.name]
            del holders[known.number]
            if not holders:
                del self._holders[identity[0], known.name]
