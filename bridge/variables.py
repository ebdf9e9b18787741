"""Variables, read one by one: what each kind of value may be, and what to say of one that is not.

Nothing here stops at the first mistake: whoever deploys the service sees all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

DAY_SECONDS = 86400.0
LONGEST_SECONDS = 100 * 365 * DAY_SECONDS
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_DIALECTS = Path(__file__).with_name("gateway") / "dialects"
_UNIT_SECONDS = {
    "y": 365 * DAY_SECONDS,
    "w": 7 * DAY_SECONDS,
    "d": DAY_SECONDS,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 0.001,
}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>[0-9]{{1,12}}){unit})?" for unit in _UNIT_SECONDS))
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_SIZE = re.compile(r"([0-9]{1,12}) ?([KMG]i?B|B)?", re.IGNORECASE)
_SIZE_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


def parse_duration(text: str) -> float:
    """Seconds in a duration as Prometheus writes it (``1h30m``, ``500ms``), or in a bare number of seconds.

    Raises:
        ValueError: when it is neither, is zero, or is longer than 100 years.
    """
    units = _DURATION.fullmatch(text)
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif text and units:
        seconds = sum(int(count) * _UNIT_SECONDS[unit] for unit, count in units.groupdict().items() if count)
    else:
        raise ValueError("not a duration: whole numbers with the units y w d h m s ms, largest first, or plain seconds")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError("out of range: a duration is longer than nothing and at most 100y")
    return seconds


def parse_size(text: str) -> int:
    """Bytes in a size: a bare number of bytes, or a whole number of KiB, MiB, GiB (1024) or KB, MB, GB (1000).

    Raises:
        ValueError: when it is not a size, or is nothing.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("not a size: a whole number of bytes, or of KiB MiB GiB (1024) or KB MB GB (1000)")
    size = int(match[1]) * _SIZE_BYTES[(match[2] or "").upper()]
    if size == 0:
        raise ValueError("out of range: a size is more than nothing")
    return size


class Reader:
    """Reads variables one by one, and keeps what is wrong with each for the end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._wrong: set[str] = set()
        self.mistakes: list[str] = []

    def text(self, name: str) -> str:
        """A variable's text; empty for one that is not set."""
        return self._environ.get(name, "").strip()

    def value(self, name: str, default: T, parse: Callable[[str], T], example: str) -> T:
        """A variable's value; ``default`` for one that is not set, or wrong."""
        text = self.text(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as reason:
            self.wrong(name, f"{name}={_shown(text)}: {reason}; for example {name}={example}")
            return default

    def secret(self, name: str, parse: Callable[[str], str], hint: str) -> str | None:
        """The same for what is never shown; None for one that is not set, or wrong."""
        text = self._environ.get(name, "")
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as reason:
            self.wrong(name, f"{name} (its value is not shown): {reason}; for example {hint}")
            return None

    def check(self, name: str, fine: bool, reason: str, example: str, other: str) -> None:
        """Note that ``name`` does not go with ``other``, unless one of them is wrong by itself already."""
        if not fine and not self._wrong & {name, other}:
            shown = f"{name}={_shown(self.text(name))}" if self.text(name) else name
            self.wrong(name, f"{shown}: {reason}; for example {name}={example}")

    def wrong(self, name: str, mistake: str) -> None:
        """Note a mistake."""
        self._wrong.add(name)
        self.mistakes.append(mistake)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


def base_url(read: Reader, name: str, token_name: str, example: str) -> str | None:
    """A base URL; None when it is not set, or wrong. Credentials belong into the variable ``token_name``."""
    text = read.text(name)
    if not text:
        return None
    try:
        return _checked_url(text, token_name)
    except ValueError as reason:
        # What stands around these characters may be a password or a token.
        scheme, separator, _ = text.partition("://")
        hidden = scheme + "://…" if separator and scheme in ("http", "https") else "…"
        shown = _shown(hidden if set("@?#") & set(text) else text)
        read.wrong(name, f"{name}={shown}: {reason}; for example {name}={example}")
        return None


def _checked_url(text: str, token_name: str) -> str:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if "@" in text:
        raise ValueError(f"holds a user name or password: leave them out and set {token_name}")
    if parts.scheme not in ("http", "https") or not host or port == 0 or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("not a URL that begins with http:// or https:// and a host")
    if set("?#") & set(text):
        raise ValueError("holds a query or a fragment (? or #): give the base URL alone")
    return text.rstrip("/")


def duration(shortest: float = 0.0, longest: float = LONGEST_SECONDS) -> Callable[[str], float]:
    """A duration in seconds, within bounds."""

    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if seconds < shortest:
            raise ValueError(f"too short: at least {shortest:g}s")
        if seconds > longest:
            raise ValueError(f"too long: at most {longest:g}s")
        return seconds

    return parse


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number, within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def share(text: str) -> float:
    """A share above 0 and up to 1."""
    if not _NUMBER.fullmatch(text) or not 0 < float(text) <= 1:
        raise ValueError("not a share above 0 and up to 1 (0.5 is half)")
    return float(text)


def body_size(text: str) -> int:
    """Bytes, at least a KiB."""
    size = parse_size(text)
    if size < 1024:
        raise ValueError("too small: at least 1KiB (a bare number is bytes)")
    return size


def path(text: str) -> str:
    """A path below a base URL."""
    if not re.fullmatch(r"/[!-~]*", text) or set("?#") & set(text):
        raise ValueError("not a path: it begins with / and holds no space, ? or #")
    return text


def token(text: str) -> str:
    """A word that can stand in a header."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("holds a space, a line break or another character that cannot stand in a header")
    return text


def header_text(text: str) -> str:
    """A short text that can stand in a header."""
    if not re.fullmatch(r"[ -~]{1,200}", text):
        raise ValueError("not plain ASCII text of at most 200 characters, as a header can carry")
    return text


def user_and_password(text: str) -> str:
    """``user:password``."""
    user, _, password = text.partition(":")
    if not user or not password or not text.isprintable():
        raise ValueError("not user:password, with a colon between them and no line break or control character")
    return text


def dialect(text: str) -> str:
    """Names of dialects, or paths of files, with commas between."""
    built_in = sorted(file.stem for file in _DIALECTS.glob("*.toml"))
    for name in text.split(","):
        if name.strip() not in ("auto", *built_in) and not Path(name.strip()).is_file():
            raise ValueError(f"neither auto, nor built in ({', '.join(built_in)}), nor a file that exists")
    return text


def directory(text: str) -> Path:
    """A folder. Whether it can be used is seen when it is, and may change: that does not stop the service."""
    return Path(text)


def origins(text: str) -> tuple[str, ...]:
    """Origins of web pages, with commas or spaces between."""
    named = tuple(dict.fromkeys(text.lower().replace(",", " ").split()))
    for origin in named:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{_shown(origin)} is not an origin: http(s)://host[:port] without a path, or *")
    return named


def log_level(text: str) -> str:
    """A level of the standard library's."""
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"not one of {' '.join(LOG_LEVELS)}")
    return text.upper()
