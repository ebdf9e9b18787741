"""The environment, checked as a whole: the settings, and the dialects that they name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache

from bridge.gateway import dialect_file
from bridge.settings import ConfigurationError, Settings, load


def configured(environ: Mapping[str, str]) -> Settings:
    """The settings of this deployment, checked as far as they can be before anything runs.

    Raises ConfigurationError with every mistake there is, those in a dialect file of one's own included, unless it was
    read well before: then a running service goes on with that.
    """
    settings = load(environ)
    try:
        dialect_file.in_force(settings.dialect)
    except dialect_file.DialectError as error:
        raise ConfigurationError([f"GATEWAY_DIALECT={settings.dialect!r}: {error}"]) from None
    return settings


@cache
def configured_once() -> Settings:
    """The settings of this process's own environment, and of those it was forked from, checked once.

    So a worker that is started later goes on with what gunicorn was started with, whatever has become of a file since.
    Raises ConfigurationError.
    """
    return configured(os.environ)  # noqa: TID251 (of the process, as the cache is)
