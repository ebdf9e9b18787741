"""Logs: one JSON line an event on standard output, whoever has something to say.

Every line has the same keys first; those that are about a request are ``null`` where there is none.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from bridge.output import Output

SERVICE = "provider-health-bridge"
STDOUT = 1
NO_REQUEST: Mapping[str, None] = dict.fromkeys(
    ("request_id", "trace_id", "endpoint", "method", "status_code", "duration_ms")
)
SPEAKERS = {"gunicorn.error": "gunicorn", "py.warnings": "warning"}
"""Loggers of the standard library whose events go by another name."""
WITH_PATHS = {"Exception on %s [%s]": "an exception while answering"}
"""What Flask says about a request, and what is left of it without its path and query string."""
INVALID_REQUEST = "Invalid request from ip="
"""How gunicorn begins a message that ends in what was sent."""

Fields = Mapping[str, Any]


@dataclass(slots=True)
class _State:
    """This process' log: where its lines go, and what is known of the request that one is about."""

    output: Output | None = None
    file: tuple[int, int] | None = None
    context: Callable[[], Fields] = dict


_state = _State()


def configure(level: str, *, context: Callable[[], Fields] | None = None) -> None:
    """Set up what the bridge itself logs. ``level`` as ``INFO``; ``context`` knows the request in hand, if any."""
    _open()
    if context is not None:
        _state.context = context
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _written],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )


def capture(level: str) -> None:
    """Write what others say as such lines too: libraries, warnings, and exceptions that nobody caught.

    Libraries are only listened to from WARNING on: what they say below may hold URLs.
    """
    _open()
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)
    sys.unraisablehook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def write(level: str, event: str, message: str, fields: Fields) -> None:
    """Write one line now, whatever the configured level. ``level`` as ``info``."""
    if _state.output is not None:
        _state.output.write(_line(level, event, message, fields))


def write_soon(level: str, event: str, message: str, fields: Fields) -> None:
    """Write one line within a tenth of a second: for events that are many and in no hurry."""
    if _state.output is not None:
        _state.output.later(_line(level, event, message, fields))


def traceback_of(error: BaseException) -> str:
    """An exception and where it came from."""
    return "".join(traceback.format_exception(error))


def _open() -> None:
    """Write to standard output from now on, unless it is closed: another file could have its number."""
    if sys.__stdout__ is None:
        return
    try:
        status = os.fstat(STDOUT)
    except OSError:
        return
    if _state.file != (status.st_dev, status.st_ino):
        _state.file = status.st_dev, status.st_ino
        _state.output = Output(STDOUT, _lost)


def _lost(count: int) -> bytes:
    return _line("warning", "log_lines_lost", f"{count} log lines could not be written", {"lost": count})


def _line(level: str, event: str, message: str, fields: Fields) -> bytes:
    content = {
        "timestamp": datetime.now(UTC),
        "level": level,
        "service": SERVICE,
        "event": event,
        "message": message,
        **NO_REQUEST,
        **fields,
    }
    try:
        line = orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half a character, or a number of more than 64 bits
        line = json.dumps(content, default=_plain).encode() + b"\n"
    if line.isascii() and b"\x7f" not in line:
        return line
    return _HIDDEN.sub(_escaped, line.decode()).encode()


def _plain(value: object) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else repr(value)


_HIDDEN = re.compile("[^\n -~]")


def _escaped(match: re.Match[str]) -> str:
    r"""``\u202e`` for a character that a terminal may obey, or that could be taken for another."""
    return json.dumps(match[0])[1:-1] if match[0] != "\x7f" else "\\u007f"


def _written(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The last of structlog's processors: the line is written, and nothing is left to do."""
    name = event.pop("event")
    write(event.pop("level"), name, event.pop("message", name), {**_state.context(), **event})
    raise structlog.DropEvent


class _Handler(logging.Handler):
    """The standard library's events as lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        try:
            fields = dict(_state.context())
            if record.exc_info and record.exc_info[1] is not None:
                fields["exception"] = traceback_of(record.exc_info[1])
            write(record.levelname.lower(), SPEAKERS.get(record.name, record.name), _message(record), fields)
        except Exception:  # noqa: BLE001 (the habit of the library: a log never breaks who logs)
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    """What an event says, without what a client sent."""
    if record.msg in WITH_PATHS:
        return WITH_PATHS[record.msg]
    message = record.getMessage().strip()
    if message.startswith(INVALID_REQUEST):
        kind = sys.exc_info()[0]
        return f"{message.partition(': ')[0]}: {kind.__name__ if kind else 'not HTTP'}"
    return message


def _uncaught(kind: type[BaseException], error: BaseException | None, where: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), where)
        return
    message = f"{kind.__name__} that nobody caught"
    write("error", "uncaught", message, {"exception": "".join(traceback.format_exception(kind, error, where))})
