"""The gateway as the poller sees it: one call that fetches, reads and translates, or says why it could not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from bridge.gateway.choice import declares_known
from bridge.gateway.client import GatewayClient
from bridge.gateway.dialect import Dialect
from bridge.gateway.errors import ExpositionTooLarge, NotAnExposition, ScrapeFailed, UnknownGateway
from bridge.gateway.exposition import ExpositionReader, OutOfTime, TooManyRejects, declared
from bridge.gateway.translate import Translator
from bridge.model import Learnt, Signals

UNKNOWN = (
    "an exposition of no gateway that is known here, not even a HELP or TYPE line: is GATEWAY_METRICS_PATH right?"
    " `python -m bridge.gateway check URL` says what stands there; for another gateway GATEWAY_DIALECT takes a file"
)
WITHOUT_TRAFFIC = "the gateway declares what it publishes, and publishes nothing of any provider yet"


class GatewaySource:
    """One gateway, read again and again. Not thread-safe."""

    def __init__(
        self,
        client: GatewayClient,
        dialects: Sequence[Dialect],
        *,
        timeout_seconds: float = math.inf,
        notices: Sequence[str] = (),
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        """``timeout_seconds`` is for fetching and reading together; ``notices`` go with all that is read.

        ``observe`` is told how many seconds reading each exposition took.
        """
        self._client = client
        self._dialects = tuple(dialects)
        self._timeout = timeout_seconds
        self._notices = tuple(notices)
        self._observe = observe
        self._reader = ExpositionReader()
        self._translator = Translator(dialects)

    def read(self, learnt: Learnt) -> Signals:
        """What the gateway says now. ``learnt`` is ``Signals.learnt`` of the last poll that was accepted.

        Raises GatewayError when that is no answer to build on.
        """
        deadline = time.monotonic() + self._timeout
        body = self._client.fetch().body
        began = time.monotonic()
        try:
            signals = self._read(body, learnt, deadline)
        finally:
            self._observe(time.monotonic() - began)
        if signals.scrape_succeeded is False:
            raise ScrapeFailed("the gateway answers, and says that its own scrape failed")
        return signals

    def _read(self, body: bytes, learnt: Learnt, deadline: float) -> Signals:
        try:
            exposition = self._reader.read(body, deadline=deadline)
        except TooManyRejects as error:
            raise NotAnExposition(str(error)) from None
        except OutOfTime as error:
            raise ExpositionTooLarge(f"{error} (POLL_TIMEOUT)") from None
        if exposition.rejected_lines and not exposition.series:
            raise NotAnExposition(f"not one line could be read, beginning with {exposition.first_rejected[0]}")
        signals = self._translator.translate(exposition, learnt)
        if not signals.dialects:
            if not declares_known(self._dialects, declared(body)):
                raise UnknownGateway(UNKNOWN)
            signals = replace(signals, notices=(*exposition.notices, WITHOUT_TRAFFIC))
        return replace(signals, notices=(*signals.notices, *self._notices)) if self._notices else signals

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()
