"""The bridge's own reading of a gateway, without the network: what it reads is put into its hand."""

from __future__ import annotations

from typing import cast

from bridge.gateway import dialect_file
from bridge.gateway.client import Fetched, GatewayClient
from bridge.gateway.source import GatewaySource


class Hand:
    """Stands where the HTTP client stands."""

    def __init__(self) -> None:
        self.body = b""

    def fetch(self) -> Fetched:
        """What was put here."""
        return Fetched(self.body, 0.0, "text/plain; version=0.0.4")

    def close(self) -> None:
        """Nothing is open."""


def source_of(hand: Hand) -> GatewaySource:
    """The source that the poller reads, all dialects tried."""
    return GatewaySource(cast(GatewayClient, hand), dialect_file.select("auto"))
