"""What one good poll says of each provider, as far as incidents are made of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from bridge.model import Floats, Key, ModelNumbers, Status, Verdict

BAD = (Status.DEGRADED, Status.DOWN)


class Observed(NamedTuple):
    """One provider at one poll."""

    status: Status
    reason: str = ""
    requests: float | None = None
    """What the poll brought, and how many of them failed; None where they are not counted."""
    failed: float | None = None
    affected: tuple[str, ...] = ()
    """Models that are not healthy."""
    among: int = 0
    """How many models it has."""
    traffic: bool = True
    """Whether it has any, as far as that can be known."""

    @property
    def bad(self) -> bool:
        """Whether it is known not to be healthy."""
        return self.status in BAD


UNSEEN = Observed(Status.UNKNOWN, traffic=False)


def observe(verdicts: Iterable[Verdict], models: ModelNumbers) -> dict[str, Observed]:
    """What a poll's verdicts say, by provider. Models are named of those alone that are not healthy."""
    statuses = models.columns.get("model_status")
    return {one.provider: _observed(one, models.keys, statuses) for one in verdicts}


def _observed(verdict: Verdict, keys: tuple[Key, ...], statuses: Floats | None) -> Observed:
    rate = verdict.values["provider_request_rate"]
    traffic = verdict.status is not Status.UNKNOWN if rate is None else rate > 0
    its = Observed(verdict.status, verdict.reason, verdict.requests, verdict.failed, traffic=traffic)
    if not its.bad or statuses is None:
        return its
    first, last = (bisect_left(keys, Key(name)) for name in (verdict.provider, verdict.provider + "\0"))
    of_models = statuses[first:last].tolist()
    affected = tuple(key.model for key, status in zip(keys[first:last], of_models, strict=True) if status in BAD)
    return its._replace(affected=affected, among=last - first)
