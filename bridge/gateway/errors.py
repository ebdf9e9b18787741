"""What can go wrong between the bridge and its gateway, in the words of what happened.

Each error carries a ``code``, the poll's outcome and a metric's label (a small closed set), and says the reason to a
person in one line. Much of that line can come from outside, so it is made safe here, once, for logs and pages alike.
"""

from __future__ import annotations

from typing import ClassVar

MAX_MESSAGE_CHARACTERS = 300


def one_line(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """``text`` fit for a log line: what does not print is escaped, what is longer than ``limit`` ends in an ``…``."""
    # Cut before escaping as well: an escape is up to ten characters, and the text may be megabytes.
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class GatewayError(Exception):
    """A poll that did not bring an exposition. ``str()`` of it is one printable line of bounded length."""

    codes: ClassVar[tuple[str, ...]] = ("gateway_error",)
    """Every code this class can carry; the first is the one it carries unless told otherwise."""

    code: str

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(one_line(message))
        self.code = code or self.codes[0]
        if self.code not in self.codes:
            raise ValueError(f"{type(self).__name__} has no code {self.code!r}, only {', '.join(self.codes)}")


class GatewayUnreachable(GatewayError):
    """No complete answer came: no name, no connection, no TLS, a connection that broke, or no time left."""

    codes = ("timeout", "dns", "refused", "reset", "tls")


class GatewayRefused(GatewayError):
    """The gateway answered, and the answer was not 200."""

    codes = ("unexpected_status", "unauthorized", "not_found", "rate_limited", "server_error", "redirect")

    status: int | None
    """The HTTP status answered, where one status is to blame."""

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status


class ExpositionTooLarge(GatewayError):
    """The body, decompressed, is larger than the bridge is set to read."""

    codes = ("too_large",)


class ExpositionTruncated(GatewayError):
    """The body stopped before its end: its last lines are missing, or half there."""

    codes = ("truncated",)


class NotAnExposition(GatewayError):
    """A 200 over something that is no exposition: a page, JSON, nothing at all, or not even HTTP."""

    codes = ("not_exposition", "empty")


class ScrapeFailed(GatewayError):
    """The gateway answered 200 and says itself that its scrape failed."""

    codes = ("scrape_failed",)


class UnknownGateway(GatewayError):
    """An exposition without a family that any dialect recognises."""

    codes = ("unrecognised",)
