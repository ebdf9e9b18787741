"""The gateway as the poller sees it: one call that fetches, reads and translates, or says why it could not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bridge.gateway.client import GatewayClient
from bridge.gateway.dialect import Dialect
from bridge.gateway.errors import NotAnExposition, ScrapeFailed
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.model import Named, Signals


class GatewaySource:
    """One gateway, read again and again. Not for use by two threads at once."""

    def __init__(
        self,
        client: GatewayClient,
        dialects: Sequence[Dialect],
        *,
        notices: Sequence[str] = (),
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        """``notices`` go with all that is read; ``observe`` is told how many seconds reading each exposition took."""
        self._client = client
        self._notices = tuple(notices)
        self._observe = observe
        self._reader = ExpositionReader()
        self._translator = Translator(dialects)

    def read(self) -> Signals:
        """What the gateway says now. Raises GatewayError when that is no answer to build on."""
        body = self._client.fetch().body
        began = time.monotonic()
        try:
            signals = self._read(body)
        finally:
            self._observe(time.monotonic() - began)
        if signals.scrape_succeeded is False:
            raise ScrapeFailed("the gateway answers, and says that its own scrape failed")
        return signals

    def _read(self, body: bytes) -> Signals:
        exposition = self._reader.read(body)
        if exposition.rejected_lines and not exposition.series:
            raise NotAnExposition(f"not one line could be read, beginning with {exposition.first_rejected[0]}")
        signals = self._translator.translate(exposition)
        return replace(signals, notices=(*signals.notices, *self._notices)) if self._notices else signals

    def restore(self, names: Iterable[Named]) -> None:
        """Go on with the names that were in use before a restart."""
        self._translator.restore(names)

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()
